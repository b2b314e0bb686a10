"""The local stack: an MLflow server on SQLite, a Ray head and the dashboard, all on the loopback interface.

    python -m pipelines.stack up | down | status | env

`down` stops what `up` started and nothing else. `env` prints what a shell needs for `ray job submit` to reach the head.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from pipelines import command
from pipelines.processes import (
    DIRECT,
    Book,
    Process,
    Service,
    port_for,
    stop,
    unproxied,
    wait_until_up,
)
from pipelines.servers import (
    JOB_STOP_SECONDS,
    STATE_VARIABLE,
    TRACKING_VARIABLE,
    ray_environment,
    start_dashboard,
    start_mlflow,
    start_ray,
    state_directory,
)
from workbench.registry import UserError

PROGRAM = "python -m pipelines.stack"
USUAL_PORTS = {"mlflow": 5000, "ray": 8265, "dashboard": 8501}
TITLES = {"mlflow": "MLflow UI", "ray": "Ray", "dashboard": "Dashboard"}


@dataclass(frozen=True)
class Arguments:
    """Start, stop or look at the local stack."""

    action: Annotated[Literal["up", "down", "status", "env"], tyro.conf.Positional]
    """up: start what does not run yet; down: stop it; status: say what runs; env: print shell settings."""
    mlflow_port: int = 0
    """Port of the MLflow server; 0: 5000 when it is free, else any."""
    ray_port: int = 0
    """Port of Ray's dashboard and job server; 0: 8265 when it is free, else any."""
    dashboard_port: int = 0
    """Port of the dashboard; 0: 8501 when it is free, else any."""
    state: Path | None = None
    """Directory of the store and the logs; default: $WORKBENCH_STATE, else .workbench in this directory."""


@contextlib.contextmanager
def tracking_server(state: Path | None = None) -> Iterator[str]:
    """The URI of the MLflow server to use: $MLFLOW_TRACKING_URI, else that of the stack, else of one on the same SQLite
    file, which is kept running for as long as somebody uses it."""
    if given := os.environ.get(TRACKING_VARIABLE):
        yield given
        return
    os.environ.update(unproxied())
    folder = state or state_directory()
    book, user = Book(folder), Process.of(os.getpid())
    with book.changing() as services:
        _drop_broken(services, "mlflow")
        if "mlflow" not in services:
            _start_all(services, {"mlflow": start_mlflow(folder, port_for("mlflow_port", 0, 5000))})
        services["mlflow"].users.append(user)
        url = services["mlflow"].url
    try:
        yield url
    finally:
        with book.changing() as services:
            service = services.get("mlflow")
            if service is not None and user in service.users:
                service.users.remove(user)
                if not service.users and not service.kept:
                    stop(services.pop("mlflow"))


def up(
    folder: Path, *, mlflow_port: int = 0, ray_port: int = 0, dashboard_port: int = 0
) -> dict[str, Service]:
    """Start what does not run yet, all at once, and wait until everything answers.

    Raises UserError for a port in use, and when a server does not come up; what this call started is then stopped.
    """
    asked = {"mlflow": mlflow_port, "ray": ray_port, "dashboard": dashboard_port}
    with Book(folder).changing() as services:
        for name in asked:
            _drop_broken(services, name)
            if name in services and asked[name] not in (0, services[name].port):
                raise UserError(
                    f"{name}_port: {asked[name]} given, but this server runs already, on port {services[name].port}; "
                    f"`{PROGRAM} down` stops it"
                )
        ports = {
            name: port_for(f"{name}_port", asked[name], USUAL_PORTS[name])
            for name in set(asked) - set(services)
        }
        new: dict[str, Service] = {}
        try:
            if "mlflow" in ports:
                new["mlflow"] = start_mlflow(folder, ports["mlflow"])
            tracking_uri = (new | services)["mlflow"].url
            if "ray" in ports:
                new["ray"] = start_ray(folder, ports["ray"], tracking_uri)
            if "dashboard" in ports:
                new["dashboard"] = start_dashboard(folder, ports["dashboard"], tracking_uri)
        except BaseException:
            _stop_all(new)
            raise
        _start_all(services, new)
        services["mlflow"].kept = True
        return {name: services[name] for name in asked}


def down(folder: Path) -> list[str]:
    """Stop the services of this state directory, the head before the server that its jobs write to; their names.

    A server that a study outside the stack still uses ends with that study.
    """
    if not Book(folder).path.exists():
        return []
    with Book(folder).changing() as services:
        if "mlflow" in services:
            services["mlflow"].kept = False
        order: list[str] = [
            name for name in ("dashboard", "ray", "mlflow") if name in services and not services[name].users
        ]
        for name in order:
            if name == "ray":
                _stop_jobs(services[name], folder)
            _stop_all({name: services[name]})
            del services[name]
        return order


