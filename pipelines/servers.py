"""The servers of the local stack, each with the settings it needs: MLflow on SQLite, a Ray head, the dashboard."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pipelines import scratch
from pipelines.processes import LOOPBACK, Service, port_for, start, unproxied
from workbench.registry import UserError

STATE_VARIABLE, TRACKING_VARIABLE = "WORKBENCH_STATE", "MLFLOW_TRACKING_URI"
DASHBOARD = Path(__file__).parent.parent / "dashboard" / "app.py"
OBJECT_STORE_BYTES = 200_000_000  # tasks pass names and numbers; tensors go through files
JOB_STOP_SECONDS = 10
SOCKET_PATH_BYTES = 103  # what macOS allows; Linux allows 107
# What Ray appends to its temporary folder at the longest.
RAY_SOCKET = "/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
STORE = "mlflow.db"
# A page of the UI asks several things at once; the control socket would lie in the user's home directory.
GUNICORN_OPTIONS = "--threads 8 --timeout 600 --no-control-socket"


def state_directory() -> Path:
    """Where the local store, the logs and the book of services are: $WORKBENCH_STATE, else .workbench here."""
    return Path(os.environ.get(STATE_VARIABLE, ".workbench")).expanduser().resolve()


def start_mlflow(folder: Path, port: int) -> Service:
    """The MLflow server: one worker process, since SQLite bears one writer.

    Under gunicorn, which answers the requests that are made here a third faster than the default server.
    """
    (folder / "artifacts").mkdir(parents=True, exist_ok=True)
    # Of the file, once and for all: a third less time a request, and the dashboard's readers delay no writer.
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(folder / STORE)) as store:
        store.execute("pragma journal_mode = wal")  # of a broken file the server itself tells
    arguments = [
        *(sys.executable, "-m", "mlflow", "server", "--host", LOOPBACK, "--port", str(port)),
        *("--workers", "1", "--gunicorn-opts", GUNICORN_OPTIONS),
        *("--backend-store-uri", f"sqlite:///{folder / STORE}"),
        *("--artifacts-destination", str(folder / "artifacts")),
    ]
    environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    return start(
        "mlflow",
        arguments,
        port=port,
        log=folder / "logs" / "mlflow.log",
        environment=_environment(environment),
        health="/health",
    )


def ray_environment(folder: Path) -> dict[str, str]:
    """How every process speaks with a Ray head of this state directory: with its token, made here where there is none.

    One place for starting, submitting, following and stopping: the head refuses whoever lacks the token.
    """
    token = folder / "ray_token"
    if not token.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = token.with_suffix(f".{os.getpid()}")
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
        with contextlib.suppress(FileExistsError):  # another process was faster; its token stands
            os.link(partial, token)
        partial.unlink()
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        # With this, "127.0.0.1" is taken at its word; without it Ray replaces it by an address that others can reach.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        # Ray's own 15 lets every daemon interrupt a fit: 7 % fewer images a second on two cores.
        "RAY_worker_niceness": "0",
    }


def start_ray(folder: Path, port: int, tracking_uri: str) -> Service:
    """A Ray head whose jobs find this stack's MLflow server and its Python."""
    ray = Path(sys.executable).with_name("ray")
    address = f"{LOOPBACK}:{port_for('ray_gcs_port', 0, 0)}"
    temporary = _ray_folder(folder)
    arguments = [
        *(str(ray), "start", "--head", "--block", "--disable-usage-stats", "--include-dashboard", "true"),
        *("--node-ip-address", LOOPBACK, "--port", address.rpartition(":")[2]),
        *("--dashboard-host", LOOPBACK, "--dashboard-port", str(port)),
        *("--object-store-memory", str(OBJECT_STORE_BYTES), "--temp-dir", str(temporary)),
        # By default these two are fixed, so that a second head on the machine could not have them.
        *("--dashboard-agent-listen-port", str(port_for("ray_agent_port", 0, 0))),
        *("--ray-client-server-port", str(port_for("ray_client_port", 0, 0))),
        *("--no-monitor", "--include-log-monitor", "false"),  # nothing scales up or reads the logs of workers
    ]
    environment = {
        **ray_environment(folder),
        TRACKING_VARIABLE: tracking_uri,
        STATE_VARIABLE: str(folder),
        "TMPDIR": str(temporary),  # so that what a killed task leaves behind goes with the head
        "WORKBENCH_SCRATCH": str(scratch.directory()),
        "PATH": f"{ray.parent}{os.pathsep}{os.environ.get('PATH', '')}",  # a job's `python` is this one
        "RAY_JOB_STOP_WAIT_TIME_S": str(JOB_STOP_SECONDS),
        "RAY_task_oom_retries": "2",  # by default a task that is killed for memory is tried for ever
    }
    return start(
        "ray",
        arguments,
        port=port,
        log=folder / "logs" / "ray.log",
        environment=_environment(environment),
        health="/api/version",
        address=address,
        folder=str(temporary),
    )


def start_dashboard(folder: Path, port: int, tracking_uri: str) -> Service:
    """The dashboard."""
    arguments = [
        *(sys.executable, "-m", "streamlit", "run", str(DASHBOARD), "--server.headless", "true"),
        *("--server.address", LOOPBACK, "--server.port", str(port), "--browser.gatherUsageStats", "false"),
    ]
    return start(
        "dashboard",
        arguments,
        port=port,
        log=folder / "logs" / "dashboard.log",
        environment=_environment({TRACKING_VARIABLE: tracking_uri, STATE_VARIABLE: str(folder)}),
        health="/_stcore/health",
    )


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    """This process's environment for a server, less what would point it to another cluster."""
    foreign = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_TOKEN", "RAY_JOB_ID", TRACKING_VARIABLE)
    kept = {name: value for name, value in os.environ.items() if name not in foreign}
    return kept | unproxied() | dict(settings)


def _ray_folder(folder: Path) -> Path:
    """Ray's temporary folder: empty, ours alone, and short enough for the sockets below it."""
    name = f"workbench-{os.getuid()}-{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}"
    for parent in (tempfile.gettempdir(), "/tmp"):
        path = Path(parent) / name
        if len(os.fsencode(f"{path}{RAY_SOCKET}")) <= SOCKET_PATH_BYTES:
            break
    if path.is_symlink() or (path.exists() and path.stat().st_uid != os.getuid()):
        raise UserError(f"state: {path} belongs to another user; it is needed for Ray's temporary files")
    shutil.rmtree(path, ignore_errors=True)  # of a head that did not end in order
    path.mkdir(mode=0o700)
    return path
