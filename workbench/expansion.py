"""A study -> its trials: the presets by name, and what each arm changes in them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from workbench.presets.common import continuous, ddpm
from workbench.presets.families import family
from workbench.presets.hierarchies import hierarchy
from workbench.presets.methods import method
from workbench.presets.networks import network
from workbench.presets.patches import patched
from workbench.registry import UserError, look_up
from workbench.spec import (
    Arm,
    DataSpec,
    OracleMeasureSpec,
    RecognitionSpec,
    Scale,
    Study,
    TrialSpec,
    with_fields,
    with_seed,
)

ORACLE_ROWS: dict[Scale, int] = {"smoke": 64, "quick": 500, "standard": 1_000, "full": 10_000}

# A preset takes the data set and the scale, and by name what the arms of its studies choose with plain names.
PRESETS: dict[str, Callable[..., TrialSpec | RecognitionSpec]] = {
    "continuous": continuous,
    "ddpm": ddpm,
    "family": family,
    "method": method,
    "hierarchy": hierarchy,
    "network": network,
    "patched": patched,
}


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One row of an expanded study: its arm, its seed, the panel it belongs to and the whole spec."""

    arm: Arm
    seed: int
    panel: Literal["network", "oracle"]
    spec: TrialSpec | RecognitionSpec


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
            spec = with_seed(_spec(study, data, scale, changes), seed)
            yield Trial(arm=changes, seed=seed, panel="network", spec=spec)
    if study.oracle is None:
        return
    base = _spec(study, data, scale, ())
    if not isinstance(base, TrialSpec):
        raise ValueError(f"study {study.name!r}: its preset {study.preset!r} draws nothing from an oracle")
    exact = replace(base, source=study.oracle, measures=OracleMeasureSpec())
    exact = with_fields(exact, {"sampling.rows": ORACLE_ROWS[scale]})
    # No training, so no training seeds: one draw from the oracle is exact enough to be read by itself.
    for changes in study.smoke_arms if scale == "smoke" else study.oracle_arms:
        yield Trial(arm=changes, seed=seeds[0], panel="oracle", spec=with_fields(exact, changes))


def _spec(study: Study, data: DataSpec, scale: Scale, changes: Arm) -> TrialSpec | RecognitionSpec:
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
