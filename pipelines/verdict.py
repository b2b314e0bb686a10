"""Claims -> decisions: paired statistics over training seeds, their 95 % intervals, and the decision rule.

Arms of a study share data order, initial noise and Brownian path within a seed, so a statistic is formed inside each
seed first and only then averaged: what all arms of a seed have in common cancels.

A decision is taken for one data set at one scale; `slices` tells which a table holds. The intervals are those of the
claims one by one, not adjusted for how many claims a study makes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeGuard

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from pipelines.names import column_of, param_text, param_value
from pipelines.statistics import arms_needed, cells_needed, exponent, is_ratio, on_seed, places
from workbench.spec import Arm, Claim, Difference, Level, RatioSlope, Slope, Statistic, Study

Answer = Literal["supported", "refuted", "inconclusive"]
LEVEL = 0.95
LEAST_SEEDS = 3
SAME = 1e-9  # values whose relative deviation is no larger are equal but for rounding
SIGNS = 6  # values on one side of the bound, of which the sign test is sure at that level


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What the results say about one claim.

    `estimate`, `low` and `high` are the statistic and its 95 % interval: a factor for a ratio, an exponent for a
    slope, in the unit of the measure for a `Difference` or a `Level`; all None where it could not be computed.
    `confidence` is the level of the widest interval that still lies on one side of the bound, between 0 and 1: how sure
    the answer is; where all seeds give the same value, that of the sign test. `per_seed` holds the statistic of each
    seed.
    """

    claim: str
    answer: Answer
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    confidence: float | None = None
    seeds: int = 0
    reason: str = ""
    per_seed: Mapping[int, float] = field(default_factory=dict)

    @property
    def remark(self) -> str:
        """What a reader must know beside the numbers: why there is no interval to decide by, which seeds are missing.
        Empty where the numbers say it all."""
        return self.reason if self.confidence is None or self.low == self.high or ";" in self.reason else ""


@dataclass(frozen=True)
class Estimate:
    """A value with its interval and the standard error that the interval was made from, on an additive axis."""

    value: float
    low: float
    high: float
    error: float
    freedom: int


def slices(table: pd.DataFrame) -> list[tuple[str, str]]:
    """The data sets and scales that a table of trials holds results of, the one worked on last first."""
    rows = _network(table).dropna(subset=["data", "scale"])
    if rows.empty:
        return []
    last = rows.groupby(["data", "scale"])["started"].max().sort_values(ascending=False)
    return [(str(data), str(scale)) for data, scale in last.index]


def at(table: pd.DataFrame, data: str, scale: str) -> pd.DataFrame:
    """The rows of one data set at one scale, with the oracle's rows at that scale, which belong to no data set."""
    if "data" not in table:
        return table
    return table[(table["scale"] == scale) & ((table["data"] == data) | (table["panel"] == "oracle"))]


def decide(study: Study, table: pd.DataFrame) -> list[Decision]:
    """A decision for each claim of the study from the finished network rows of `table`, as `results.trials` gives them.

    Raises ValueError for a table that mixes data sets or scales.
    """
    found = slices(table)
    if len(found) > 1:
        raise ValueError(
            f"table: a verdict needs one data set at one scale, found {', '.join(map(' '.join, found))}"
        )
    scale = found[0][1] if found else ""
    arms = study.smoke_arms if scale == "smoke" else study.arms
    rows = _network(table)
    rows = rows[rows["status"] == "FINISHED"].sort_values("started")
    return [_decide(claim, arms, rows) for claim in study.claims]


def second_opinions(study: Study, table: pd.DataFrame) -> list[tuple[Claim, Decision]]:
    """The claims about a distance in one feature space, decided in each other space that the table has.

    Features see what they were made to see: where two spaces disagree, an answer is one about the features as well.
    A difference or a level is bounded in the unit of its own space, which says nothing in another: those are left out.
    """
    others = [
        replace(claim, statistic=replace(claim.statistic, measure=column))
        for claim in study.claims
        if not isinstance(claim.statistic, (Difference, Level))
        for column in sorted(map(str, table.columns))
        if column.partition("[")[0] == claim.statistic.measure.partition("[")[0]
        and column != claim.statistic.measure
        and f"floor {column}" in table  # a distance, which every feature space has of its own
        and table[column].notna().any()
    ]
    return list(zip(others, decide(replace(study, claims=tuple(others)), table), strict=True))


