"""`make demo`: start the local stack, submit a study to it as a user would, and say where to look.

python -m pipelines.demo [STUDY] [--data digits] [--scale quick] [--mlflow-port ...]
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from pipelines import command, servers, stack
from pipelines.processes import Service

PROGRAM = "python -m pipelines.demo"
# What Ray says about itself between the lines of the study.
RAYS_OWN_WORDS = re.compile(
    r"\d{4}-\d\d-\d\d [\d:,]+\s+(INFO|SUCC) \w+\.py:\d+ -- |Running entrypoint for job "
)


@dataclass(frozen=True)
class Arguments:
    """Start the local stack, run a study on it as a Ray job, print where its results are shown."""

    study: Annotated[str, tyro.conf.Positional] = "step_sweep"
    """The study to run."""
    data: str = "digits"
    """Data set, or the path of your own."""
    scale: str = "quick"
    """smoke, quick, standard or full."""
    mlflow_port: int = 0
    """Port of the MLflow server; 0: 5000 when it is free, else any."""
    ray_port: int = 0
    """Port of Ray's dashboard and job server; 0: 8265 when it is free, else any."""
    dashboard_port: int = 0
    """Port of the dashboard; 0: 8501 when it is free, else any."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit status of the study."""
    return command.guarded(
        lambda: _run(command.parse(Arguments, argv, program=PROGRAM)),
        program=PROGRAM,
        log_folder=lambda: servers.state_directory() / "logs",
    )


def _run(arguments: Arguments) -> int:
    folder = servers.state_directory()
    print("starting the local stack: MLflow server, Ray head, dashboard", flush=True)
    services = stack.up(
        folder,
        mlflow_port=arguments.mlflow_port,
        ray_port=arguments.ray_port,
        dashboard_port=arguments.dashboard_port,
    )
    print(stack.describe(services), flush=True)
    study = ["python", "-m", "pipelines.study", arguments.study]
    if arguments.data != Arguments.data:
        own = Path(arguments.data)  # the job runs in another directory
        study += ["--data", str(own.resolve()) if own.exists() else arguments.data]
    if arguments.scale != Arguments.scale:
        study += ["--scale", arguments.scale]
    status = _submit(study, folder, services)
    where = {
        stack.TITLES["dashboard"]: f"{services['dashboard'].url}/study?study={arguments.study}",
        stack.TITLES["mlflow"]: services["mlflow"].url,
        stack.TITLES["ray"]: f"{services['ray'].url} (asks for the token in {folder / 'ray_token'})",
    }
    print()
    for title, url in where.items():
        print(f"{title:10} {url}")
    print("`make down` stops all three; the results stay.")
    return status


def _submit(study: Sequence[str], folder: Path, services: Mapping[str, Service]) -> int:
    """Submit a job and follow it to its end; returns its exit status. Whoever stops the demo stops the job."""
    environment = {**os.environ, **stack.shell_settings(folder, services), "PYTHONUNBUFFERED": "1"}
    ray = str(Path(sys.executable).with_name("ray"))
    job = f"demo-{time.time_ns()}"
    print(f"\n$ ray job submit -- {shlex.join(study)}\n", flush=True)
    with subprocess.Popen(
        [ray, "job", "submit", "--submission-id", job, "--", *study],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as follower:
        assert follower.stdout is not None
        try:
            for line in follower.stdout:
                if not RAYS_OWN_WORDS.match(line):
                    print(line, end="", flush=True)
        except BaseException:
            follower.terminate()
            subprocess.run([ray, "job", "stop", job], env=environment, stdout=subprocess.DEVNULL, check=False)
            raise
    if follower.returncode == 0 and stack.job_status(services["ray"], folder, job) == "STOPPED":
        print("the job was stopped; `make demo` goes on where it was")
        return command.FAILURE
    return follower.returncode


if __name__ == "__main__":
    sys.exit(main())
