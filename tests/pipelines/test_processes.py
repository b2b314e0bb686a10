"""Servers are known again, and stopped with all that they started and nothing else. The server here is a small one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from pipelines import processes, servers, stack
from pipelines.processes import LOOPBACK, Book, Process, Service
from workbench.registry import UserError

# Answers every GET; its grandchild lives in a session of its own and has lost its parent, as a job of Ray may.
SERVER = """
import http.server, subprocess, sys
if {children}:
    nap = "import time; time.sleep(600)"
    middle = "import subprocess as s, sys; s.Popen([sys.executable, '-c', %r], start_new_session=True)"
    subprocess.run([sys.executable, "-c", middle % nap])
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response({status})
        self.end_headers()
    def log_message(self, *words):
        pass
http.server.HTTPServer(("127.0.0.1", {port}), Answer).serve_forever()
"""


def launch(folder: Path, *, port: int = 0, children: bool = False, status: int = 200) -> Service:
    port = port or processes.port_for("port", 0, 0)
    return processes.start(
        "small",
        [sys.executable, "-c", SERVER.format(port=port, children=children, status=status)],
        port=port,
        log=folder / "small.log",
        environment=os.environ,
        health="/health",
    )


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = launch(tmp_path, children=True)
    try:
        processes.wait_until_up(service)
        yield service
    finally:
        processes.stop(service)


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_stop_takes_the_whole_family(service: Service) -> None:
    members = processes.family(service)
    assert len(members) == 2
    assert any(os.getsid(member.pid) != service.pid for member in members)
    processes.stop(service)
    assert not any(alive(member) for member in members)
    assert not processes.answers(service.url)
    processes.stop(service)  # once more does no harm


def test_stop_finds_what_a_server_left_behind(service: Service) -> None:
    (orphan,) = [member for member in processes.family(service) if member.pid != service.pid]
    psutil.Process(service.pid).kill()
    psutil.wait_procs([psutil.Process(service.pid)], timeout=5)
    assert alive(orphan)
    processes.stop(service)
    assert not alive(orphan)


def test_stop_leaves_lookalikes_alone(service: Service) -> None:
    """The name of a Ray daemon in the command line, the same parent, even a mark of another service."""
    nap = [sys.executable, "-c", "import time; time.sleep(600)", "raylet", "gcs_server", "mlflow server"]
    lookalikes = [
        subprocess.Popen(nap, env={**os.environ, processes.MARK: mark})
        for mark in ("", "small-0123456789abcdef")
    ]
    try:
        processes.stop(service)
        assert all(each.poll() is None for each in lookalikes)
    finally:
        for each in lookalikes:
            each.kill()
            each.wait()


def test_a_server_that_ignores_a_request_to_end_is_killed(tmp_path: Path) -> None:
    ignore = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    stubborn = f"{ignore}; print('deaf', flush=True); time.sleep(600)"
    log = tmp_path / "deaf.log"
    service = processes.start(
        "deaf", [sys.executable, "-c", stubborn], port=1, log=log, environment=os.environ, health="/"
    )
    while "deaf" not in log.read_text():
        time.sleep(0.02)
    processes.stop(service, seconds=0.3)
    assert service.find() is None


def test_a_number_that_was_given_to_another_process_is_not_taken_for_it() -> None:
    here = Process.of(os.getpid())
    assert here.find() == psutil.Process()
    assert replace(here, started=here.started - 60).find() is None


def test_a_server_that_dies_is_told_with_its_last_words(tmp_path: Path) -> None:
    service = processes.start(
        "short",
        [sys.executable, "-c", "raise SystemExit('the disk is on fire')"],
        port=processes.port_for("port", 0, 0),
        log=tmp_path / "short.log",
        environment=os.environ,
        health="/",
    )
    with pytest.raises(UserError, match=r"short: .* ended at once: the disk is on fire \(log: .*short.log\)"):
        processes.wait_until_up(service)


def test_a_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    service = launch(tmp_path, status=500)
    try:
        with pytest.raises(UserError, match="did not answer within"):
            processes.wait_until_up(service, seconds=1.0)
    finally:
        processes.stop(service)


def test_another_server_on_the_port_is_not_taken_for_ours(service: Service, tmp_path: Path) -> None:
    second = launch(tmp_path / "second", port=service.port)
    with pytest.raises(UserError, match="in use"):
        processes.wait_until_up(second)
    assert service.answers()


def test_a_refusal_to_let_us_in_is_an_answer(tmp_path: Path) -> None:
    service = launch(tmp_path, status=401)
    try:
        processes.wait_until_up(service)
    finally:
        processes.stop(service)


def test_a_proxy_is_kept_out_of_what_is_said_on_loopback(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert processes.unproxied() == {}
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # nothing is there
    monkeypatch.setenv("no_proxy", "intranet.example")
    assert service.answers()
    value = f"intranet.example,{LOOPBACK}"
    assert processes.unproxied() == {"no_proxy": value, "NO_PROXY": value}


def test_port_for_prefers_the_usual_and_refuses_one_in_use() -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert processes.port_for("ray_port", 0, port) not in (0, port)
        with pytest.raises(UserError, match=f"ray_port: port {port} is in use"):
            processes.port_for("ray_port", port, 8265)
    assert processes.port_for("ray_port", 0, port) == port
    for wrong in (-1, 65536):
        with pytest.raises(UserError, match=f"ray_port: {wrong} given"):
            processes.port_for("ray_port", wrong, 8265)


def test_the_book_forgets_what_has_ended_and_keeps_what_runs(service: Service, tmp_path: Path) -> None:
    book = Book(tmp_path / "state")
    gone = replace(service, name="gone", mark="gone", started=0.0)
    user = Process.of(os.getpid())
    with book.changing() as services:
        services |= {"small": replace(service, users=[user, Process(pid=1, started=0.0)]), "gone": gone}
    assert Book(tmp_path / "state").running() == {"small": replace(service, users=[user])}


def test_an_unreadable_book_is_told(tmp_path: Path) -> None:
    (tmp_path / "stack.json").write_text('{"mlflow": {"pid": 1}}')
    with pytest.raises(UserError, match=r"stack.json cannot be read .*; delete it"):
        Book(tmp_path).running()


@pytest.fixture
def small_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(stack, "start_mlflow", lambda folder, port: launch(folder))


@pytest.mark.usefixtures("small_mlflow")
def test_the_tracking_server_lives_as_long_as_somebody_uses_it(tmp_path: Path) -> None:
    with stack.tracking_server(tmp_path) as first:
        with stack.tracking_server(tmp_path) as second:
            assert second == first
        assert processes.answers(first)
    assert not processes.answers(first)
    assert Book(tmp_path).running() == {}


@pytest.mark.usefixtures("small_mlflow")
def test_down_leaves_the_server_to_the_study_that_uses_it(tmp_path: Path) -> None:
    with stack.tracking_server(tmp_path) as url:
        with Book(tmp_path).changing() as services:
            services["mlflow"].kept = True  # as `up` would
        assert stack.down(tmp_path) == []
        assert processes.answers(url)
    assert not processes.answers(url)


@pytest.mark.usefixtures("small_mlflow")
def test_the_servers_of_killed_studies_are_found_by_the_next(tmp_path: Path) -> None:
    with stack.tracking_server(tmp_path) as url, Book(tmp_path).changing() as services:
        services["mlflow"].users.append(Process(pid=os.getpid(), started=1.0))  # killed without a word
    assert not processes.answers(url)


def test_a_tracking_server_that_was_named_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://results.example")
    with stack.tracking_server(tmp_path) as url:
        assert url == "https://results.example"
    assert not any(tmp_path.iterdir())


def test_the_token_is_made_once_and_is_for_its_owner_only(tmp_path: Path) -> None:
    first, second = servers.ray_environment(tmp_path), servers.ray_environment(tmp_path)
    assert first == second
    token = Path(first["RAY_AUTH_TOKEN_PATH"])
    assert len(token.read_text()) == 64
    assert token.stat().st_mode & 0o077 == 0
    assert [path.name for path in tmp_path.iterdir()] == [token.name]


def test_the_sockets_of_ray_fit_their_limit_however_deep_the_state_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 80)
    deep.mkdir()
    monkeypatch.setattr(servers.tempfile, "gettempdir", lambda: str(deep))
    temporary = servers._ray_folder(deep)
    try:
        assert len(f"{temporary}{servers.RAY_SOCKET}") <= servers.SOCKET_PATH_BYTES
        assert servers._ray_folder(tmp_path) != temporary
        (temporary / "session_of_a_head_that_died").mkdir()
        assert not any(servers._ray_folder(deep).iterdir())
    finally:
        for folder in (deep, tmp_path):
            servers._ray_folder(folder).rmdir()