def describe(services: Mapping[str, Service]) -> str:
    """A line a service: its title, its URL, whether it answers."""
    lines = [
        f"{TITLES[name]:10} {service.url}  "
        + ("up" if service.answers() else f"does not answer (log: {service.log})")
        for name, service in services.items()
    ]
    return "\n".join(lines) or f"nothing runs; `{PROGRAM} up` starts it"


def shell_settings(folder: Path, services: Mapping[str, Service]) -> dict[str, str]:
    """The variables with which `ray job submit` and the pipelines reach this stack."""
    settings = {STATE_VARIABLE: str(folder)} | unproxied()
    if "mlflow" in services:
        settings[TRACKING_VARIABLE] = services["mlflow"].url
    if "ray" in services:
        settings |= {"RAY_API_SERVER_ADDRESS": services["ray"].url, "RAY_ADDRESS": services["ray"].address}
        settings |= ray_environment(folder)
    return settings


def job_status(ray: Service, folder: Path, job: str) -> str:
    """What Ray says of a job: PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED. Raises OSError without an answer."""
    return str(_ask_ray(ray, folder, "GET", f"/api/jobs/{job}")["status"])


def _start_all(services: dict[str, Service], new: Mapping[str, Service]) -> None:
    """Enter new services once each of them is up; stop them all when one does not come up."""
    try:
        for service in new.values():
            wait_until_up(service)
    except BaseException:
        _stop_all(new)
        raise
    services.update(new)


def _stop_all(services: Mapping[str, Service]) -> None:
    for service in services.values():
        stop(service)
        if service.folder:
            shutil.rmtree(service.folder, ignore_errors=True)


def _drop_broken(services: dict[str, Service], name: str) -> None:
    """Stop what is left of a server that died, so that it can be started again."""
    if name in services and services[name].find() is None:
        _stop_all({name: services.pop(name)})


def _stop_jobs(ray: Service, folder: Path) -> None:
    """Stop the jobs of a head as `ray job stop` does, which gives them time to end their runs in MLflow."""
    deadline = time.monotonic() + JOB_STOP_SECONDS + 2
    with contextlib.suppress(OSError, ValueError):  # a head that does not answer is stopped all the same
        asked: set[str] = set()
        while time.monotonic() < deadline:
            running = [
                job["submission_id"]
                for job in _ask_ray(ray, folder, "GET", "/api/jobs/")
                if job["status"] in ("PENDING", "RUNNING") and job["submission_id"]
            ]
            if not running:
                return
            for job in set(running) - asked:
                _ask_ray(ray, folder, "POST", f"/api/jobs/{job}/stop")
                asked.add(job)
            time.sleep(0.2)


def _ask_ray(ray: Service, folder: Path, method: str, path: str) -> Any:
    token = Path(ray_environment(folder)["RAY_AUTH_TOKEN_PATH"]).read_text()
    request = urllib.request.Request(
        ray.url + path, method=method, headers={"Authorization": f"Bearer {token}"}
    )
    with DIRECT.open(request, timeout=JOB_STOP_SECONDS) as answer:
        return json.load(answer)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit status: 0, 1 when `status` finds a server that does not answer."""

    def run() -> int:
        arguments = command.parse(Arguments, argv, program=PROGRAM)
        if arguments.state is not None:
            os.environ[STATE_VARIABLE] = str(arguments.state)
        folder = state_directory()
        if arguments.action == "up":
            services = up(
                folder,
                mlflow_port=arguments.mlflow_port,
                ray_port=arguments.ray_port,
                dashboard_port=arguments.dashboard_port,
            )
            print(describe(services))
        elif arguments.action == "down":
            stopped = down(folder)
            print(f"stopped: {', '.join(TITLES[name] for name in stopped) or 'nothing was running'}")
            if "mlflow" not in stopped and "mlflow" in Book(folder).running():
                print("the MLflow server is in use by a study and ends with it")
        elif arguments.action == "status":
            services = Book(folder).running()
            print(describe(services))
            return (
                0 if services and all(service.answers() for service in services.values()) else command.FAILURE
            )
        else:
            for name, value in shell_settings(folder, Book(folder).running()).items():
                print(f"export {name}={shlex.quote(value)}")
        return 0

    return command.guarded(run, program=PROGRAM, log_folder=lambda: state_directory() / "logs")


if __name__ == "__main__":
    sys.exit(main())
