"""One path: increments agree between grids, whatever was asked before, and have the variance of Brownian motion."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from workbench.sampling import BrownianPath


def path(start: int = 0, stop: int = 100) -> BrownianPath:
    return BrownianPath(7, start=start, stop=stop, shape=(50,), dtype=torch.float64)


def test_finer_grids_follow_the_same_path() -> None:
    fine, coarse = path(), path()
    times = [1.0, 0.8, 0.51, 0.5, 0.23, 0.0]
    parts = sum(fine(t, s) * (t - s) ** 0.5 for t, s in pairwise(times))
    torch.testing.assert_close(parts, coarse(1.0, 0.0), rtol=0, atol=1e-4)


def test_the_order_of_questions_does_not_matter() -> None:
    forth, back = path(), path()
    first, second = forth(0.9, 0.4), forth(0.4, 0.1)
    assert torch.equal(back(0.4, 0.1), second)
    assert torch.equal(back(0.9, 0.4), first)


def test_increments_are_standard_and_independent() -> None:
    one = path()
    late, early = one(0.7, 0.3), one(0.3, 0.01)
    for increment in (late, early):
        assert float(increment.mean()) == pytest.approx(0, abs=4 / 5000**0.5)
        assert float(increment.std()) == pytest.approx(1, abs=4 / 10_000**0.5)
    assert float((late * early).mean()) == pytest.approx(0, abs=4 / 5000**0.5)


def test_rows_are_addressed() -> None:
    assert torch.equal(path(60, 80)(0.6, 0.2), path()(0.6, 0.2)[60:80])


def test_a_step_below_the_resolution_is_refused() -> None:
    with pytest.raises(ValueError, match="resolution"):
        path()(0.5, 0.5)
