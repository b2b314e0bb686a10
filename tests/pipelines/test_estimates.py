"""Estimates and their intervals against known answers: scipy's intervals, exact power laws, polyfit's slopes."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from claims import FIELD, RATIO, TIMESTEPS, A, B, claim, rows, study
from scipy import stats

from pipelines import verdict
from workbench.spec import (
    Difference,
    Level,
    RankCorrelation,
    RatioSlope,
    RatioToBest,
    Slope,
    arm,
    grid,
    zipped,
)


def test_ratio_interval_is_scipys_on_the_logarithm() -> None:
    above, below = [3.0, 2.5, 4.1, 3.3], [1.5, 1.4, 1.7, 1.6]
    (found,) = verdict.decide(study(claim(RATIO)), rows({50: above, 1000: below}))
    logs = np.log(np.array(above) / np.array(below))
    expected = stats.ttest_1samp(logs, 0.0).confidence_interval(0.95)
    assert found.estimate == pytest.approx(stats.gmean(np.array(above) / np.array(below)), rel=1e-12)
    assert (found.low, found.high) == pytest.approx(
        (math.exp(expected.low), math.exp(expected.high)), rel=1e-12
    )
    assert found.seeds == 4 and found.answer == "supported"
    assert found.per_seed == pytest.approx(
        {i: a / b for i, (a, b) in enumerate(zip(above, below, strict=True))}
    )


def test_pairing_removes_what_seeds_have_in_common() -> None:
    common = [1.0, 10.0, 100.0]
    (found,) = verdict.decide(study(claim(RATIO)), rows({50: [2 * c for c in common], 1000: common}))
    assert (found.estimate, found.low, found.high) == pytest.approx((2.0, 2.0, 2.0))


def test_of_equal_values_there_is_the_sign_test_alone() -> None:
    for count, answer in ((3, "inconclusive"), (5, "inconclusive"), (6, "supported")):
        (found,) = verdict.decide(study(claim(RATIO)), rows({50: [2.0] * count, 1000: [1.0] * count}))
        two_sided = stats.binomtest(count, count).pvalue
        assert (found.answer, found.confidence) == (answer, pytest.approx(1 - two_sided))
        assert "same value" in found.remark
        assert ("the sign test needs 6 seeds" in found.remark) == (count < 6)


def test_equal_values_at_the_bound_lie_on_neither_side() -> None:
    for value in (0.5, 0.5 * (1 - 1e-12)):
        level = claim(Level("frechet[cnn]", A), bound=0.5)
        (found,) = verdict.decide(study(level), rows({50: [value] * 9}))
        assert found.answer == "inconclusive" and found.confidence == 0


@pytest.mark.parametrize("power", [-0.7, 0.0, 1.3])
def test_slope_recovers_a_power_law(power: float) -> None:
    arms = zipped(source__model__schedule__timesteps=TIMESTEPS)
    values = {t: [scale * t**power for scale in (1.0, 2.0, 5.0)] for t in TIMESTEPS}
    table = rows(values).rename(columns={"nfe": "timesteps"})
    bounded = claim(Slope("frechet[cnn]", FIELD), "at_most", power + 0.1)
    (found,) = verdict.decide(study(bounded, arms=arms), table)
    assert (found.estimate, found.low, found.high) == pytest.approx((power, power, power), abs=1e-12)


def test_slope_of_noisy_values_is_polyfits() -> None:
    values = {t: np.random.default_rng(t).lognormal(size=3).tolist() for t in TIMESTEPS}
    table = rows(values).rename(columns={"nfe": "timesteps"})
    arms = zipped(source__model__schedule__timesteps=TIMESTEPS)
    (found,) = verdict.decide(study(claim(Slope("frechet[cnn]", FIELD)), arms=arms), table)
    for seed in range(3):
        y = [values[t][seed] for t in TIMESTEPS]
        assert found.per_seed[seed] == pytest.approx(np.polyfit(np.log(TIMESTEPS), np.log(y), 1)[0])


def test_spread_slope_is_that_of_the_standard_deviation() -> None:
    arms = zipped(source__model__schedule__timesteps=TIMESTEPS)
    offsets = (-1.0, 0.2, 0.3, 2.0)
    values = {t: [10.0 + offset * t**-0.5 for offset in offsets] for t in TIMESTEPS}
    table = rows(values).rename(columns={"nfe": "timesteps"})
    (found,) = verdict.decide(
        study(claim(Slope("frechet[cnn]", FIELD, spread=True), "at_most", 0.0), arms=arms), table
    )
    # Every subset of seeds shrinks by the same power, so the jackknife sees no uncertainty at all.
    assert (found.estimate, found.low, found.high) == pytest.approx((-0.5, -0.5, -0.5), abs=1e-10)
    assert found.seeds == 4


def test_a_difference_and_a_level_are_students_on_the_measure_itself() -> None:
    one, other = [0.4, -0.5, 0.1, 0.3], [0.1, -0.6, -0.3, 0.2]
    table = rows({50: one, 1000: other})
    claims = (claim(Difference("frechet[cnn]", A, B)), claim(Level("frechet[cnn]", A), "at_most", 1.5))
    difference, level = verdict.decide(study(*claims), table)
    for found, values in ((difference, np.subtract(one, other)), (level, np.array(one))):
        expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
        assert found.estimate == pytest.approx(values.mean())
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
        assert found.per_seed == pytest.approx(dict(enumerate(values)))
    assert (difference.answer, level.answer) == ("refuted", "supported")


def test_a_ratio_to_the_best_has_the_interval_of_a_ratio() -> None:
    arms = tuple(arm(sampling__nfe=n) for n in (50, 20, 1000))
    table = rows({50: [2.0, 3.0, 4.0], 20: [4.0, 9.0, 4.0], 1000: [8.0, 6.0, 8.0]})
    best = RatioToBest("frechet[cnn]", arms[0], arms[1:])
    (found,) = verdict.decide(study(claim(best, "at_most", 1.5), arms=arms), table)
    assert found.per_seed == pytest.approx({0: 0.5, 1: 0.5, 2: 1.0})
    assert found.estimate == pytest.approx(0.5 ** (2 / 3))


def test_a_rank_correlation_reads_both_measures_of_each_seed() -> None:
    arms = tuple(arm(sampling__nfe=n) for n in (10, 20, 50))
    table = rows({10: [1.0, 1.0, 3.0], 20: [2.0, 2.0, 2.0], 50: [3.0, 3.0, 1.0]})
    table["bits_per_dim"] = table["nfe"].map({10: 1.0, 20: 1.5, 50: 7.0})
    correlation = RankCorrelation("frechet[cnn]", "bits_per_dim", arms)
    (found,) = verdict.decide(study(claim(correlation), arms=arms), table)
    assert found.per_seed == pytest.approx({0: 1.0, 1: 1.0, 2: -1.0})
    (missing,) = verdict.decide(study(claim(correlation), arms=arms), table.drop(columns="bits_per_dim"))
    assert missing.reason == "no finished trial has the measure bits_per_dim"


GRID = grid(sampling__sampler=("ddpm", "heun"), source__model__schedule__timesteps=TIMESTEPS)
CLOSING = RatioSlope("frechet[cnn]", arm(sampling__sampler="heun"), arm(sampling__sampler="ddpm"), FIELD)


def two_curves(
    first: dict[int, list[float]], second: dict[int, list[float]], **columns: object
) -> pd.DataFrame:
    """One row for each sampler, number of timesteps and seed."""
    parts = [rows(first), rows(second).assign(sampler="heun")]
    return pd.concat(parts, ignore_index=True).rename(columns={"nfe": "timesteps"}).assign(**columns)


@pytest.mark.parametrize("power", [-0.4, 0.0, 0.9])
def test_the_slope_of_a_ratio_is_the_difference_of_the_powers(power: float) -> None:
    first = {t: [scale * t**-0.3 for scale in (1.0, 7.0, 2.0)] for t in TIMESTEPS}
    second = {t: [scale * t ** (power - 0.3) for scale in (3.0, 1.0, 5.0)] for t in TIMESTEPS}
    bounded = claim(CLOSING, "at_most", power + 0.1)
    # The order in which a study lists its arms must not matter.
    (found,) = verdict.decide(study(bounded, arms=GRID[::-1]), two_curves(first, second))
    assert (found.estimate, found.low, found.high) == pytest.approx((power, power, power), abs=1e-12)
    assert found.seeds == 3


def test_the_slope_of_a_ratio_is_paired_inside_each_seed() -> None:
    draws = np.random.default_rng(0).lognormal(size=(2, len(TIMESTEPS), 4))
    first, second = ({t: d.tolist() for t, d in zip(TIMESTEPS, one, strict=True)} for one in draws)
    (found,) = verdict.decide(study(claim(CLOSING, bound=0.0), arms=GRID), two_curves(first, second))
    logs = np.log(draws[1] / draws[0])
    slopes = [np.polyfit(np.log(TIMESTEPS), logs[:, seed], 1)[0] for seed in range(4)]
    expected = stats.ttest_1samp(slopes, 0.0).confidence_interval(0.95)
    assert found.per_seed == pytest.approx(dict(enumerate(slopes)))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_the_slope_of_a_ratio_drops_seeds_that_lack_an_arm_and_needs_two_places() -> None:
    values = {t: [1.0, 1.1, 1.2, 1.3] for t in TIMESTEPS}
    table = two_curves(values, values)
    table.loc[1, "status"] = "FAILED"
    (found,) = verdict.decide(study(claim(CLOSING, bound=-1.0), arms=GRID), table)
    assert found.seeds == 3 and found.estimate == pytest.approx(0.0, abs=1e-12)
    assert "ddpm, timesteps 4 lacks seed 1" in found.reason
    (few,) = verdict.decide(study(claim(CLOSING), arms=GRID[:1] + GRID[4:]), table)
    assert few.answer == "inconclusive" and "two values of timesteps" in few.reason
    with pytest.raises(ValueError, match="several arms"):
        verdict.decide(study(claim(replace(CLOSING, reference=())), arms=GRID), table)


def test_jackknife_of_a_mean_is_students_interval() -> None:
    values = np.array([1.0, 2.5, 2.0, 7.0, 3.0])
    left_out = [np.delete(values, i).mean() for i in range(len(values))]
    ours, students = verdict.jackknife(values.mean(), left_out), verdict.interval_of_mean(values.tolist())
    assert (ours.low, ours.high) == pytest.approx((students.low, students.high), rel=1e-12)


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    draws = np.random.default_rng(0).normal(1.0, 2.0, size=(2000, 3))
    hits = [e.low <= 1.0 <= e.high for e in map(verdict.interval_of_mean, draws.tolist())]
    assert np.mean(hits) == pytest.approx(0.95, abs=0.015)