def interval_of_mean(values: Sequence[float]) -> Estimate:
    """The mean with Student's t interval. At least two values; equal values give an interval of no width."""
    sample = np.asarray(values, dtype=np.float64)
    error = _error(float(sample.std(ddof=1)), sample) / math.sqrt(len(sample))
    return _with_interval(float(sample.mean()), error, len(sample) - 1)


def jackknife(whole: float, left_out: Sequence[float]) -> Estimate:
    """`whole` with the interval that its values without one seed each give (Tukey 1958), Student's t with n - 1."""
    parts = np.asarray(left_out, dtype=np.float64)
    count = len(parts)
    error = _error(math.sqrt((count - 1) / count * float(((parts - parts.mean()) ** 2).sum())), parts)
    return _with_interval(whole, error, count - 1)


def judge(claim: Claim, estimate: Estimate, bound: float) -> tuple[Answer, float]:
    """The answer, and the level of the widest interval that lies on one side of `bound`, on the additive axis.

    Equal values, such as rank correlations of few arms, show no spread from which an interval could be made. What is
    left is how many lie on that side: the level of the sign test (Dixon and Mood, 1946), which does not count values at
    the bound itself. It asks for more seeds than the interval does of values that differ but a little.
    """
    if estimate.error == 0.0:
        signs = 0 if math.isclose(estimate.value, bound, rel_tol=SAME, abs_tol=SAME) else estimate.freedom + 1
        confidence = max(0.0, 1.0 - 2.0 * 0.5**signs)
    else:
        t = abs(estimate.value - bound) / estimate.error
        confidence = 1.0 - 2.0 * float(stats.t.sf(t, estimate.freedom))
    if confidence < LEVEL:
        return "inconclusive", confidence
    met = estimate.value >= bound if claim.relation == "at_least" else estimate.value <= bound
    return ("supported" if met else "refuted"), confidence


def _error(error: float, values: NDArray[np.float64]) -> float:
    """A standard error, zero where it is that of rounding alone."""
    return error if error > SAME * float(np.abs(values).max()) else 0.0


def _with_interval(value: float, error: float, freedom: int) -> Estimate:
    half = float(stats.t.ppf((1.0 + LEVEL) / 2.0, freedom)) * error
    return Estimate(value, value - half, value + half, error, freedom)


def _decide(claim: Claim, arms: Sequence[Arm], rows: pd.DataFrame) -> Decision:
    statistic = claim.statistic
    needed = arms_needed(statistic, arms)
    for name in dict.fromkeys(name for _, name in cells_needed(statistic, needed)):
        if name not in rows or rows.empty:
            return _undecided(claim, {}, f"no finished trial has the measure {name}")
    if isinstance(statistic, (Slope, RatioSlope)) and len(set(places(statistic, needed))) < 2:
        return _undecided(claim, {}, f"a slope needs two values of {column_of(statistic.field)} at least")
    cells = cells_needed(statistic, needed)
    grid = pd.DataFrame({index: _by_seed(rows, arm, name) for index, (arm, name) in enumerate(cells)})
    complete = grid.dropna()
    dropped = _dropped(grid, [arm for arm, _ in cells])
    values = {int(seed): on_seed(statistic, needed, row.tolist()) for seed, row in complete.iterrows()}
    per_seed = {seed: value for seed, value in values.items() if value is not None}
    if len(per_seed) < len(complete):  # an estimate from the other seeds would be one of what succeeded
        reason = f"{statistic.measure} is not positive everywhere: no logarithm"
        return replace(_undecided(claim, {}, reason), seeds=len(complete))
    if len(per_seed) < LEAST_SEEDS:
        few = f"{len(per_seed)} seed{'s' * (len(per_seed) != 1)} with all arms finished, {LEAST_SEEDS} are needed"
        return _undecided(claim, per_seed, f"{few}{dropped}")
    if is_ratio(statistic):
        logs = interval_of_mean(np.log(list(per_seed.values())).tolist())
        answer, confidence = judge(claim, logs, math.log(claim.bound))
        estimate, low, high = (math.exp(value) for value in (logs.value, logs.low, logs.high))
    else:
        if _of_spread(statistic):
            mean = _spread(places(statistic, needed), complete)
        else:
            mean = interval_of_mean(list(per_seed.values()))
        if mean is None:
            return _undecided(claim, per_seed, f"{statistic.measure} does not differ between seeds")
        answer, confidence = judge(claim, mean, claim.bound)
        estimate, low, high = mean.value, mean.low, mean.high
        per_seed = {} if _of_spread(statistic) else per_seed  # a spread is one number for all seeds together
    if low == high:
        few = f", and the sign test needs {SIGNS} seeds" if len(complete) < SIGNS else ""
        reason = (
            f"all {len(complete)} seeds give the same value: no spread to make an interval from{few}{dropped}"
        )
    else:
        includes = "includes" if answer == "inconclusive" else "excludes"
        reason = f"the 95 % interval {includes} {claim.bound:g}{dropped}"
    return Decision(
        claim=claim.name,
        answer=answer,
        estimate=estimate,
        low=low,
        high=high,
        confidence=confidence,
        seeds=len(complete),
        reason=reason,
        per_seed=per_seed,
    )


