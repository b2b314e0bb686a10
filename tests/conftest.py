"""What several suites need: a real stack, and on it the story of a study that was stopped and submitted again."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from live import LiveStack, Story, bare_environment, run

from pipelines import processes, stack

SUBMIT = ["ray", "job", "submit", "--submission-id"]
STUDY = ["--", "python", "-m", "pipelines.study", "step_sweep", "--scale", "smoke"]
DONE = re.compile(r"\[ *(\d+)/\d+\]")  # how a line of progress begins


@pytest.fixture(scope="session")
def live_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    """A stack that was started from the command line, on chosen ports, for all tests that want one."""
    folder = tmp_path_factory.mktemp("state")
    ports = [f"--{name}-port={processes.port_for(name, 0, 0)}" for name in ("mlflow", "ray", "dashboard")]
    command = [sys.executable, "-m", "pipelines.stack"]
    environment = bare_environment(folder)
    try:
        started = run([*command, "up", *ports], environment, cwd=folder, seconds=180)
        assert started.returncode == 0, started.stdout
        assert all(f":{option.partition('=')[2]} " in started.stdout for option in ports)
        yield LiveStack(folder)
    finally:
        run([*command, "down"], environment, cwd=folder, seconds=90)


@pytest.fixture(scope="session")
def smoke_story(live_stack: LiveStack) -> Story:
    """`step_sweep` at smoke scale as a Ray job: stopped when some of its stages are done, then submitted again."""
    first = subprocess.Popen(
        [*SUBMIT, "first", *STUDY],
        env=live_stack.environment,
        cwd=live_stack.folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert first.stdout is not None
    for line in first.stdout:
        progress = DONE.match(line)
        if progress and int(progress[1]) >= 2:
            break
    stopped = live_stack.run("ray", "job", "stop", "first")
    first.communicate(timeout=60)
    assert stopped.returncode == 0, stopped.stdout
    status = stack.job_status(live_stack.services["ray"], live_stack.folder, "first")
    after_stop = live_stack.runs()
    second = live_stack.run(*SUBMIT, "second", *STUDY, seconds=400)
    return Story(live_stack, status, after_stop, second, live_stack.runs())
