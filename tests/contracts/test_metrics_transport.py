"""Errors on the exact panel: exact answers in one dimension, the known mean over directions in more."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import wasserstein_distance

from workbench.metrics.transport import endpoint_error, sliced_wasserstein
from workbench.rng import stream


def test_endpoint_error_is_the_root_mean_square_for_any_rank() -> None:
    exact = torch.zeros(4, 2, 3)
    drawn = exact.clone()
    drawn[0, 0, 0] = 12
    assert endpoint_error(drawn, exact) == pytest.approx(math.sqrt(144 / 24))
    assert endpoint_error(exact.flatten(1) + 0.5, exact.flatten(1)) == pytest.approx(0.5)


def test_one_dimension_is_the_wasserstein_distance() -> None:
    drawn, reference = torch.tensor([[3.0], [0.0], [1.0]]), torch.tensor([[2.0], [6.0], [1.0]])
    expected = math.sqrt((1 + 1 + 9) / 3)  # sorted: 0, 1, 3 against 1, 2, 6
    assert sliced_wasserstein(drawn, reference, generator=stream(0, "w")) == pytest.approx(expected)


def test_unequal_numbers_of_rows_are_matched_exactly() -> None:
    drawn, reference = (
        torch.randn(12, 1, generator=stream(0, "x")),
        torch.randn(8, 1, generator=stream(0, "y")),
    )
    repeated = sliced_wasserstein(drawn.repeat(2, 1), reference.repeat(3, 1), generator=stream(0, "w"))
    assert sliced_wasserstein(drawn, reference, generator=stream(0, "w")) == pytest.approx(repeated)
    # Far-off laws, so that the quantiles keep their order and the first moment alone decides: scipy knows W_1.
    far = sliced_wasserstein(drawn * 1e-3 + 100, reference * 1e-3, generator=stream(0, "w"))
    known = wasserstein_distance(drawn[:, 0] * 1e-3 + 100, reference[:, 0] * 1e-3)
    assert far == pytest.approx(known, rel=1e-6)


@pytest.mark.parametrize("shape", [(7,), (2, 3)])
def test_a_shift_has_the_known_mean_over_directions(shape: tuple[int, ...]) -> None:
    rows = torch.randn(50, *shape, generator=stream(0, "x"))
    shift = torch.randn(shape, generator=stream(1, "x"))
    found = sliced_wasserstein(rows + shift, rows, generator=stream(0, "w"), directions=20_000)
    assert found == pytest.approx(float(shift.norm()) / math.sqrt(math.prod(shape)), rel=0.03)


def test_equal_samples_are_at_no_distance_and_the_directions_are_addressed() -> None:
    x, y = torch.randn(40, 5, generator=stream(0, "x")), torch.randn(30, 5, generator=stream(0, "y"))
    assert sliced_wasserstein(x, x.flip(0), generator=stream(0, "w")) == 0
    assert sliced_wasserstein(x, y, generator=stream(0, "w")) == sliced_wasserstein(
        x, y, generator=stream(0, "w")
    )
