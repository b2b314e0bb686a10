"""Decisions: which side of the bound an interval lies on, what decides nothing and why, and which rows are used."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
from claims import FIELD, RATIO, TIMESTEPS, A, B, claim, rows, study
from scipy import stats

from pipelines import verdict
from workbench.spec import Difference, Level, Ratio, Slope, zipped


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


def test_an_arm_that_a_level_does_not_need_may_be_missing() -> None:
    table = rows({50: [1.0, 1.1, 1.2]})
    level, difference = verdict.decide(
        study(claim(Level("frechet[cnn]", A), bound=0.5), claim(Difference("frechet[cnn]", A, B))), table
    )
    assert level.answer == "supported" and level.seeds == 3
    assert difference.answer == "inconclusive" and "nfe 1000 has no finished trial" in difference.reason


def test_two_seeds_decide_nothing() -> None:
    (found,) = verdict.decide(study(claim(RATIO)), rows({50: [9.0, 9.0], 1000: [1.0, 1.0]}))
    assert found.answer == "inconclusive"
    assert (found.estimate, found.low, found.high) == pytest.approx((9.0, 9.0, 9.0))
    assert "2 seeds" in found.remark and "3 are needed" in found.remark


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
    assert found.answer == "inconclusive" and "not positive" in found.remark
    assert (
        found.estimate is None and found.seeds == 3
    )  # not that of the seeds that happen to have a logarithm
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
            rows({50: [9.0, 9.1, 9.2], 1000: [1.0] * 3}),
            rows({50: [0.50, 0.51, 0.52], 1000: [1.0] * 3}, data="fashion_mnist"),
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
    values = {t: [float(t) ** power for power in (0.9, 1.0, 1.1)] for t in TIMESTEPS[:2]}
    table = rows(values, scale="smoke").rename(columns={"nfe": "timesteps"})
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
