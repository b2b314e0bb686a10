"""The local stack: an MLflow server on SQLite, a Ray head and the dashboard, all on the loopback interface.

    python -m pipelines.stack up | down | status | env

`down` stops what `up` started and nothing else. `env` prints what a shell needs for `ray job submit` to reach the head.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from pipelines import command
from pipelines.processes import LOOPBACK, Book, Process, Service, answers, port_for, start, stop

STATE_VARIABLE, TRACKING_VARIABLE = "WORKBENCH_STATE", "MLFLOW_TRACKING_URI"
DASHBOARD = Path(__file__).parent.parent / "dashboard" / "app.py"


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
    """Port of the comparison dashboard; 0: 8501 when it is free, else any."""
    state: Path | None = None
    """Directory of the store and the logs; default: $WORKBENCH_STATE, else .workbench in this directory."""


def state_directory() -> Path:
    """Where the local store, the logs and the book of services are: $WORKBENCH_STATE, else .workbench here."""
    return Path(os.environ.get(STATE_VARIABLE, ".workbench")).resolve()


@contextlib.contextmanager
def tracking_server(state: Path | None = None) -> Iterator[str]:
    """The URI of the MLflow server to use: $MLFLOW_TRACKING_URI, else that of the stack, else of one on the same SQLite
    file that is kept running for as long as somebody uses it."""
    if TRACKING_VARIABLE in os.environ:
        yield os.environ[TRACKING_VARIABLE]
        return
    folder = state or state_directory()
    book, user = Book(folder), Process.of(os.getpid())
    with book.changing() as services:
        if "mlflow" not in services:
            services["mlflow"] = start_mlflow(folder, port_for("mlflow_port", 0, 5000))
        services["mlflow"].users.append(user)
        url = services["mlflow"].url
    try:
        yield url
    finally:
        with book.changing() as services:
            service = services.get("mlflow")
            if service is not None:
                service.users = [other for other in service.users if other != user]
                if not service.users and not service.kept:
                    stop(services.pop("mlflow"))


def start_mlflow(folder: Path, port: int) -> Service:
    """The MLflow server: one worker, since SQLite bears one writer."""
    folder.mkdir(parents=True, exist_ok=True)
    arguments = [
        *(
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--host",
            LOOPBACK,
            "--port",
            str(port),
            "--workers",
            "1",
        ),
        *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
        *("--artifacts-destination", str(folder / "artifacts")),
    ]
    environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    return start(
        arguments, port=port, log=folder / "logs" / "mlflow.log", environment=environment, health="/health"
    )


def ray_environment(folder: Path) -> dict[str, str]:
    """How every command reaches the head of this stack: the token that its job server asks for, in one place."""
    token = folder / "ray_token"
    if not token.exists():
        folder.mkdir(parents=True, exist_ok=True)
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}


def start_ray(folder: Path, port: int, tracking_uri: str) -> Service:
    """A Ray head whose jobs find this stack's MLflow server; processes of the head end with it."""
    # Ray's sockets lie below its temporary folder, and the path of a socket has at most 107 bytes.
    short = hashlib.sha256(str(folder).encode()).hexdigest()[:8]
    scratch = Path(tempfile.gettempdir()) / f"workbench-ray-{os.getuid()}-{short}"
    ray = Path(sys.executable).with_name("ray")
    arguments = [
        *(str(ray), "start", "--head", "--block", "--disable-usage-stats", "--include-dashboard", "true"),
        *("--node-ip-address", LOOPBACK, "--port", str(port_for("ray_gcs_port", 0, 0))),
        *("--dashboard-host", LOOPBACK, "--dashboard-port", str(port)),
        *("--dashboard-agent-listen-port", str(port_for("ray_agent_port", 0, 0))),
        *("--ray-client-server-port", str(port_for("ray_client_port", 0, 0))),
        *("--temp-dir", str(scratch)),
    ]
    environment = {
        **ray_environment(folder),
        TRACKING_VARIABLE: tracking_uri,
        STATE_VARIABLE: str(folder),
        "PATH": f"{ray.parent}{os.pathsep}{os.environ.get('PATH', '')}",  # so that a job's `python` is this one
        "RAY_task_oom_retries": "2",
        "RAY_DISABLE_IMPORT_WARNING": "1",
    }
    return start(
        arguments, port=port, log=folder / "logs" / "ray.log", environment=environment, health="/api/version"
    )


