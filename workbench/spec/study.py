"""A study as a value: its question, its arms, its claims and how they are decided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from workbench.spec.arms import Arm
from workbench.spec.trials import OracleSpec

Scale = Literal["smoke", "quick", "standard", "full"]
SCALES: tuple[Scale, ...] = ("smoke", "quick", "standard", "full")


@dataclass(frozen=True)
class Ratio:
    """The statistic `measure(arm) / measure(reference)`, one value a seed, its interval taken on the logarithm."""

    measure: str
    arm: Arm
    reference: Arm


@dataclass(frozen=True)
class RatioToBest:
    """The statistic `measure(arm) / min(measure(others))`, one value a seed, its interval taken on the logarithm: below
    1, `arm` is the best, where less is better."""

    measure: str
    arm: Arm
    others: tuple[Arm, ...]


@dataclass(frozen=True)
class RankCorrelation:
    """The statistic Spearman's correlation of two measures over arms, one value a seed: 1 where both rank them alike, 0
    where one says nothing about the other, -1 where they rank them the other way round."""

    measure: str
    other: str
    arms: tuple[Arm, ...]


@dataclass(frozen=True)
class Difference:
    """The statistic `measure(arm) - measure(reference)`, one value a seed, in the unit of the measure."""

    measure: str
    arm: Arm
    reference: Arm


@dataclass(frozen=True)
class Level:
    """The statistic `measure(arm)` itself, one value a seed, in the unit of the measure."""

    measure: str
    arm: Arm


@dataclass(frozen=True)
class Slope:
    """The statistic d log(measure) / d log(field) by least squares over all arms, one value a seed.

    With `spread`, the measure's standard deviation over seeds is regressed instead; its interval is by the jackknife
    over seeds.
    """

    measure: str
    field: str
    spread: bool = False


@dataclass(frozen=True)
class RatioSlope:
    """The statistic d log(measure(arm) / measure(reference)) / d log(field) by least squares, one value a seed.

    Below zero, the ratio shrinks as the field grows: where less is better, `arm` catches up with `reference`, or draws
    ahead. Both are parts of arms, `arm(backbone="dit", matching="flops")`: all arms of the study that contain them are
    taken, and paired by their value of `field`.
    """

    measure: str
    arm: Arm
    reference: Arm
    field: str


Statistic = Ratio | RatioToBest | RankCorrelation | Difference | Level | Slope | RatioSlope


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A sentence that can fail: the statistic is `at_least` or `at_most` the bound.

    Supported when the 95 % interval over seeds lies wholly on the claimed side of `bound`, refuted when wholly on the
    other, else inconclusive; values that are equal on all seeds have no interval and are judged by the sign test.
    Bounds are set before the study is run on the seeds that decide.
    """

    name: str
    text: str
    statistic: Statistic
    relation: Literal["at_least", "at_most"]
    bound: float
    why: str


@dataclass(frozen=True, kw_only=True)
class Study:
    """A research question as a value: question, expectation, grid of trials, primary measure, decision rule.

    `preset` names the base trial for a data set and scale (see `expansion`); each arm changes some of its fields, or
    chooses among what the preset offers.
    `smoke_arms` are the few that the scale `smoke` runs. `oracle_arms` are run on the exact denoiser `oracle` besides.
    """

    name: str
    question: str
    expectation: str
    how_to_read: str
    preset: str
    arms: tuple[Arm, ...]
    smoke_arms: tuple[Arm, ...]
    oracle: OracleSpec | None = None
    oracle_arms: tuple[Arm, ...] = ()
    primary: str = "frechet[cnn]"
    claims: tuple[Claim, ...] = ()
    caveats: tuple[str, ...] = ()
