"""The base trials that studies start from, a row for each data set and scale, and the expansion of a study.

`smoke` proves that everything runs, in seconds; `quick` answers on a laptop in minutes; `standard` takes an hour on two
cores; `full` is meant for a GPU or a cluster.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from workbench.registry import UserError, look_up, unknown
from workbench.spec import (
    SCALES,
    Arm,
    BackboneSpec,
    BudgetSpec,
    ClassifierSpec,
    DataSpec,
    DiffusionSpec,
    FitSpec,
    MeasureSpec,
    OptimiserSpec,
    OracleMeasureSpec,
    SamplingSpec,
    Scale,
    ScheduleSpec,
    Study,
    TrialSpec,
    with_fields,
)

MEASURES = (
    "frechet",
    "kernel",
    "precision",
    "recall",
    "density",
    "coverage",
    "class_histogram",
    "recognised",
    "copy_rate",
)


@dataclass(frozen=True, kw_only=True)
class Size:
    """What a scale means for one data set: network, budgets, rows generated and rows of the reference.

    `many_images_seen` is the budget of a fit in a study that trains one for each arm.
    """

    backbone: BackboneSpec
    images_seen: int
    many_images_seen: int
    batch_size: int
    learning_rate: float
    classifier: ClassifierSpec
    classifier_images_seen: int
    rows: int
    reference_rows: int


def _unet(
    width: int, multipliers: tuple[int, ...], *, patch: int, blocks: int = 1, dropout: float = 0.0
) -> BackboneSpec:
    attention = (False,) * (len(multipliers) - 1) + (True,)
    return BackboneSpec(
        width=width, multipliers=multipliers, blocks=blocks, attention=attention, patch=patch, dropout=dropout
    )


_SMALL_CNN = ClassifierSpec(width=32, features=64)
_DIGITS = Size(
    backbone=_unet(32, (1, 2), patch=2),
    images_seen=150_000,
    many_images_seen=150_000,
    batch_size=128,
    learning_rate=2e-3,
    classifier=_SMALL_CNN,
    classifier_images_seen=40_000,
    rows=200,
    reference_rows=500,
)
_FASHION = Size(
    backbone=_unet(32, (1, 2), patch=2),
    images_seen=450_000,
    many_images_seen=100_000,
    batch_size=128,
    learning_rate=2e-3,
    classifier=_SMALL_CNN,
    classifier_images_seen=150_000,
    rows=500,
    reference_rows=5_000,
)
_LARGE = Size(
    backbone=_unet(128, (1, 2, 2), patch=1, blocks=2),
    images_seen=20_000_000,
    many_images_seen=5_000_000,
    batch_size=256,
    learning_rate=1e-3,
    classifier=ClassifierSpec(width=64, features=128),
    classifier_images_seen=2_000_000,
    rows=10_000,
    reference_rows=10_000,
)
_SMOKE = Size(
    backbone=_unet(32, (1,), patch=2),
    images_seen=2_000,
    many_images_seen=2_000,
    batch_size=100,
    learning_rate=2e-3,
    classifier=ClassifierSpec(width=8, features=16),
    classifier_images_seen=2_000,
    rows=64,
    reference_rows=64,
)

# Own data take the sizes of `fashion_mnist`, images of 28 x 28, since a folder tells nothing before it is read.
SIZES: dict[str, dict[Scale, Size]] = {
    "digits": {
        "smoke": _SMOKE,
        "quick": _DIGITS,
        "standard": replace(
            _DIGITS, backbone=_unet(64, (1, 2), patch=1), images_seen=600_000, many_images_seen=300_000
        ),
        "full": replace(
            _DIGITS,
            backbone=_unet(64, (1, 2), patch=1, blocks=2),
            images_seen=2_000_000,
            many_images_seen=1_000_000,
        ),
    },
    "fashion_mnist": {
        "smoke": _SMOKE,
        "quick": replace(
            _FASHION,
            images_seen=60_000,
            many_images_seen=20_000,
            classifier_images_seen=120_000,
            rows=250,
            reference_rows=1_000,
        ),
        "standard": _FASHION,
        "full": _LARGE,
    },
    "cifar10": {
        "smoke": _SMOKE,
        "quick": replace(
            _FASHION,
            images_seen=60_000,
            many_images_seen=20_000,
            classifier_images_seen=200_000,
            rows=250,
            reference_rows=1_000,
        ),
        "standard": replace(_FASHION, backbone=_unet(64, (1, 2, 2), patch=2)),
        "full": replace(_LARGE, images_seen=100_000_000),
    },
}


def size(data: DataSpec, scale: Scale) -> Size:
    """The row of the table for a data set and scale; UserError for a scale that is not known."""
    if scale not in SCALES:
        raise unknown("scale", scale, SCALES)
    return SIZES.get(data.name, SIZES["fashion_mnist"])[scale]


def classifier_fit(data: DataSpec, scale: Scale) -> FitSpec:
    """The fit of the judge: one seed for all trials, so that all are measured by the same eyes."""
    s = size(data, scale)
    return FitSpec(
        data=data,
        model=s.classifier,
        optimiser=OptimiserSpec(learning_rate=2e-3, beta_2=0.999, weight_decay=1e-2, warmup_images=2_000),
        budget=BudgetSpec(images_seen=s.classifier_images_seen, batch_size=s.batch_size),
        ema_halflife_images=5_000,
    )


def _base(
    data: DataSpec, scale: Scale, images_seen: int, model: DiffusionSpec, sampling: SamplingSpec
) -> TrialSpec:
    s = size(data, scale)
    return TrialSpec(
        source=FitSpec(
            data=data,
            model=replace(model, backbone=s.backbone),
            optimiser=OptimiserSpec(
                learning_rate=s.learning_rate, warmup_images=min(10_000, images_seen // 10), weight_decay=0.0
            ),
            budget=BudgetSpec(images_seen=images_seen, batch_size=s.batch_size),
            ema_halflife_images=max(s.batch_size, images_seen // 20),
        ),
        sampling=replace(sampling, rows=s.rows),
        measures=MeasureSpec(
            names=MEASURES,
            extractors=("cnn", "random_conv"),
            classifier=classifier_fit(data, scale),
            rows=s.reference_rows,
        ),
    )


def continuous(data: DataSpec, scale: Scale) -> TrialSpec:
    """The continuous-time limit of DDPM's linear schedule with a preconditioned network: any sampler plays on it."""
    return _base(
        data, scale, size(data, scale).images_seen, DiffusionSpec(), SamplingSpec(time_grid="uniform_log_snr")
    )


