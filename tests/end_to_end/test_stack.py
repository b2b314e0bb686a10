"""The stack's command line on a stack that runs."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest
from live import LiveStack, bare_environment, run

from pipelines import processes
from pipelines.processes import LOOPBACK, Book


def stack_command(folder: Path, *words: str) -> tuple[int, str]:
    ended = run(
        [sys.executable, "-m", "pipelines.stack", *words], bare_environment(folder), cwd=folder, seconds=60
    )
    return ended.returncode, ended.stdout


def test_up_starts_nothing_twice(live_stack: LiveStack) -> None:
    before = live_stack.services
    status, said = stack_command(live_stack.folder, "up")
    assert status == 0, said
    assert live_stack.services == before


def test_up_refuses_another_port_for_what_runs(live_stack: LiveStack) -> None:
    port = live_stack.services["ray"].port
    status, said = stack_command(live_stack.folder, "up", "--ray-port", "6553")
    assert status == 2
    assert f"ray_port: 6553 given, but this server runs already, on port {port}" in said


@pytest.mark.parametrize("name", ["mlflow", "ray", "dashboard"])
def test_a_port_in_use_is_one_clear_line_and_starts_nothing(
    live_stack: LiveStack, tmp_path: Path, name: str
) -> None:
    port = live_stack.services["dashboard"].port
    status, said = stack_command(tmp_path, "up", f"--{name}-port", str(port))
    assert status == 2
    assert said.startswith(
        f"error: {name}_port: port {port} is in use; choose another, or 0 for any free one"
    )
    assert said.count("\n") == 1
    assert Book(tmp_path).running() == {}


def test_status_tells_what_runs(live_stack: LiveStack, tmp_path: Path) -> None:
    status, said = stack_command(live_stack.folder, "status")
    assert status == 0
    assert said.count(" up\n") == 3
    assert stack_command(tmp_path, "status") == (
        1,
        "nothing runs; `python -m pipelines.stack up` starts it\n",
    )


def test_down_with_nothing_running_says_so(tmp_path: Path) -> None:
    assert stack_command(tmp_path, "down") == (0, "stopped: nothing was running\n")


def test_an_unknown_action_is_one_clear_line(tmp_path: Path) -> None:
    status, said = stack_command(tmp_path, "upp")
    assert status == 2
    assert said.startswith("error: ")
    assert "down" in said.partition("\n")[0]


def test_everything_listens_on_the_loopback_interface_only(live_stack: LiveStack) -> None:
    heard = {
        connection.laddr.ip.removeprefix("::ffff:")
        for service in live_stack.services.values()
        for process in processes.family(service)
        for connection in connections(process)
    }
    assert heard == {LOOPBACK}


def connections(process: psutil.Process) -> list:
    try:
        found = process.net_connections(kind="tcp")
    except psutil.Error:
        return []
    return [connection for connection in found if connection.status == psutil.CONN_LISTEN]