def _undecided(claim: Claim, per_seed: Mapping[int, float], reason: str) -> Decision:
    """An inconclusive decision; with the estimate and its interval where two seeds give one."""
    statistic, values = claim.statistic, list(per_seed.values())
    decision = Decision(
        claim=claim.name, answer="inconclusive", seeds=len(values), reason=reason, per_seed=per_seed
    )
    if len(values) < 2 or _of_spread(statistic):
        return decision
    ratio = is_ratio(statistic)
    mean = interval_of_mean(np.log(values).tolist() if ratio else values)
    numbers = [math.exp(v) if ratio else v for v in (mean.value, mean.low, mean.high)]
    return replace(decision, estimate=numbers[0], low=numbers[1], high=numbers[2])


def _of_spread(statistic: Statistic) -> TypeGuard[Slope]:
    return isinstance(statistic, Slope) and statistic.spread


def _spread(x: Sequence[float], complete: pd.DataFrame) -> Estimate | None:
    """The exponent of the standard deviation over seeds, by the jackknife; None where a deviation is zero."""

    def slope(rows: pd.DataFrame) -> float:
        deviations = rows.std(ddof=1)
        return exponent(x, deviations.tolist()) if (deviations > 0).all() else math.nan

    whole = slope(complete)
    parts = [slope(complete.drop(index=seed)) for seed in complete.index]
    return None if math.isnan(whole) or any(map(math.isnan, parts)) else jackknife(whole, parts)


def _network(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["panel"] == "network"]


def _by_seed(rows: pd.DataFrame, arm: Arm, measure: str) -> pd.Series:
    """The newest value of the measure for each seed of an arm; values that are not finite count as missing."""
    mask = pd.Series(True, index=rows.index)
    for path, value in arm:
        column = column_of(path)
        if column not in rows:
            return pd.Series(dtype=np.float64)
        mask &= rows[column] == param_value(param_text(value))
    values = rows[mask].drop_duplicates("seed", keep="last").set_index("seed")[measure]
    numbers = pd.to_numeric(values, errors="coerce")
    return numbers.where(np.isfinite(numbers))


def _dropped(grid: pd.DataFrame, arms: Sequence[Arm]) -> str:
    """Which arms lack which seeds, in words; empty where nothing is missing."""
    parts = []
    for index, arm in enumerate(arms):
        missing = [str(int(seed)) for seed in grid.index[grid[index].isna()]]
        if grid[index].isna().all():
            parts.append(f"{describe(arm)} has no finished trial")
        elif missing:
            parts.append(f"{describe(arm)} lacks seed{'s' * (len(missing) > 1)} {', '.join(missing)}")
    more = f" and {len(parts) - 3} more" if len(parts) > 3 else ""
    return f"; {'; '.join(parts[:3])}{more}" if parts else ""


def describe(arm: Arm) -> str:
    """An arm in words: `ddpm, nfe 50`. Time grids follow from the sampler and are left out."""
    words = [
        value if isinstance(value, str) else f"{column_of(path)} {param_text(value)}"
        for path, value in arm
        if column_of(path) != "time_grid"
    ]
    return ", ".join(words)
