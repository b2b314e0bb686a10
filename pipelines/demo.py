"""`make demo`: start the local stack, submit the first study to it as a user would, and say where to look.

python -m pipelines.demo [STUDY] [--data digits] [--scale quick] [--mlflow-port ...]
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from pipelines import command, stack


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
    """Port of the comparison dashboard; 0: 8501 when it is free, else any."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit status of the study."""
    program = "python -m pipelines.demo"
    return command.guarded(
        lambda: _run(command.parse(Arguments, argv, program=program)),
        program=program,
        log_folder=lambda: stack.state_directory() / "logs",
    )


def _run(arguments: Arguments) -> int:
    folder = stack.state_directory()
    print("starting the local stack: MLflow, Ray, dashboard", flush=True)
    services = stack.up(
        folder,
        mlflow_port=arguments.mlflow_port,
        ray_port=arguments.ray_port,
        dashboard_port=arguments.dashboard_port,
    )
    print(stack.describe(services), flush=True)
    ray = str(Path(sys.executable).with_name("ray"))
    environment = {**os.environ, **stack.shell_settings(folder, services)}
    job = f"{arguments.study}-{int(time.time())}"
    study = [
        "python",
        "-m",
        "pipelines.study",
        arguments.study,
        "--data",
        arguments.data,
        "--scale",
        arguments.scale,
    ]
    print(f"\n$ ray job submit -- {' '.join(study)}\n", flush=True)
    submit = [ray, "job", "submit", "--submission-id", job, "--", *study]
    try:
        status = subprocess.run(submit, env=environment, check=False).returncode
    except BaseException:
        # The job lives on the cluster; a user who stops the demo means the job.
        subprocess.run([ray, "job", "stop", job], env=environment, check=False)
        raise
    page = f"{services['dashboard'].url}/study?study={arguments.study}"
    print(
        f"\nMLflow UI   {services['mlflow'].url}\nDashboard   {page}\nRay         {services['ray'].url}\n"
        "`make down` stops all three; the results stay."
    )
    return status


if __name__ == "__main__":
    sys.exit(main())
