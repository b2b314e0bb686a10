"""A real stack and what is asked of it; see the fixtures `live_stack` and `smoke_story`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow.entities import Run

from pipelines import servers, stack
from pipelines.client import client
from pipelines.processes import Book, Service

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class LiveStack:
    """A stack that runs: MLflow, Ray and the dashboard, on ports that nobody else uses."""

    folder: Path

    @property
    def services(self) -> dict[str, Service]:
        return Book(self.folder).running()

    @property
    def environment(self) -> dict[str, str]:
        """What a shell has after `eval "$(python -m pipelines.stack env)"`."""
        return bare_environment(self.folder) | stack.shell_settings(self.folder, self.services)

    def run(self, *words: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """A command in a shell of this stack; its two streams come as one."""
        return run(words, self.environment, cwd=self.folder, seconds=seconds)

    def runs(self) -> list[Run]:
        """Every run of every experiment."""
        mlflow = client(self.services["mlflow"].url)
        experiments = [experiment.experiment_id for experiment in mlflow.search_experiments()]
        return list(mlflow.search_runs(experiments, max_results=1000))


@dataclass(frozen=True)
class Story:
    """What was seen of a study that was stopped in the middle and submitted a second time."""

    stack: LiveStack
    stopped: str  # what Ray says of the first job
    after_stop: list[Run]
    second: subprocess.CompletedProcess[str]
    after_second: list[Run]


def bare_environment(folder: Path) -> dict[str, str]:
    """This environment without any stack or cluster, this Python first on the path, its state in `folder`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return kept | {"PATH": path, servers.STATE_VARIABLE: str(folder), "PYTHONUNBUFFERED": "1"}


def run(
    words: Sequence[str], environment: Mapping[str, str], *, cwd: Path, seconds: float
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        words,
        env=dict(environment),
        cwd=cwd,
        timeout=seconds,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
