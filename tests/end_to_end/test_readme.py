"""Every command of the README is run, in its order, on a copy of a store that a study has filled, so that little is
left to compute, and beside a stack that must not notice."""

from __future__ import annotations

import contextlib
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
from live import ROOT, LiveStack, Story, bare_environment
from PIL import Image

from pipelines.processes import MARK, Book

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.splitlines()]
BEFORE = "=== "
TITLE = re.compile(rf"^{BEFORE}(\d+)$\n", re.MULTILINE)


@dataclass(frozen=True)
class Session:
    """What a shell said to each command."""

    folder: Path
    status: int
    said: dict[str, str]
    whole: str


def as_run(command: str) -> str:
    """The command as the test runs it. `make` uses the environment that runs the tests instead of making one."""
    if command == "source .venv/bin/activate":
        return "true"
    if command == "make test":
        return f"make -C {ROOT} -n test"  # these tests are a part of it
    if command.startswith("make "):
        stamp = f"{sys.prefix}/.installed"
        return f"make -C {ROOT} -o {stamp} VENV={sys.prefix} OPTIONS='--scale smoke' {command.removeprefix('make ')}"
    return command


def own_images(folder: Path) -> None:
    """A folder of the kind that --data takes."""
    rows = np.random.default_rng(0).integers(0, 256, size=(2, 200, 16, 16), dtype=np.uint8)
    for name, images in zip(("cats", "dogs"), rows, strict=True):
        (folder / name).mkdir(parents=True)
        for number, image in enumerate(images):
            Image.fromarray(image).save(folder / name / f"{number}.png")


@pytest.fixture(scope="module")
def foreign() -> Iterator[subprocess.Popen[bytes]]:
    """A process of somebody else that looks like a part of Ray, as `ray stop` would have it, and like MLflow."""
    nap = [
        sys.executable,
        "-c",
        "import time; time.sleep(900)",
        "raylet/raylet",
        "gcs_server",
        "mlflow server",
    ]
    process = subprocess.Popen(nap)
    yield process
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def session(
    smoke_story: Story, foreign: subprocess.Popen[bytes], tmp_path_factory: pytest.TempPathFactory
) -> Session:
    """All commands in one shell."""
    here = tmp_path_factory.mktemp("readme")
    state = here / ".workbench"
    state.mkdir()
    store = smoke_story.stack.folder
    shutil.copytree(store / "artifacts", state / "artifacts")
    # A copy of the file alone would lack what its server has only in the write-ahead log.
    with (
        contextlib.closing(sqlite3.connect(store / "mlflow.db")) as source,
        contextlib.closing(sqlite3.connect(state / "mlflow.db")) as copy,
    ):
        source.backup(copy)
    own_images(here / "path" / "to" / "images")
    script = "\n".join(f"echo '{BEFORE}{i}'\n{as_run(command)}" for i, command in enumerate(COMMANDS))
    shell = subprocess.run(
        ["bash", "-e", "-c", script],
        env=bare_environment(state),
        cwd=here,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=500,
        check=False,
    )
    parts = TITLE.split(shell.stdout)[1:]
    said = {COMMANDS[int(i)]: text for i, text in zip(parts[::2], parts[1::2], strict=True)}
    return Session(here, shell.returncode, said, shell.stdout)


def test_every_command_works(session: Session) -> None:
    assert session.status == 0, session.whole
    assert list(session.said) == COMMANDS


def test_the_two_commands_come_first() -> None:
    assert COMMANDS[:2] == ["make demo", "make test"]
    assert README.index("make demo") < 1500


def test_the_demo_ends_with_verdicts_and_addresses(session: Session) -> None:
    said = session.said["make demo"]
    assert "$ ray job submit -- python -m pipelines.study step_sweep" in said
    assert re.search(r"^(SUPPORTED|REFUTED|INCONCLUSIVE): ", said, re.MULTILINE)
    for title in ("MLflow UI", "Dashboard"):
        assert re.search(rf"^{title} +http://127\.0\.0\.1:\d+", said, re.MULTILINE)


def test_nothing_is_computed_twice(session: Session) -> None:
    for command in ("make demo", "python -m pipelines.study step_sweep --scale smoke"):
        assert ", 0 of them run, in " in session.said[command]


def test_what_was_started_is_stopped_and_nothing_else(
    session: Session, live_stack: LiveStack, foreign: subprocess.Popen[bytes]
) -> None:
    state = session.folder / ".workbench"
    for command in ("make down", "python -m pipelines.stack down"):
        assert "stopped: Dashboard, Ray, MLflow UI" in session.said[command]
    assert Book(state).running() == {}
    assert not [process for process in psutil.process_iter() if belongs_to(process, state)]
    assert all(service.answers() for service in live_stack.services.values())
    assert set(live_stack.services) == {"mlflow", "ray", "dashboard"}
    assert foreign.poll() is None
    assert (state / "mlflow.db").is_file()  # the results stay


def belongs_to(process: psutil.Process, state: Path) -> bool:
    try:
        environment = process.environ()
    except psutil.Error:
        return False
    return MARK in environment and environment.get("WORKBENCH_STATE") == str(state)


def test_every_file_that_is_linked_exists() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)", README) if "://" not in link]
    assert [link for link in links if not (ROOT / link).exists()] == []
