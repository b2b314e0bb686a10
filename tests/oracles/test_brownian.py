"""One path: increments agree between grids, whatever was asked before, and have the covariance of Brownian motion."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from workbench import rng
from workbench.registry import UserError
from workbench.sampling import BrownianPath


def path(start: int = 0, stop: int = 100) -> BrownianPath:
    return BrownianPath(7, start=start, stop=stop, shape=(50,), dtype=torch.float64)


def value(one: BrownianPath, t: float) -> Tensor:
    """W(t)."""
    return one(t, 0.0) * t**0.5


@pytest.mark.parametrize("steps", [2, 3, 7, 50, 1000])
def test_finer_grids_follow_the_same_path(steps: int) -> None:
    """Increments of any grid add up to those of the coarsest; times that the path has as ticks are exact."""
    fine, times = path(stop=3), [round(1000 * (steps - i) / steps) / 1000 for i in range(steps + 1)]
    parts = sum(fine(t, s) * (t - s) ** 0.5 for t, s in pairwise(times))
    torch.testing.assert_close(parts, path(stop=3)(1.0, 0.0), rtol=0, atol=1e-12)


def test_a_value_does_not_depend_on_what_was_asked_before() -> None:
    times = torch.rand(40, generator=torch.Generator().manual_seed(0)).tolist()
    one = path(stop=2)
    asked = {t: value(one, t) for t in times}
    falling = path(stop=2)
    for t in sorted(times, reverse=True):
        torch.testing.assert_close(value(falling, t), asked[t], rtol=0, atol=1e-12)
    for t in times[:5]:
        torch.testing.assert_close(value(path(stop=2), t), asked[t], rtol=0, atol=1e-12)


def test_the_covariance_is_that_of_brownian_motion() -> None:
    """E[W(s) W(t)] = min(s, t), over 5,000 values and at four standard errors, at times within cells of all sizes."""
    times, one = torch.tensor([0.0004, 0.1003, 0.1007, 0.49, 0.5, 0.77777, 1.0]), path()
    values = torch.stack([value(one, float(t)).flatten() for t in times])
    expected = torch.minimum(times[:, None], times).double()
    error = (times[:, None] * times + expected.square()).double().sqrt() / values.shape[1] ** 0.5
    assert ((values @ values.T / values.shape[1] - expected).abs() < 4 * error).all()


def test_increments_are_standard_however_short() -> None:
    one = path()
    increments = [one(t, s) for t, s in ((0.7, 0.3), (0.3, 0.01), (0.01, 0.00999), (0.00999, 0.009985))]
    for increment in increments:
        assert float(increment.std()) == pytest.approx(1, abs=4 / 10_000**0.5)
    for late, early in pairwise(increments):
        assert float((late * early).mean()) == pytest.approx(0, abs=4 / 5000**0.5)


def test_rows_are_addressed() -> None:
    assert torch.equal(path(60, 80)(0.6, 0.2), path()(0.6, 0.2)[60:80])
    assert not torch.allclose(
        BrownianPath(8, start=0, stop=100, shape=(50,))(0.6, 0.2).double(), path()(0.6, 0.2)
    )


def test_the_timesteps_of_ddpm_cost_one_normal_each(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, original = [], rng.normal_rows
    monkeypatch.setattr(
        rng, "normal_rows", lambda *args, **kwargs: drawn.append(args) or original(*args, **kwargs)
    )
    one = path(stop=1)
    for i in range(1000, 0, -1):
        one(i / 1000, (i - 1) / 1000)
    assert len(drawn) == len(set(drawn)) == 1000


def test_a_step_below_the_resolution_is_refused() -> None:
    with pytest.raises(UserError, match="resolution"):
        path()(0.5, 0.5)