def ddpm(data: DataSpec, scale: Scale) -> TrialSpec:
    """The discrete-time DDPM: T timesteps, noise prediction, L_simple, ancestral sampling over all timesteps."""
    model = DiffusionSpec(schedule=ScheduleSpec(timesteps=1000), prediction="noise")
    sampling = SamplingSpec(sampler="ddpm", nfe=1000, time_grid="uniform_t", clip=True)
    return _base(data, scale, size(data, scale).many_images_seen, model, sampling)


ORACLE_ROWS: dict[Scale, int] = {"smoke": 64, "quick": 500, "standard": 1_000, "full": 10_000}

# A preset takes the data set and the scale, and by name what the arms of its studies choose with plain names.
PRESETS: dict[str, Callable[..., TrialSpec]] = {"continuous": continuous, "ddpm": ddpm}


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One row of an expanded study: its arm, its seed, the panel it belongs to and the whole spec."""

    arm: Arm
    seed: int
    panel: Literal["network", "oracle"]
    spec: TrialSpec


def default_seeds(scale: Scale) -> tuple[int, ...]:
    """The training seeds of a scale: the fewest that a verdict needs, five where they can be afforded."""
    return tuple(range({"smoke": 2, "quick": 3, "standard": 3, "full": 5}[scale]))


def expand(study: Study, data: DataSpec, scale: Scale, seeds: Sequence[int]) -> tuple[Trial, ...]:
    """All trials of a study, arms varying fastest. Raises UserError for a wrong scale or seed, ValueError for an arm
    that names a field the specs do not have, or an argument that the preset does not take."""
    if len(set(seeds)) != len(seeds) or any(seed < 0 for seed in seeds) or not seeds:
        raise UserError(
            f"seeds: {' '.join(map(str, seeds)) or 'none'} given; distinct whole numbers from 0 are needed"
        )
    return tuple(_trials(study, data, scale, seeds))


def _trials(study: Study, data: DataSpec, scale: Scale, seeds: Sequence[int]) -> Iterator[Trial]:
    arms = study.smoke_arms if scale == "smoke" else study.arms
    for seed in seeds:
        for changes in arms:
            fields = (*changes, ("source.seed", seed), ("sampling.seed", seed))
            yield Trial(arm=changes, seed=seed, panel="network", spec=_spec(study, data, scale, fields))
    if study.oracle is None:
        return
    exact = replace(_spec(study, data, scale, ()), source=study.oracle, measures=OracleMeasureSpec())
    exact = with_fields(exact, {"sampling.rows": ORACLE_ROWS[scale]})
    # No training, so no training seeds: one draw from the oracle is exact enough to be read by itself.
    for changes in study.smoke_arms if scale == "smoke" else study.oracle_arms:
        yield Trial(arm=changes, seed=seeds[0], panel="oracle", spec=with_fields(exact, changes))


def _spec(study: Study, data: DataSpec, scale: Scale, changes: Arm) -> TrialSpec:
    """The base trial of a study with the changes of an arm: plain names are arguments of the preset, dotted ones fields
    of the trial that it returns."""
    preset = look_up(PRESETS, study.preset, "preset")
    known = list(inspect.signature(preset).parameters)[2:]
    arguments = {name: value for name, value in changes if "." not in name}
    if unknown_names := [name for name in arguments if name not in known]:
        raise ValueError(
            f"argument {unknown_names[0]!r}: the preset {study.preset!r} takes {', '.join(known) or 'none'}"
        )
    fields = {name: value for name, value in changes if "." in name}
    return with_fields(preset(data, scale, **arguments), fields)
