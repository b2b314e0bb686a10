"""Run a plan: one loop, and behind one seam the executors that run its stages inline or in Ray tasks."""

from __future__ import annotations

import heapq
import logging
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace
from typing import Any, Protocol

from pipelines import errors, machine
from pipelines.plan import Plan
from pipelines.stage import GUESSED_BYTES, Done, Stage
from pipelines.tracking import Tracking, require_server
from pipelines.work import Outcome, Setting, record_failure, run_stage
from workbench.registry import UserError

LOG = logging.getLogger(__name__)
ATTEMPTS = 3
LOCAL = "local"
JOIN_SECONDS = 30
JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # set by Ray in its jobs, which are on a cluster that answers
WAIT_SECONDS = 0.5


class Executor(Protocol):
    """Where stages are run. `slots` is how many to submit at once, `concurrency` how many run at the same time,
    `memory` the bytes that the largest place has for one; `description` says where."""

    slots: int
    concurrency: int
    memory: int
    description: str

    def submit(self, stage: Stage, inputs: Mapping[str, Done], setting: Setting) -> None:
        """Have a stage run. Its outcome is told by `outcomes` later."""

    def outcomes(self) -> list[Outcome]:
        """The stages that ended since the last call; waits for a moment, not for ever."""

    def cancel(self) -> None:
        """Stop what is running, at once."""

    def close(self) -> None:
        """Give back what was taken; called whatever happened."""


class Listener(Protocol):
    """Who is told how an execution goes."""

    def started(self, stage: Stage) -> None:
        """The stage was submitted."""

    def ended(self, stage: Stage, outcome: Outcome) -> None:
        """The stage ended, for good."""

    def passed(self) -> None:
        """A moment passed."""


class InlineExecutor:
    """One stage after the other in this process."""

    slots = concurrency = 1
    description = "this process, one stage after the other"

    def __init__(self) -> None:
        self.memory = machine.memory_bytes()
        self._queue: deque[tuple[Stage, Mapping[str, Done], Setting]] = deque()

    def submit(self, stage: Stage, inputs: Mapping[str, Done], setting: Setting) -> None:
        self._queue.append((stage, inputs, setting))

    def outcomes(self) -> list[Outcome]:
        return [run_stage(*self._queue.popleft())] if self._queue else []

    def cancel(self) -> None:
        self._queue.clear()

    def close(self) -> None:
        self._queue.clear()


class RayExecutor:
    """Ray tasks, as many at once as there are CPUs for.

    On the cluster at `address`, else that of RAY_ADDRESS, which Ray sets in its jobs, else on one that is started here:
    never on one that was not named. Raises UserError when none answers there.

    Tasks are not retried by Ray: a worker that died leaves a run behind, which has to be ended before another attempt,
    and a task killed for memory would be retried for ever.
    """

    def __init__(self, address: str | None) -> None:
        asked = address or os.environ.get("RAY_ADDRESS") or LOCAL
        if asked == LOCAL:
            # A cluster on the loopback interface alone, whatever its name says; read when Ray is imported.
            os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
            os.environ.setdefault("RAY_worker_niceness", "0")  # as in the stack, for its reason
        import ray

        self._ray = ray
        self._tasks: dict[Future[Outcome], tuple[Any, Stage]] = {}
        self._remote = ray.remote(run_stage)
        _connect(asked)
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        self._largest = {
            name: max((n.get(name, 0) for n in nodes), default=0) for name in ("CPU", "GPU", "memory")
        }
        self.memory = int(self._largest["memory"])
        total = ray.cluster_resources()
        self.concurrency = max(1, int(total.get("CPU", 1)))
        self.slots = 2 * self.concurrency + 2  # a few in the queue, so that no worker waits for the driver
        self.description = (
            f"Ray at {ray.get_runtime_context().gcs_address}: {len(nodes)} node{'s' * (len(nodes) != 1)}, "
            f"{total.get('CPU', 0):g} CPUs, {total.get('GPU', 0):g} GPUs, {total.get('memory', 0) / 1e9:.1f} GB"
        )

    def submit(self, stage: Stage, inputs: Mapping[str, Done], setting: Setting) -> None:
        # More than any node has would wait for ever; of what is guessed, two share the largest in any case.
        most = self._largest["memory"] / (2 if stage.resources.memory_bytes <= GUESSED_BYTES else 1)
        cpus = int(min(stage.resources.cpus, self._largest["CPU"]))
        stage = replace(
            stage, resources=replace(stage.resources, cpus=cpus)
        )  # as many threads as it is given
        task = self._remote.options(
            name=f"{stage.kind}: {stage.name}",
            num_cpus=cpus,
            num_gpus=min(stage.resources.gpus, self._largest["GPU"]),
            memory=int(min(stage.resources.memory_bytes, most)),
            max_retries=0,
        )
        reference = task.remote(stage, inputs, setting)
        self._tasks[reference.future()] = (reference, stage)

    def outcomes(self) -> list[Outcome]:
        # Futures rather than ray.wait, in which the exception of a signal handler is lost.
        ended, _ = wait(self._tasks, timeout=WAIT_SECONDS, return_when=FIRST_COMPLETED)
        return [self._outcome(future) for future in ended]

    def _outcome(self, future: Future[Outcome]) -> Outcome:
        _, stage = self._tasks.pop(future)
        try:
            return future.result()
        except self._ray.exceptions.RayError as error:  # the worker or its node died
            lines = str(error).strip().splitlines() or [""]
            reason = f"{type(error).__name__}: {lines[0][:300]}"
            details = str(error)
            return Outcome(
                key=stage.key, status="FAILED", reason=reason, details=details, transient=True, untold=True
            )

    def cancel(self) -> None:
        for reference, _ in self._tasks.values():
            self._ray.cancel(reference, force=True)
        self._tasks.clear()

    def close(self) -> None:
        self._ray.shutdown()


