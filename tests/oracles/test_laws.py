"""The output law of every sampler on a Gaussian, exactly: no random number is drawn.

The denoiser of a Gaussian is affine, so every sampler is an affine map of its start and of its noise. Pushing the
identity through it, one row for the start and one for each increment, gives mean and deviation of what it draws.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from workbench.diffusion.oracle import GaussianOracle
from workbench.diffusion.posterior import posterior
from workbench.diffusion.schedule import Cosine, LinearVP, Schedule, Straight
from workbench.sampling import SAMPLERS, Sampler, sample, sampler_from
from workbench.sampling.ancestral import DDIM, Ancestral
from workbench.spec import SamplingSpec

DOUBLE = torch.float64
MEAN, STD = 0.3, 0.5
# Every sampler as the table makes it, and the other settings of those that have any.
MEMBERS: dict[str, Sampler] = {name: sampler_from(SamplingSpec(sampler=name)) for name in SAMPLERS} | {
    "ddpm_large": Ancestral(variance="large"),
    "ddim_half": DDIM(eta=0.5),
    "ddim_full": DDIM(eta=1.0),
}
SCHEDULES: tuple[Schedule, ...] = (LinearVP(), Cosine(), Straight())
UNEVEN = torch.tensor([1.0, 0.7, 0.65, 0.2], dtype=DOUBLE)

every_member = pytest.mark.parametrize("name", MEMBERS)
preserving_schedule = pytest.mark.parametrize("schedule", SCHEDULES[:2], ids=lambda s: type(s).__name__)
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)


class Learned(GaussianOracle):
    """The exact reverse variance of a Gaussian in the terms of a learned one, for a grid that is known."""

    def __init__(self, mean: Tensor, std: Tensor, schedule: Schedule, grid: Tensor) -> None:
        super().__init__(mean, std, schedule)
        self.grid = grid

    def moments(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        s = self.grid[int((self.grid == t).nonzero()) + 1]
        (alpha_t, sigma_t), (alpha_s, sigma_s) = (
            [float(value) for value in self.schedule(time)] for time in (t, s)
        )
        q = posterior(alpha_t, sigma_t, alpha_s, sigma_s)
        variance = float(self.std) ** 2
        unknown = variance * sigma_t**2 / (alpha_t**2 * variance + sigma_t**2)  # of x_0 given x_t
        exact = q.small + q.of_x_0**2 * unknown
        fraction = math.log(exact / q.small) / math.log(q.large / q.small)
        assert 0 < fraction < 1
        return self(x_t, t), torch.full_like(x_t, fraction)


def gaussian(schedule: Schedule, mean: float = MEAN, std: float = STD) -> GaussianOracle:
    """A Gaussian of no dimensions: rows are numbers."""
    return GaussianOracle(torch.tensor(mean, dtype=DOUBLE), torch.tensor(std, dtype=DOUBLE), schedule)


def pushed(sampler: Sampler, oracle: GaussianOracle, grid: Tensor, scale: float = 1.0) -> Tensor:
    """Row 0 starts at the mean without noise; row 1 one deviation off; each other row is given one increment of one."""
    mean, std = oracle.marginal(grid[0])
    x_1 = mean.expand(len(grid) + 1).clone()
    x_1[1] += scale * std
    rows = iter(range(2, len(x_1)))

    def noise(t: float, s: float) -> Tensor:
        increment = torch.zeros_like(x_1)
        increment[next(rows)] = scale
        return increment

    return sample(oracle, sampler, x_1, grid, noise=noise)


def law(sampler: Sampler, oracle: GaussianOracle, grid: Tensor) -> Tensor:
    """Mean and standard deviation of what the sampler draws along the grid: [2]."""
    rows = pushed(sampler, oracle, grid)
    return torch.stack([rows[0], (rows[1:] - rows[0]).norm()])


def exact(oracle: GaussianOracle, t: Tensor) -> Tensor:
    return torch.stack(oracle.marginal(t))


def equal_steps(schedule: Schedule, end: float, steps: int) -> Tensor:
    """Equal steps of the log-SNR from t = 1 to `end`."""
    first, last = schedule.log_snr(torch.tensor([1.0, end], dtype=DOUBLE)).tolist()
    grid = schedule.inverse(torch.linspace(first, last, steps + 1, dtype=DOUBLE))
    grid[0] = 1.0
    return grid


@every_member
def test_the_map_is_affine(name: str) -> None:
    one, three = (pushed(MEMBERS[name], gaussian(LinearVP()), UNEVEN, scale) for scale in (1.0, 3.0))
    torch.testing.assert_close(three - three[0], 3 * (one - one[0]), rtol=1e-12, atol=1e-12)


@every_schedule
@pytest.mark.parametrize("name", [name for name in MEMBERS if name != "ddpm_large"])
def test_data_at_one_point_is_drawn_exactly_in_any_steps(name: str, schedule: Schedule) -> None:
    """The clean mean is then constant, and the small variance that of the posterior: nothing is left to approximate."""
    oracle = gaussian(schedule, std=0.0)
    for stop in (2, 3, 4):
        grid = UNEVEN[:stop]
        torch.testing.assert_close(
            law(MEMBERS[name], oracle, grid), exact(oracle, grid[-1]), rtol=1e-10, atol=0
        )
    ended = law(MEMBERS[name], oracle, torch.cat([UNEVEN, torch.zeros(1, dtype=DOUBLE)]))
    torch.testing.assert_close(ended, torch.tensor([MEAN, 0.0], dtype=DOUBLE), rtol=1e-12, atol=1e-12)


@preserving_schedule
def test_standard_normal_data_are_drawn_exactly_with_the_large_variance(schedule: Schedule) -> None:
    out = law(Ancestral(variance="large"), gaussian(schedule, mean=0.0, std=1.0), UNEVEN)
    torch.testing.assert_close(out, torch.tensor([0.0, 1.0], dtype=DOUBLE), rtol=1e-12, atol=1e-12)


@preserving_schedule
@pytest.mark.parametrize("std", [0.1, 0.5, 0.9])
def test_the_right_learned_variance_draws_any_gaussian_exactly(std: float, schedule: Schedule) -> None:
    """Between the bounds of Nichol & Dhariwal (2021, eq. 15) lies the variance that makes any number of steps exact."""
    oracle = Learned(torch.tensor(MEAN, dtype=DOUBLE), torch.tensor(std, dtype=DOUBLE), schedule, UNEVEN)
    out = law(Ancestral(variance="learned"), oracle, UNEVEN)
    torch.testing.assert_close(out, exact(oracle, UNEVEN[-1]), rtol=1e-10, atol=0)


@every_schedule
@every_member
def test_the_law_converges_in_the_declared_order(name: str, schedule: Schedule) -> None:
    oracle, errors, steps = gaussian(schedule), [], (128, 256, 512)
    for count in steps:
        grid = equal_steps(schedule, 0.05, count)
        errors.append(float((law(MEMBERS[name], oracle, grid) - exact(oracle, grid[-1])).norm()))
    fitted = math.log(errors[0] / errors[-1]) / math.log(steps[-1] / steps[0])
    assert MEMBERS[name].order - 0.25 <= fitted <= MEMBERS[name].order + 0.5, errors
