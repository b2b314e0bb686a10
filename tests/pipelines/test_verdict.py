"""Decisions against known answers: scipy's intervals, exact power laws, and the cases that decide nothing."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from typing import Literal

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pipelines import verdict
from workbench.spec import (
    Claim,
    Difference,
    Level,
    RankCorrelation,
    Ratio,
    RatioSlope,
    RatioToBest,
    Slope,
    Statistic,
    Study,
    arm,
    grid,
    zipped,
)

A, B = arm(sampling__sampler="ddpm", sampling__nfe=50), arm(sampling__sampler="ddpm", sampling__nfe=1000)
FIELD = "source.model.schedule.timesteps"
TIMESTEPS = (4, 10, 30, 100)


def claim(
    statistic: Statistic, relation: Literal["at_least", "at_most"] = "at_least", bound: float = 1.1
) -> Claim:
    return Claim(name="c", text="A claim.", statistic=statistic, relation=relation, bound=bound, why="")


def study(*claims: Claim, arms: tuple = (A, B)) -> Study:
    return Study(
        name="s",
        question="?",
        expectation="",
        how_to_read="",
        preset="continuous",
        arms=arms,
        smoke_arms=arms[:2],
        claims=claims,
    )


def rows(values: dict[int, list[float]], **columns: object) -> pd.DataFrame:
    """One row for each nfe and seed."""
    table = pd.DataFrame(
        [
            {"sampler": "ddpm", "nfe": nfe, "seed": seed, "frechet[cnn]": value}
            for nfe, by_seed in values.items()
            for seed, value in enumerate(by_seed)
        ]
    )
    fixed = {"data": "digits", "scale": "quick", "panel": "network", "status": "FINISHED"}
    started = pd.date_range("2026-01-01", periods=len(table), tz="UTC")
    return table.assign(**(fixed | columns), started=started)


RATIO = Ratio("frechet[cnn]", A, B)


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
    assert found.answer == "supported" and found.confidence == 1.0


def test_confidence_is_the_level_of_the_interval_that_touches_the_bound() -> None:
    above, below = [3.0, 2.5, 4.1], [1.5, 1.6, 1.7]
    (found,) = verdict.decide(study(claim(RATIO, bound=1.3)), rows({50: above, 1000: below}))
    logs = np.log(np.array(above) / np.array(below))
    touching = stats.ttest_1samp(logs, 0.0).confidence_interval(found.confidence)
    assert touching.low == pytest.approx(math.log(1.3), rel=1e-9)
    assert found.confidence == pytest.approx(1 - stats.ttest_1samp(logs, math.log(1.3)).pvalue, rel=1e-9)


@pytest.mark.parametrize(
    ("factor", "relation", "answer"),
    [
        (2.0, "at_least", "supported"),
        (2.0, "at_most", "refuted"),
        (0.5, "at_least", "refuted"),
        (0.5, "at_most", "supported"),
        (1.1, "at_least", "inconclusive"),
        (1.1, "at_most", "inconclusive"),
    ],
)
def test_the_answer_follows_from_the_side_of_the_bound(factor: float, relation: str, answer: str) -> None:
    noise = [0.99, 1.0, 1.01]
    table = rows({50: [factor * n for n in noise], 1000: [1.0, 1.0, 1.0]})
    assert verdict.decide(study(claim(RATIO, relation)), table)[0].answer == answer


@pytest.mark.parametrize("power", [-0.7, 0.0, 1.3])
def test_slope_recovers_a_power_law(power: float) -> None:
    arms = zipped(source__model__schedule__timesteps=TIMESTEPS)
    values = {t: [scale * t**power for scale in (1.0, 2.0, 5.0)] for t in TIMESTEPS}
    table = rows(values).rename(columns={"nfe": "timesteps"})
    bounded = claim(Slope("frechet[cnn]", FIELD), "at_most", power + 0.1)
    (found,) = verdict.decide(study(bounded, arms=arms), table)
    assert (found.estimate, found.low, found.high) == pytest.approx((power, power, power), abs=1e-12)
    assert found.answer == "supported"


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
    assert found.answer == "supported" and found.seeds == 4


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


def test_an_arm_that_a_level_does_not_need_may_be_missing() -> None:
    table = rows({50: [1.0, 1.1, 1.2]})
    level, difference = verdict.decide(
        study(claim(Level("frechet[cnn]", A), bound=0.5), claim(Difference("frechet[cnn]", A, B))), table
    )
    assert level.answer == "supported" and level.seeds == 3
    assert difference.answer == "inconclusive" and "nfe 1000 has no finished trial" in difference.reason


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
    assert found.answer == "supported" and found.seeds == 3


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
    assert found.seeds == 3 and found.answer == "supported"
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


def test_two_seeds_decide_nothing() -> None:
    (found,) = verdict.decide(study(claim(RATIO)), rows({50: [9.0, 9.0], 1000: [1.0, 1.0]}))
    assert found.answer == "inconclusive"
    assert (found.estimate, found.low, found.high) == pytest.approx((9.0, 9.0, 9.0))
    assert "2 seeds" in found.reason and "3 are needed" in found.reason


def test_one_seed_gives_no_estimate() -> None:
    (found,) = verdict.decide(study(claim(RATIO)), rows({50: [9.0], 1000: [1.0]}))
    assert found.answer == "inconclusive" and found.estimate is None and found.low is None
    assert found.per_seed == {0: 9.0}


def test_missing_arm_is_named() -> None:
    (found,) = verdict.decide(study(claim(RATIO)), rows({50: [9.0, 9.0, 9.0]}))
    assert found.answer == "inconclusive" and "ddpm, nfe 1000 has no finished trial" in found.reason


def test_failed_trial_drops_its_seed_and_says_so() -> None:
    table = rows({50: [9.0, 9.1, 9.2, 9.3], 1000: [1.0, 1.0, 1.0, 1.0]})
    table.loc[3, "status"] = "FAILED"
    (found,) = verdict.decide(study(claim(RATIO)), table)
    assert found.seeds == 3 and found.answer == "supported"
    assert "ddpm, nfe 50 lacks seed 3" in found.reason


def test_oracle_rows_and_older_rows_are_not_used() -> None:
    table = rows({50: [9.0, 9.1, 9.2], 1000: [1.0, 1.0, 1.0]})
    older = rows({50: [1.0, 1.0, 1.0]}, panel="network").assign(started=pd.Timestamp("2020-01-01", tz="UTC"))
    oracle = rows({50: [5.0, 5.0, 5.0]}, panel="oracle", data="mixture")
    (found,) = verdict.decide(study(claim(RATIO)), pd.concat([older, oracle, table], ignore_index=True))
    assert found.per_seed == pytest.approx({0: 9.0, 1: 9.1, 2: 9.2})


def test_values_without_a_logarithm_decide_nothing() -> None:
    (found,) = verdict.decide(study(claim(RATIO)), rows({50: [9.0, 9.0, -0.1], 1000: [1.0, 1.0, 1.0]}))
    assert found.answer == "inconclusive" and "not positive" in found.reason
    table = rows({50: [1.0, 1.0, 1.0], 1000: [1.0, 1.0, 1.0]}).rename(columns={"nfe": "timesteps"})
    arms = zipped(source__model__schedule__timesteps=(50, 1000))
    (flat,) = verdict.decide(study(claim(Slope("frechet[cnn]", FIELD, spread=True)), arms=arms), table)
    assert flat.answer == "inconclusive" and "does not differ" in flat.reason


def test_nothing_finished_and_unknown_measures_are_inconclusive() -> None:
    table = rows({50: [1.0, 1.0, 1.0], 1000: [1.0, 1.0, 1.0]})
    for found in (
        verdict.decide(study(claim(RATIO)), table.iloc[:0])[0],
        verdict.decide(study(claim(RATIO)), table.assign(status="FAILED"))[0],
        verdict.decide(study(claim(Ratio("absent", A, B))), table)[0],
    ):
        assert found.answer == "inconclusive" and found.reason and found.estimate is None


def test_mixed_tables_are_refused_and_slices_take_them_apart() -> None:
    table = pd.concat(
        [
            rows({50: [9.0] * 3, 1000: [1.0] * 3}),
            rows({50: [1.0] * 3, 1000: [1.0] * 3}, data="fashion_mnist"),
        ],
        ignore_index=True,
    ).assign(started=pd.date_range("2026-01-01", periods=12, tz="UTC"))
    with pytest.raises(ValueError, match="one data set at one scale"):
        verdict.decide(study(claim(RATIO)), table)
    assert verdict.slices(table) == [("fashion_mnist", "quick"), ("digits", "quick")]
    answers = [
        verdict.decide(study(claim(RATIO)), verdict.at(table, *s))[0].answer for s in verdict.slices(table)
    ]
    assert answers == ["refuted", "supported"]


def test_smoke_scale_asks_for_the_smoke_arms_alone() -> None:
    arms = zipped(source__model__schedule__timesteps=TIMESTEPS)
    table = rows({t: [float(t)] * 3 for t in TIMESTEPS[:2]}, scale="smoke").rename(
        columns={"nfe": "timesteps"}
    )
    slope = claim(Slope("frechet[cnn]", FIELD), bound=0.5)
    assert verdict.decide(study(slope, arms=arms), table)[0].answer == "supported"
    assert verdict.decide(study(slope, arms=arms), table.assign(scale="quick"))[0].answer == "inconclusive"


def test_decisions_survive_json() -> None:
    table = rows({50: [9.0, 9.1, 9.2], 1000: [1.0, 1.0, 1.0]})
    decisions = verdict.decide(study(claim(RATIO), replace(claim(RATIO), name="d")), table)
    read = json.loads(json.dumps([asdict(d) for d in decisions], allow_nan=False))
    assert [d["claim"] for d in read] == ["c", "d"]


def test_claims_about_features_are_decided_in_other_features_too() -> None:
    table = rows({50: [2.0, 2.1, 1.9], 1000: [1.0, 1.0, 1.0]}, sample_seconds=1.0)
    table["frechet[other]"] = 3.0 - table["frechet[cnn]"]
    table["floor frechet[other]"] = 1.0
    seconds = replace(claim(RATIO), name="d", statistic=replace(RATIO, measure="sample_seconds"))
    bounded_in_its_own_unit = replace(claim(Level("frechet[cnn]", A)), name="e")
    ((other, found),) = verdict.second_opinions(study(claim(RATIO), seconds, bounded_in_its_own_unit), table)
    assert other.name == "c"
    assert other.statistic.measure == "frechet[other]"
    assert found.answer == "refuted"
    assert found.estimate == pytest.approx(stats.gmean([0.5, 0.45, 0.55]))