def _connect(address: str) -> None:
    """Join the cluster at `address`, or start one. Raises UserError when none answers there."""
    import ray

    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == LOCAL:
        settings["include_dashboard"] = False
    elif not os.environ.get(JOB_VARIABLE):
        _require_cluster(address)
    with errors.held_back():  # a handler that raises in Ray's start ends the process without a word
        ray.init(address=address, **settings)


def _require_cluster(address: str) -> None:
    """Raises UserError unless a cluster can be joined there.

    Tried in another process: for a cluster whose token it lacks, Ray's client waits for ever and is deaf to signals.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address != "auto" and not (host and port.isdigit()):
        raise UserError(f"address: {address!r} given; 'auto', 'local' or host:port is needed")
    try:
        if address != "auto":
            socket.create_connection((host, int(port)), timeout=3).close()
        subprocess.run(
            [sys.executable, "-c", f"import ray; ray.init({address!r}, log_to_driver=False)"],
            timeout=JOIN_SECONDS,
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        hint = "start one with `ray start --head`, or leave out --address to have a local one"
        LOG.error("joining %s: %s", address, getattr(error, "stderr", error))
        raise UserError(f"address: no Ray cluster can be joined at {address}; {hint}") from error


def require_memory(plan: Plan, needs: Mapping[str, int], executor: Executor) -> None:
    """Raises UserError for a stage that needs more bytes, by its key, than there are in any one place."""
    for stage in plan.to_do:
        needed = needs.get(stage.key, 0)
        if needed > executor.memory:
            raise UserError(
                f"{stage.name}: its training takes about {needed / 2**30:.1f} GiB, the largest place has "
                f"{executor.memory / 2**30:.1f} GiB; a smaller batch or network is needed"
            )


def execute(plan: Plan, executor: Executor, setting: Setting, listener: Listener) -> dict[str, Outcome]:
    """Run what is to do; returns how each stage ended that was to do. A stage starts as soon as its inputs are done,
    those on which the longest chain of work hangs first; one that fails fails those that need it, and no others.

    Raises Aborted when nothing further can succeed: the disk is full, or the MLflow server is gone.
    """
    stages = {stage.key: stage for stage in plan.to_do}
    done = dict(plan.done)
    missing = {key: {need for need in stage.needs if need not in done} for key, stage in stages.items()}
    users: dict[str, list[str]] = {}
    for key, stage in stages.items():
        for need in stage.needs:
            users.setdefault(need, []).append(key)
    urgency = _urgency(stages, users)
    order = {key: number for number, key in enumerate(stages)}
    ready = [(-urgency[key], order[key], key) for key in stages if not missing[key]]
    heapq.heapify(ready)
    running: dict[str, int] = {}  # attempts
    ended: dict[str, Outcome] = {}
    fatal = ""

    def conclude(outcome: Outcome) -> None:
        key = outcome.key
        ended[key] = outcome
        listener.ended(stages[key], outcome)
        if outcome.done is not None:
            done[key] = outcome.done
        for user in users.get(key, ()) if not outcome.fatal else ():
            if user in ended:
                continue
            if outcome.done is None:
                reason = f"needs {stages[key].name!r}, which failed: {outcome.reason}"
                record_failure(stages[user], setting, reason)
                conclude(Outcome(key=user, status="FAILED", reason=reason))
            else:
                missing[user].discard(key)
                if not missing[user]:
                    heapq.heappush(ready, (-urgency[user], order[user], user))

    while (ready and not fatal) or running:
        while ready and len(running) < executor.slots and not fatal:
            _, _, key = heapq.heappop(ready)
            running[key] = 1
            _submit(stages[key], done, executor, setting, listener)
        for outcome in executor.outcomes():
            if outcome.status == "FAILED":
                LOG.warning("%s: %s\n%s", stages[outcome.key].name, outcome.reason, outcome.details)
            if outcome.fatal:
                fatal = outcome.reason
            elif outcome.transient or outcome.untold:
                _require_server(setting)  # nothing succeeds without it
                end_attempt(stages[outcome.key], setting, outcome.reason)
                if outcome.transient and running[outcome.key] < ATTEMPTS:
                    running[outcome.key] += 1
                    _submit(stages[outcome.key], done, executor, setting, listener)
                    continue
                if outcome.untold:
                    record_failure(stages[outcome.key], setting, outcome.reason)
            del running[outcome.key]
            conclude(outcome)
        listener.passed()
    if fatal:
        raise errors.Aborted(fatal)
    return ended


def _submit(
    stage: Stage, done: Mapping[str, Done], executor: Executor, setting: Setting, listener: Listener
) -> None:
    executor.submit(stage, {need: done[need] for need in stage.needs}, setting)
    listener.started(stage)


def end_attempt(stage: Stage, setting: Setting, reason: str) -> None:
    """KILL the run that an attempt of the stage may have left RUNNING, when its worker or the server died."""
    tracking = Tracking(setting.tracking_uri)
    tracking.end_running([stage.experiment], setting.execution, reason, key=stage.key)


def _require_server(setting: Setting) -> None:
    try:
        if setting.tracking_uri.startswith("http"):
            require_server(setting.tracking_uri)
    except UserError as error:
        raise errors.Aborted(str(error)) from error


def _urgency(stages: Mapping[str, Stage], users: Mapping[str, list[str]]) -> dict[str, float]:
    """For each stage the work of the longest chain that starts with it."""
    result: dict[str, float] = {}
    for key in reversed(list(stages)):  # users come after what they use
        result[key] = stages[key].work + max((result[user] for user in users.get(key, ())), default=0.0)
    return result
