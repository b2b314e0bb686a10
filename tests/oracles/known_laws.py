"""Laws of images whose probabilities are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from workbench.diffusion.oracle import GaussianOracle, MixtureOracle
from workbench.diffusion.schedule import Cosine, LinearVP, Schedule, Straight
from workbench.levels import spacing
from workbench.rng import stream

DOUBLE = torch.float64
MEAN = torch.tensor([0.3, -0.2, 0.1], dtype=DOUBLE)
STD = torch.tensor([0.2, 0.3, 0.25], dtype=DOUBLE)
LEVELS = 65
SCHEDULES = (LinearVP(), Cosine(), Straight())
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)


def gaussian(schedule: Schedule) -> GaussianOracle:
    return GaussianOracle(MEAN, STD, schedule)


def on_levels(rows: int) -> Tensor:
    """Rows of the Gaussian, each value moved to the nearest level."""
    x = MEAN + STD * torch.randn(rows, 3, generator=stream(0, "rows"), dtype=DOUBLE)
    return ((x + 1) / spacing(LEVELS)).round().clamp(0, LEVELS - 1) * spacing(LEVELS) - 1


def exact(x_0: Tensor) -> Tensor:
    """The probability of the cell around each row, in nats: [B]."""
    half, law = 0.5 * spacing(LEVELS), Normal(MEAN, STD)
    return (law.cdf(x_0 + half) - law.cdf(x_0 - half)).log().sum(1)


def blurred(x_0: Tensor, ratio: float) -> Tensor:
    """What the bound can reach at most for a density that is smooth over a cell: [B].

    The posterior of y = x_0 + ratio noise is uniform over the cell, and q(y | x_0) is not: their divergence is lost.
    """
    entropy = 0.5 * math.log(2 * math.pi * math.e * ratio**2)
    return exact(x_0) - 3 * (math.log(spacing(LEVELS)) - entropy)


def little_noise(levels: int) -> float:
    """The log-SNR at which half the distance of two levels is three deviations: they are told apart for certain."""
    return 2 * math.log(6 / spacing(levels))


def points(schedule: Schedule) -> MixtureOracle:
    """Images of three values and nine levels, of which there are four."""
    means = torch.tensor([[0, 1, 2], [0, 1, 4], [8, 3, 3], [5, 5, 0]], dtype=DOUBLE) * spacing(9) - 1
    return MixtureOracle(torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=DOUBLE), means, 0.0, schedule)


def near(estimates: Tensor, expected: Tensor, *, tolerance: float = 0.0) -> None:
    """The mean of `estimates` over rows is that of `expected` to within four standard errors and `tolerance`."""
    gap = estimates - expected
    error = 4 * float(gap.std()) / len(gap) ** 0.5
    assert error < 0.15, "the test would see nothing"
    assert abs(float(gap.mean())) < error + tolerance, (float(gap.mean()), error)
