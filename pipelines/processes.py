"""Processes that outlive the command that started them: known again by number and start time, stopped with their own
children and nothing else."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from workbench.registry import UserError

LOOPBACK = "127.0.0.1"
START_SECONDS, STOP_SECONDS = 90.0, 8.0


@dataclass(kw_only=True)
class Process:
    """A process as it is written down: a number alone may since belong to another."""

    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> Process:
        """The running process with that number."""
        return cls(pid=pid, started=psutil.Process(pid).create_time())

    def find(self) -> psutil.Process | None:
        """The process, None when it has ended."""
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self.pid)
            if abs(process.create_time() - self.started) < 1 and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None


@dataclass(kw_only=True)
class Service(Process):
    """A server on the loopback interface. `users` are the processes that it is kept running for; `kept` says that it
    stays until it is stopped by name."""

    port: int
    url: str
    log: str
    kept: bool = False
    users: list[Process] = field(default_factory=list)


class Book:
    """The services that were started from one state directory, in a JSON file that is changed under a lock."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "services.json"

    @contextlib.contextmanager
    def changing(self) -> Iterator[dict[str, Service]]:
        """The services that still run, to be changed in place; written back at the end."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            services = self.running()
            try:
                yield services
            finally:
                text = json.dumps({name: asdict(service) for name, service in services.items()}, indent=2)
                partial = self.path.with_suffix(".partial")
                partial.write_text(text)
                partial.replace(self.path)

    def running(self) -> dict[str, Service]:
        """The services that still run."""
        if not self.path.exists():
            return {}
        services = {}
        for name, fields in json.loads(self.path.read_text()).items():
            users = [Process(**user) for user in fields.pop("users")]
            service = Service(**fields, users=[user for user in users if user.find()])
            if service.find():
                services[name] = service
        return services


def port_for(field_name: str, asked: int, usual: int) -> int:
    """The port that was asked for, which must be free; for 0 the usual one when it is free, else any.

    Raises UserError for one that is in use or none at all.
    """
    if not 0 <= asked <= 65535:
        raise UserError(
            f"{field_name}: {asked} given; a port from 1 to 65535, or 0 for any free one, is needed"
        )
    for port in (asked,) if asked else (usual, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((LOOPBACK, port))
                return int(probe.getsockname()[1])
    raise UserError(f"{field_name}: port {asked} is in use; choose another, or 0 for any free one")


def start(
    command: Sequence[str], *, port: int, log: Path, environment: Mapping[str, str], health: str
) -> Service:
    """Start a server in a session of its own, and wait until GET `health` below its URL answers.

    Raises UserError with the end of its log when it does not come up.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,
        )
    url = f"http://{LOOPBACK}:{port}"
    service = Service(**asdict(Process.of(process.pid)), port=port, url=url, log=str(log))
    deadline = time.monotonic() + START_SECONDS
    try:
        while not answers(url + health):
            if process.poll() is not None or time.monotonic() > deadline:
                lines = log.read_text(errors="replace").strip().splitlines() or ["nothing"]
                raise UserError(
                    f"the server {log.stem!r} did not start on port {port}: {lines[-1].strip()} (log: {log})"
                )
            time.sleep(0.1)
    except BaseException:
        stop(service)
        raise
    return service


def answers(url: str, *, seconds: float = 2.0) -> bool:
    """Whether an HTTP server answers there; a refusal to let us in is an answer too."""
    try:
        with urllib.request.urlopen(url, timeout=seconds):
            return True
    except urllib.error.HTTPError as error:
        return error.code in (401, 403)
    except OSError:
        return False


def stop(service: Process, *, seconds: float = STOP_SECONDS, first: Callable[[], None] | None = None) -> None:
    """End a process and its descendants: politely, then after `seconds` by force."""
    process = service.find()
    if process is None:
        return
    family = [process, *process.children(recursive=True)]
    if first is not None:
        first()
    with contextlib.suppress(psutil.Error):
        process.terminate()
    psutil.wait_procs([process], timeout=seconds)
    alive = [member for member in family if member.is_running()]
    for member in alive:
        with contextlib.suppress(psutil.Error):
            member.kill()
    psutil.wait_procs(alive, timeout=seconds)
