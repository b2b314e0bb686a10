"""The statistics of claims on one seed: known values, and what scipy says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pipelines import statistics
from workbench.spec import Difference, Level, RankCorrelation, Ratio, RatioToBest, arm

ARMS = tuple(arm(sampling__nfe=n) for n in (10, 20, 50, 100))
BEST = RatioToBest("frechet[cnn]", ARMS[0], ARMS[1:])
CORRELATION = RankCorrelation("frechet[cnn]", "bits_per_dim", ARMS)


def test_a_ratio_to_the_best_is_to_the_least_of_the_others() -> None:
    assert statistics.arms_needed(BEST, ARMS[::-1]) == ARMS
    assert statistics.on_seed(BEST, ARMS, [2.0, 8.0, 4.0, 5.0]) == 0.5
    assert statistics.on_seed(BEST, ARMS, [8.0, 2.0, 4.0, 5.0]) == 4.0
    assert statistics.on_seed(BEST, ARMS, [2.0, 0.0, 4.0, 5.0]) is None


def test_a_rank_correlation_is_spearmans() -> None:
    cells = statistics.cells_needed(CORRELATION, statistics.arms_needed(CORRELATION, ARMS))
    assert cells == [(one, name) for name in ("frechet[cnn]", "bits_per_dim") for one in ARMS]
    one, other = np.random.default_rng(3).normal(size=(2, 4)).tolist()
    expected = stats.spearmanr(one, other).statistic
    assert statistics.on_seed(CORRELATION, ARMS, [*one, *other]) == pytest.approx(expected)
    assert statistics.on_seed(CORRELATION, ARMS, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]) == pytest.approx(1)
    assert statistics.on_seed(CORRELATION, ARMS, [1.0, 2.0, 3.0, 4.0, 8.0, 7.0, 6.0, 5.0]) == pytest.approx(
        -1
    )


def test_of_equal_values_no_rank_is_told() -> None:
    assert statistics.on_seed(CORRELATION, ARMS, [1.0, 2.0, 3.0, 4.0, 5.0, 5.0, 5.0, 5.0]) == 0


def test_ratios_are_known_as_such() -> None:
    plain = Ratio("frechet[cnn]", *ARMS[:2])
    assert all(map(statistics.is_ratio, (plain, BEST)))
    others = (CORRELATION, Difference("error", *ARMS[:2]), Level("error", ARMS[0]))
    assert not any(map(statistics.is_ratio, others))
    assert statistics.kind(BEST) == "ratio to the best other"
