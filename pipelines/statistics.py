"""What the statistics of claims are made of: the arms they need, their value on one seed, their words and units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

import numpy as np
from scipy import stats

from pipelines.vocabulary import measure
from workbench.spec import (
    Arm,
    Difference,
    Level,
    RankCorrelation,
    Ratio,
    RatioSlope,
    RatioToBest,
    Slope,
    Statistic,
)


def arms_needed(statistic: Statistic, arms: Sequence[Arm]) -> tuple[Arm, ...]:
    """The arms that a statistic is formed from, among those of its study: for a `RatioSlope` those above the line in
    the order of its field, then those below in the same order; values of the field that only one side has are left out.

    Raises ValueError for a `RatioSlope` of which one side has several arms at one value of the field.
    """
    match statistic:
        case Slope():
            return tuple(arms)
        case RatioSlope():
            above, below = (_by_field(statistic.field, a, arms) for a in (statistic.arm, statistic.reference))
            shared = sorted(above.keys() & below.keys())
            return (*(above[x] for x in shared), *(below[x] for x in shared))
        case Level():
            return (statistic.arm,)
        case RankCorrelation():
            return statistic.arms
        case RatioToBest():
            return (statistic.arm, *statistic.others)
        case Ratio() | Difference():
            return (statistic.arm, statistic.reference)


def cells_needed(statistic: Statistic, needed: Sequence[Arm]) -> list[tuple[Arm, str]]:
    """The arms and measures whose values a statistic is formed from: of a `RankCorrelation` the one measure of all its
    arms, then the other of all."""
    cells = [(one, statistic.measure) for one in needed]
    if isinstance(statistic, RankCorrelation):
        cells += [(one, statistic.other) for one in needed]
    return cells


def places(statistic: Slope | RatioSlope, needed: Sequence[Arm]) -> list[float]:
    """The values of the field at which a slope is taken. Raises ValueError for one that is no positive number."""
    count = len(needed) // 2 if isinstance(statistic, RatioSlope) else len(needed)
    return [field_value(one, statistic.field) for one in needed[:count]]


def on_seed(statistic: Statistic, needed: Sequence[Arm], values: Sequence[float]) -> float | None:
    """The statistic from the value of each of `cells_needed` on one seed; None where a logarithm does not exist."""
    if not isinstance(statistic, (Difference, Level, RankCorrelation)) and min(values) <= 0:
        return None
    match statistic:
        case Ratio():
            return values[0] / values[1]
        case RatioToBest():
            return values[0] / min(values[1:])
        case RankCorrelation():
            ranked = values[: len(needed)], values[len(needed) :]
            constant = any(len(set(one)) == 1 for one in ranked)
            return 0.0 if constant else float(stats.spearmanr(*ranked).statistic)
        case Difference():
            return values[0] - values[1]
        case Level():
            return values[0]
        case Slope():
            return exponent(places(statistic, needed), values)
        case RatioSlope():
            above, below = np.split(np.asarray(values, dtype=np.float64), 2)
            return exponent(places(statistic, needed), (above / below).tolist())


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """d log(y) / d log(x) by least squares; x and y positive, x of at least two values."""
    log_x, log_y = np.log(np.asarray(x, dtype=np.float64)), np.log(np.asarray(y, dtype=np.float64))
    centred = log_x - log_x.mean()
    return float((centred * log_y).sum() / (centred**2).sum())


def field_value(one: Arm, path: str) -> float:
    """The value of a dotted field in an arm, as a positive number. Raises ValueError where there is none."""
    value = dict(one).get(path)
    if not isinstance(value, (int, float)) or value <= 0:
        raise ValueError(f"field {path!r}: a slope needs a positive number in each arm, found {value!r}")
    return float(value)


def sign(statistic: Statistic) -> str:
    """What stands at each of its numbers: `×` for a ratio."""
    return "×" if is_ratio(statistic) else ""


def is_ratio(statistic: Statistic) -> TypeGuard[Ratio | RatioToBest]:
    """Whether a statistic is a ratio, whose interval is taken on the logarithm."""
    return isinstance(statistic, (Ratio, RatioToBest))


def unit(statistic: Statistic) -> str:
    """What its numbers count: the unit of the measure for a difference or a level, nothing for ratios and exponents."""
    return measure(statistic.measure).unit if isinstance(statistic, (Difference, Level)) else ""


def kind(statistic: Statistic) -> str:
    """What a statistic is called where its bound is told."""
    match statistic:
        case Ratio():
            return "ratio"
        case RatioToBest():
            return "ratio to the best other"
        case RankCorrelation():
            return "rank correlation"
        case Difference():
            return "difference"
        case Level():
            return "value"
        case Slope():
            return "exponent"
        case RatioSlope():
            return "exponent of the ratio"


def _by_field(path: str, partial: Arm, arms: Sequence[Arm]) -> dict[float, Arm]:
    """The arms that contain `partial`, by their value of a field."""
    found: dict[float, Arm] = {}
    for one in arms:
        if set(partial) <= set(one):
            value = field_value(one, path)
            if value in found:
                raise ValueError(f"arm {dict(partial)}: several arms that contain it have {path} {value:g}")
            found[value] = one
    return found
