"""Progress of an execution on the terminal, with an estimate of the time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import TextIO

from pipelines import names
from pipelines.stage import Stage
from pipelines.work import Outcome

LINE_SECONDS, LINES = 5.0, 100  # a line at most every so many seconds, and about so many lines in all
FAILURES_TOLD = 5  # the others are rows in MLflow and lines in the log
PRIOR_SECONDS = 5.0  # measured like estimated: what stands in for a measurement while there is little of it


class Progress:
    """Prints a line when a fit ends, when a stage fails, and otherwise every few seconds.

    The time left is the estimated work that is left over the CPUs, corrected for stages that do the same thing by the
    ratio of all their measured to all their estimated seconds so far.
    """

    def __init__(
        self,
        to_do: Sequence[Stage],
        estimates: Mapping[str, float],
        *,
        primary: str,
        concurrency: int,
        stream: TextIO = sys.stdout,
    ) -> None:
        self._left = {stage.key: stage for stage in to_do}
        self._total = len(to_do)
        self._estimates = estimates
        self._spent: dict[str, tuple[float, float]] = {}  # by body: seconds measured, seconds estimated
        self._primary = f"{names.QUALITY}{names.stored(primary)}"
        self._label = primary
        self._concurrency = concurrency
        self._submitted: dict[str, Stage] = {}  # in order
        self._since: dict[str, float] = {}  # when a stage at work was first seen to be
        self._failed = 0
        self._began = self._printed = time.monotonic()
        self._latest = ""
        self._stream = stream

    def started(self, stage: Stage) -> None:
        self._submitted.setdefault(stage.key, stage)  # another attempt keeps its place
        self._at_work()

    def ended(self, stage: Stage, outcome: Outcome) -> None:
        self._left.pop(stage.key, None)
        self._submitted.pop(stage.key, None)
        self._at_work()
        if outcome.done is None:
            self._failed += 1
            if self._failed <= FAILURES_TOLD:
                self._say(f"FAILED {stage.name}: {outcome.reason}")
            return
        estimate = self._estimates.get(stage.key, 0.0)
        if estimate > 0:
            measured, expected = self._spent.get(stage.body, (PRIOR_SECONDS, PRIOR_SECONDS))
            self._spent[stage.body] = measured + outcome.seconds, expected + estimate
        value = outcome.done.metrics.get(self._primary)
        self._latest = stage.name if value is None else f"{stage.name}: {self._label} {value:.4g}"
        if stage.kind == "fit":
            self._say(f"trained {stage.name} in {duration(outcome.seconds)}")

    def passed(self) -> None:
        now = time.monotonic()
        if now - self._printed >= max(LINE_SECONDS, (now - self._began) / LINES):
            self._say(self._latest or f"running {'; '.join(stage.name for stage in self._at_work())}")

    def _at_work(self) -> list[Stage]:
        """The submitted stages that have CPUs by now: the earliest that fit beside each other."""
        found: list[Stage] = []
        free = self._concurrency
        for stage in self._submitted.values():
            free -= stage.resources.cpus
            if found and free < 0:
                break
            found.append(stage)
            self._since.setdefault(stage.key, time.monotonic())
        return found

    def seconds_left(self) -> float:
        """The estimate of the time until the last stage ends, in seconds."""
        work, longest = 0.0, 0.0
        now = time.monotonic()
        for key, stage in self._left.items():
            measured, estimated = self._spent.get(stage.body, (1.0, 1.0))
            expected = self._estimates.get(key, 0.0) * measured / estimated
            if key in self._since:
                expected = max(expected - (now - self._since[key]), 0.0)
            cpus = min(stage.resources.cpus, self._concurrency)
            work += expected * cpus
            longest = max(longest, expected)
        return max(work / self._concurrency, longest)

    def _say(self, what: str) -> None:
        self._printed = time.monotonic()
        ended = self._total - len(self._left)
        width = len(str(self._total))
        left = f", about {duration(self.seconds_left())} left" if self._left else ""
        failed = f", {self._failed} failed" if self._failed else ""
        line = (
            f"[{ended:{width}}/{self._total}{failed}] {duration(self._printed - self._began)}{left}  {what}"
        )
        print(line.rstrip(), file=self._stream, flush=True)


def duration(seconds: float) -> str:
    """`42 s`, `3 min 20 s`, `1 h 15 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"
