"""Cases timed in turn, so that what else the machine does falls on all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from workbench.registry import UserError

Case = Callable[[], object]
LEAST_SECONDS = 0.2  # a case is repeated until one sample of its time is at least this long


@dataclass(frozen=True)
class Seconds:
    """How long one call of a case takes: the median over rounds, with the least and the most."""

    median: float
    least: float
    most: float


def interleaved(
    cases: Mapping[str, Case], *, rounds: int, device: torch.device | None = None
) -> dict[str, Seconds]:
    """The seconds of each case, measured `rounds` times in turn after a first call that is not counted. Raises
    UserError for less than one round."""
    if rounds < 1:
        raise UserError(f"rounds: {rounds} given; a whole number from 1 is needed")
    repeats = {name: _repeats(case, device) for name, case in cases.items()}
    samples: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            samples[name].append(_sample(case, repeats[name], device))
    return {name: Seconds(statistics.median(s), min(s), max(s)) for name, s in samples.items()}


def _repeats(case: Case, device: torch.device | None) -> int:
    _sample(case, 1, device)  # the first call allocates, and chooses algorithms
    return max(1, round(LEAST_SECONDS / max(_sample(case, 1, device), 1e-6)))


def _sample(case: Case, repeats: int, device: torch.device | None) -> float:
    _wait(device)
    began = time.perf_counter()
    for _ in range(repeats):
        case()
    _wait(device)
    return (time.perf_counter() - began) / repeats


def _wait(device: torch.device | None) -> None:
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)
