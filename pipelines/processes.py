"""Servers that outlive the command that started them: written down, known again, stopped with all that they started.

A process is known again by its number and start time, since a number alone may by now belong to another. Everything
that a server starts inherits a mark in its environment, so that its family is found even when it changed sessions or
lost its parents, and so that nothing else is ever stopped.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from workbench.registry import UserError

LOOPBACK = "127.0.0.1"
MARK = "WORKBENCH_SERVICE"
START_SECONDS, STOP_SECONDS = 120.0, 10.0
POLL_SECONDS = 0.1
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy
CLOCK_SECONDS = 2.0  # start times are told relative to the boot, whose time moves when the clock is set


@dataclass(kw_only=True)
class Process:
    """A process as it is written down; `started` is in seconds since 1970."""

    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> Process:
        """The running process with that number."""
        return cls(pid=pid, started=psutil.Process(pid).create_time())

    def find(self) -> psutil.Process | None:
        """The process, None when it has ended."""
        with contextlib.suppress(psutil.Error):  # it has ended
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < CLOCK_SECONDS
            if same and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None


@dataclass(kw_only=True)
class Service(Process):
    """A server on the loopback interface that answers GET `health` below `url`.

    `users` are the processes for which it is kept running; `kept` says that it stays until it is stopped by name.
    `address` is a second address that it has, `folder` a directory that ends with it.
    """

    name: str
    mark: str
    port: int
    url: str
    health: str
    log: str
    address: str = ""
    folder: str = ""
    kept: bool = False
    users: list[Process] = field(default_factory=list)

    def answers(self) -> bool:
        """Whether it is this server, and no other on its port, that answers."""
        return answers(self.url + self.health) and any(_listens(member, self.port) for member in family(self))


class Book:
    """The services that were started from one state directory, in a JSON file that is changed under a lock."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "stack.json"

    @contextlib.contextmanager
    def changing(self) -> Iterator[dict[str, Service]]:
        """The services that still run, to be changed in place; written back at the end, whatever happened."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = self.path.with_suffix(".lock").open("w")
        except OSError as error:
            raise UserError(
                f"state: {self.path.parent} cannot be written ({error.strerror}); choose another"
            ) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            services = self.running()
            try:
                yield services
            finally:
                text = json.dumps({name: asdict(service) for name, service in services.items()}, indent=2)
                partial = self.path.with_suffix(".partial")
                partial.write_text(text + "\n")
                partial.replace(self.path)

    def running(self) -> dict[str, Service]:
        """The services that still run, if only in part: a server that died may have left processes behind."""
        services = {}
        try:
            written = json.loads(self.path.read_text())
            for name, fields in written.items():
                users = [Process(**user) for user in fields.pop("users")]
                service = Service(**fields, users=[user for user in users if user.find()])
                if service.find() or family(service):
                    services[name] = service
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f"state: {self.path} cannot be read ({error}); delete it") from error
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
            with contextlib.suppress(OSError):  # in use
                probe.bind((LOOPBACK, port))
                return int(probe.getsockname()[1])
    raise UserError(f"{field_name}: port {asked} is in use; choose another, or 0 for any free one")


def start(
    name: str,
    command: Sequence[str],
    *,
    port: int,
    log: Path,
    environment: Mapping[str, str],
    health: str,
    address: str = "",
    folder: str = "",
) -> Service:
    """Start a server in a session of its own. It is not up yet: see `wait_until_up`. Its log is begun anew."""
    log.parent.mkdir(parents=True, exist_ok=True)
    mark = f"{name}-{secrets.token_hex(8)}"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**environment, MARK: mark},
            start_new_session=True,
        )
    return Service(
        **asdict(Process.of(process.pid)),
        name=name,
        mark=mark,
        port=port,
        url=f"http://{LOOPBACK}:{port}",
        health=health,
        log=str(log),
        address=address,
        folder=folder,
    )


def wait_until_up(service: Service, *, seconds: float = START_SECONDS) -> None:
    """Wait until a server answers. Raises UserError with the end of its log when it dies or takes too long."""
    deadline = time.monotonic() + seconds
    while not service.answers():
        ended = service.find() is None
        if ended or time.monotonic() > deadline:
            problem = "ended at once" if ended else f"did not answer within {seconds:.0f} s"
            raise UserError(
                f"{service.name}: the server on port {service.port} {problem}: {_last_words(service)} "
                f"(log: {service.log})"
            )
        time.sleep(POLL_SECONDS)


def unproxied() -> dict[str, str]:
    """Environment variables that keep what is said on the loopback interface from a proxy, where one is set."""
    proxied = any(name.lower() in ("http_proxy", "all_proxy") for name in os.environ)
    excepted = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    value = ",".join(filter(None, (excepted, LOOPBACK)))
    return {"no_proxy": value, "NO_PROXY": value} if proxied else {}


def answers(url: str, *, seconds: float = 2.0) -> bool:
    """Whether an HTTP server answers there; a refusal to let us in is an answer too."""
    try:
        with DIRECT.open(url, timeout=seconds):
            return True
    except urllib.error.HTTPError as error:
        return error.code in (401, 403)
    except (OSError, ValueError):
        return False


def family(service: Service) -> list[psutil.Process]:
    """The processes of a service that run: itself and all that carry its mark."""
    members = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):  # another user's, or it has ended
            if process.environ().get(MARK) == service.mark and process.status() != psutil.STATUS_ZOMBIE:
                members.append(process)
    return members


def stop(service: Service, *, seconds: float = STOP_SECONDS) -> None:
    """End a service and all that it started: asked first, which lets it tidy up, then after `seconds` by force."""
    process = service.find()
    asked: set[psutil.Process] = set()
    deadline = time.monotonic() + seconds
    while (members := family(service)) and time.monotonic() < deadline:
        # The server itself ends what it started, in the right order; what it left is asked when it is gone.
        to_ask = {process} if process is not None and process in members else set(members)
        _each(to_ask - asked, psutil.Process.terminate)
        asked |= to_ask
        psutil.wait_procs(members, timeout=POLL_SECONDS)
    while members := family(service):  # what is killed may have started another just before
        _each(members, psutil.Process.kill)
        psutil.wait_procs(members, timeout=1.0)
    if process is not None:
        psutil.wait_procs([process], timeout=0)  # reaps a child of this process


def _each(processes: Iterable[psutil.Process], act: Callable[[psutil.Process], None]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):  # it has ended
            act(process)


def _listens(process: psutil.Process, port: int) -> bool:
    with contextlib.suppress(psutil.Error):  # it has ended, or may not be looked into
        return any(
            connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
            for connection in process.net_connections(kind="tcp")
        )
    return False


def _last_words(service: Service) -> str:
    """The last line of its log that says something."""
    with contextlib.suppress(OSError):  # it did not come so far as to have one
        lines = [line.strip() for line in Path(service.log).read_text(errors="replace").splitlines()]
        said = [line for line in lines if any(letter.isalpha() for letter in line)]
        if said:
            return said[-1][:300]
    return "it said nothing"
