"""Before anything is started: are the data there, the names known, the rows enough - and what will it cost?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines import machine
from pipelines.recognition import checks
from pipelines.stage import Stage
from pipelines.staging import ReferenceSpec
from workbench.registry import UserError
from workbench.spec import (
    ClassifierSpec,
    DataSpec,
    DiffusionSpec,
    FeatureSpec,
    FitSpec,
    LatentDiffusionSpec,
    MeasureSpec,
    ModelSpec,
    ReadoutSpec,
    RecognitionSpec,
    TrialSpec,
    fit_of,
)

if TYPE_CHECKING:
    from workbench.data import Dataset
    from workbench.models import Event

# Seconds that a stage takes beside its network evaluations, as measured on two cores; corrected as stages end.
FIXED_SECONDS = {"fit": 1.5, "reference": 3.0, "features": 2.0, "trial": 0.4}
PROBE_ROWS = 64  # that a network is timed at, or a smaller batch that it is trained in
GIB = 1 << 30
PROCESS_BYTES = 3 * GIB // 4  # of a worker before it trains: torch, MLflow and a data set


@dataclass(frozen=True, kw_only=True)
class Estimates:
    """What stages to do will take, by key: `seconds` of each, `memory` in bytes of each fit."""

    seconds: dict[str, float] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)


def check(stages: Sequence[Stage], data: DataSpec, location: Path | None) -> Estimates:
    """What each stage to do will take. Raises UserError for data that cannot be read, for a name that is not known, for
    fewer rows than a measure needs and for a network without room here, so that bad input starts no training."""
    found = Estimates()
    if not stages:
        return found
    # Imported here, since an execution that finds everything done needs none of it.
    from workbench.data import load
    from workbench.models import Event, require_own_data
    from workbench.training import require_budget

    dataset = load(data, location=location)
    event = Event.of(dataset)
    per_evaluation: dict[tuple[ModelSpec, int], float] = {}
    per_fit: dict[tuple[ModelSpec, int], int] = {}
    for stage in stages:
        spec, readouts = stage.spec, 0.0
        if isinstance(spec, TrialSpec):
            _check_sampling(spec)
        if isinstance(spec, ReferenceSpec):
            _check_measures(spec.measures, spec.rows, len(dataset.test))
        if isinstance(spec, (FeatureSpec, RecognitionSpec)):
            checks.check(spec, dataset)
            readouts = checks.readout_seconds(spec, dataset)
        if (
            isinstance(spec, RecognitionSpec)
            and isinstance(spec.by, ReadoutSpec)
            and spec.by.drawn is not None
        ):
            _check_sampling(spec.by.drawn)
        fit, work = _evaluations(stage, dataset)
        if isinstance(fit, FitSpec):
            require_own_data(fit)
            require_budget(fit.budget)
        seconds = FIXED_SECONDS.get(stage.kind, 0.0) + readouts
        if fit is not None and work:
            rows = min(spec.budget.batch_size, PROBE_ROWS) if isinstance(spec, FitSpec) else PROBE_ROWS
            timed = fit.model, rows
            if timed not in per_evaluation:
                _require_room(fit.model, event)
                per_evaluation[timed] = seconds_per_evaluation(fit.model, event, rows)
            seconds += work * per_evaluation[timed]
        found.seconds[stage.key] = seconds
        if isinstance(spec, FitSpec):
            training = spec.model, spec.budget.batch_size
            if training not in per_fit:
                per_fit[training] = _training_bytes(*training, event)
            found.memory[stage.key] = per_fit[training]
    return found


def _evaluations(stage: Stage, dataset: Dataset) -> tuple[FitSpec | None, float]:
    """The fit whose network a stage evaluates, and for about how many rows."""
    spec = stage.spec
    if isinstance(spec, FitSpec):
        return spec, stage.work
    if isinstance(spec, TrialSpec):
        return (spec.source, stage.work) if isinstance(spec.source, FitSpec) else (None, 0.0)
    if isinstance(spec, FeatureSpec):
        return spec.source, checks.rows_looked_at(spec, dataset)
    if isinstance(spec, RecognitionSpec):
        return fit_of(spec), checks.rows_told(spec, dataset)
    return None, 0.0


def _require_room(spec: ModelSpec, event: Event) -> None:
    from workbench.footprint import backbone_bytes

    needed, have = backbone_bytes(spec, event), machine.memory_bytes()
    if needed > have:
        raise UserError(
            f"model.backbone: its weights alone take {needed / GIB:.0f} GiB in training, this machine has "
            f"{have / GIB:.0f} GiB; a smaller width or fewer blocks are needed"
        )


def _training_bytes(spec: ModelSpec, batch_size: int, event: Event) -> int:
    """What a worker needs that trains, its process included."""
    from workbench.execution import Execution
    from workbench.footprint import training_bytes
    from workbench.models import build

    execution = Execution.best(threads=1)
    return PROCESS_BYTES + training_bytes(execution.place(build(spec, event)), event, batch_size, execution)


def seconds_per_evaluation(spec: ModelSpec, event: object, batch_size: int) -> float:
    """Seconds for one row, of a batch, through a network of that kind on one CPU, measured on the spot."""
    import torch

    from workbench.data import Split
    from workbench.execution import Execution
    from workbench.models import Event, build

    assert isinstance(event, Event)
    execution = Execution.best(threads=1)
    threads = torch.get_num_threads()
    execution.apply()
    try:
        model = execution.place(build(spec, event).eval())
        rows = Split(torch.rand(batch_size, *event.shape) * 2 - 1, torch.zeros(batch_size, dtype=torch.int64))
        taken = []
        with torch.no_grad(), execution.autocast():
            for _ in range(3):
                began = time.perf_counter()
                for objective in model.objectives():
                    objective.loss(rows.images, rows.labels, torch.Generator().manual_seed(0))
                taken.append(time.perf_counter() - began)
    finally:
        torch.set_num_threads(threads)
    return min(taken) / batch_size


def _check_sampling(spec: TrialSpec) -> None:
    from workbench.diffusion.oracle import mixture_from
    from workbench.diffusion.schedule import schedule_from
    from workbench.models.diffusion import require_sampling
    from workbench.models.latent_diffusion import require_no_clip
    from workbench.sampling import sampler_from, time_grid

    steps = sampler_from(spec.sampling).steps_for(spec.sampling.nfe)
    if isinstance(spec.source, FitSpec):
        model = spec.source.model
        if isinstance(model, ClassifierSpec):
            raise UserError("model: a classifier draws no samples; a generative model does")
        if isinstance(model, LatentDiffusionSpec):
            require_no_clip(spec.sampling)
            model = model.diffusion
        if not isinstance(model, DiffusionSpec):
            return  # drawn in one pass, without a sampler
        require_sampling(model, spec.sampling)
        schedule = schedule_from(model.schedule)
    else:
        schedule = mixture_from(spec.source).schedule
    time_grid(spec.sampling.time_grid, schedule, steps)


def _check_measures(measures: MeasureSpec, rows: int, available: int) -> None:
    from pipelines.probes import PROBES
    from workbench.metrics import METRICS
    from workbench.registry import look_up

    if measures.rows > available:
        raise UserError(
            f"measures.rows: {measures.rows} reference rows asked for; the test split has {available}: a smaller scale "
            "asks for fewer"
        )
    for name in measures.probes:
        look_up(PROBES, name, "probes")
    for name in measures.names:
        least = look_up(METRICS, name, "measures").least_rows
        if min(rows, measures.rows) < least:
            raise UserError(
                f"rows: {min(rows, measures.rows)} given; the measure {name!r} needs at least {least}"
            )
