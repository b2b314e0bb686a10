"""No run is left RUNNING: the sign of life of an execution, and the burial of those that died."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from pipelines import names
from pipelines.tracking import Tracking

LOG = logging.getLogger(__name__)
BEAT_SECONDS = 10.0
STALE_SECONDS = 90.0
LATE_SWEEPS, LATE_SWEEP_SECONDS = 2, 0.25


def execution_tags() -> dict[str, str]:
    """The tags of the run of an execution: its sign of life, and this process, told apart from any other of any time by
    host, process id and start time."""
    process = [socket.gethostname(), os.getpid(), _start_of(os.getpid())]
    return {
        names.TAG_KIND: "study",
        names.TAG_PROCESS: json.dumps(process),
        names.TAG_HEARTBEAT: f"{time.time():.0f}",
    }


def is_alive(run: Run) -> bool:
    """Whether the driver of an execution still lives: asked of the system when it ran on this machine, else told by its
    heartbeat."""
    try:
        host, pid, start = json.loads(run.data.tags[names.TAG_PROCESS])
        beat = float(run.data.tags[names.TAG_HEARTBEAT])
    except (KeyError, ValueError):
        return False
    if host == socket.gethostname() and start:
        return _start_of(int(pid)) == str(start)
    return time.time() - beat < STALE_SECONDS


def end_abandoned(tracking: Tracking, runs: Sequence[Run]) -> int:
    """KILL those of `runs` that are RUNNING though their execution no longer lives; returns how many."""
    alive: dict[str, bool] = {}
    ended = 0
    for run in runs:
        if run.info.status != "RUNNING":
            continue
        execution = run.data.tags.get(names.TAG_EXECUTION, run.info.run_id)  # an execution is its own
        if execution not in alive:
            alive[execution] = _execution_lives(tracking, execution)
        if not alive[execution]:
            tracking.end(run.info.run_id, "KILLED", "its process died without a word; ended at a later start")
            ended += 1
    return ended


def _execution_lives(tracking: Tracking, execution: str) -> bool:
    try:
        run = tracking.client.get_run(execution)
    except MlflowException:  # deleted for good
        return False
    return run.info.status == "RUNNING" and is_alive(run)


@contextlib.contextmanager
def heartbeat(tracking: Tracking, execution: str) -> Iterator[None]:
    """Refresh the sign of life of an execution as long as the block runs."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT_SECONDS):
            with contextlib.suppress(MlflowException, OSError):  # a missed beat is made up for by the next
                tracking.client.set_tag(execution, names.TAG_HEARTBEAT, f"{time.time():.0f}")

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()


def end_all(tracking: Tracking, experiments: Sequence[str], execution: str, status: str, reason: str) -> None:
    """End an execution that was cut short, and all that it left RUNNING. `ray job stop` allows three seconds for it."""
    tracking.client.set_terminated(execution, status)
    tracking.end_running(experiments, execution, reason)
    tracking.client.set_tag(execution, names.TAG_REASON, reason[:4000])
    for _ in range(LATE_SWEEPS):  # a worker may have had a request on its way when it was killed
        time.sleep(LATE_SWEEP_SECONDS)
        tracking.end_running(experiments, execution, reason)


def _start_of(pid: int) -> str:
    """The start time of a process in clock ticks since boot, with the boot; empty where the system does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return f"{boot}:{after_name[19]}"  # field 22 of proc(5), the third after the name being the first here
