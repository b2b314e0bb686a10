"""One unit of work, and what is left when it is done: what planning, running and storing speak about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

GUESSED_BYTES = 2 << 30  # the most that is reserved for a stage without having been counted


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a stage occupies while it runs. `gpus` count where there are any; a fraction is shared."""

    cpus: int = 1
    gpus: float = 0.0
    memory_bytes: int = 0


@dataclass(frozen=True)
class Done:
    """A finished stage: its run, the digests of its artifacts by file name, its metrics."""

    run_id: str
    artifacts: Mapping[str, str]
    metrics: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One unit of work, a run in MLflow when it is done. Small: it travels to wherever it is run.

    `body` is the function that does the work, as `module:name`, so that planning imports nothing heavy. `needs` are
    the keys of the stages whose results it reads, `samples` a finished run whose samples it can measure again.
    `continues` is the one among them whose training a fit goes on with.
    """

    kind: str
    body: str
    key: str
    name: str
    spec: Any
    experiment: str
    needs: tuple[str, ...] = ()
    continues: str = ""
    params: tuple[tuple[str, str], ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    resources: Resources = Resources()
    samples: Done | None = None
    work: float = 0.0  # estimated evaluations of one row by the network, a backward pass counting as two