def start_dashboard(folder: Path, port: int, tracking_uri: str) -> Service:
    """The comparison dashboard."""
    arguments = [
        *(sys.executable, "-m", "streamlit", "run", str(DASHBOARD), "--server.headless", "true"),
        *("--server.address", LOOPBACK, "--server.port", str(port), "--browser.gatherUsageStats", "false"),
    ]
    environment = {TRACKING_VARIABLE: tracking_uri, STATE_VARIABLE: str(folder)}
    log = folder / "logs" / "dashboard.log"
    return start(arguments, port=port, log=log, environment=environment, health="/_stcore/health")


def up(
    folder: Path, *, mlflow_port: int = 0, ray_port: int = 0, dashboard_port: int = 0
) -> dict[str, Service]:
    """Start what does not run yet. Raises UserError for a port in use; what was started before that stays."""
    with Book(folder).changing() as services:
        if "mlflow" not in services:
            services["mlflow"] = start_mlflow(folder, port_for("mlflow_port", mlflow_port, 5000))
        services["mlflow"].kept = True
        uri = services["mlflow"].url
        if "ray" not in services:
            services["ray"] = start_ray(folder, port_for("ray_port", ray_port, 8265), uri)
        if "dashboard" not in services:
            services["dashboard"] = start_dashboard(
                folder, port_for("dashboard_port", dashboard_port, 8501), uri
            )
        return dict(services)


def down(folder: Path) -> list[str]:
    """Stop the services of this state directory, the head before the server that its jobs write to; their names."""
    with Book(folder).changing() as services:
        order = [name for name in ("dashboard", "ray", "mlflow") if name in services]
        for name in order:
            stop(services.pop(name))
        return order


def describe(services: Mapping[str, Service]) -> str:
    """A line a service: name, URL, whether it answers."""
    health = {"mlflow": "/health", "ray": "/api/version", "dashboard": "/_stcore/health"}
    lines = [
        f"{name:10} {service.url}  {'ok' if answers(service.url + health[name]) else f'no answer (log: {service.log})'}"
        for name, service in services.items()
    ]
    return "\n".join(lines) or "nothing runs; `python -m pipelines.stack up` starts it"


def shell_settings(folder: Path, services: Mapping[str, Service]) -> dict[str, str]:
    """The variables with which `ray job submit` and the pipelines reach this stack."""
    settings = {STATE_VARIABLE: str(folder)}
    if "mlflow" in services:
        settings[TRACKING_VARIABLE] = services["mlflow"].url
    if "ray" in services:
        settings |= {"RAY_API_SERVER_ADDRESS": services["ray"].url, **ray_environment(folder)}
    return settings


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit status."""

    def run() -> int:
        arguments = command.parse(Arguments, argv, program="python -m pipelines.stack")
        folder = arguments.state.resolve() if arguments.state else state_directory()
        if arguments.action == "up":
            ports = (arguments.mlflow_port, arguments.ray_port, arguments.dashboard_port)
            print(describe(up(folder, mlflow_port=ports[0], ray_port=ports[1], dashboard_port=ports[2])))
        elif arguments.action == "down":
            print(f"stopped: {', '.join(down(folder)) or 'nothing was running'}")
        elif arguments.action == "status":
            print(describe(Book(folder).running()))
        else:
            for name, value in shell_settings(folder, Book(folder).running()).items():
                print(f"export {name}={value}")
        return 0

    return command.guarded(
        run, program="python -m pipelines.stack", log_folder=lambda: state_directory() / "logs"
    )


if __name__ == "__main__":
    sys.exit(main())
