"""Every denoiser: any rank, scalar and per-row times agree, no noise returns the input, units do not matter."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from workbench.diffusion.conversions import PARAMETRISATIONS, noise_from, score_from, velocity_from
from workbench.diffusion.denoiser import Clipped, Counting, Denoiser, Guided, Preconditioned
from workbench.diffusion.oracle import GaussianOracle, MixtureOracle
from workbench.diffusion.schedule import LinearVP, Schedule, Straight
from workbench.registry import UserError

DATA_STD = 0.5


class Toy(nn.Module):
    """A network without structure that depends on all its inputs."""

    def forward(self, x: Tensor, noise_level: Tensor, labels: Tensor | None) -> Tensor:
        bias = noise_level if labels is None else noise_level + labels
        return torch.tanh(x + bias.reshape(-1, *(1,) * (x.ndim - 1)))


class Rescaled(Schedule):
    """The same noise in other units: x_t multiplied by exp(2 t)."""

    def __init__(self, inner: Schedule) -> None:
        self.inner = inner

    def log_alpha(self, t: Tensor) -> Tensor:
        return self.inner.log_alpha(t) + 2 * t

    def sigma(self, t: Tensor) -> Tensor:
        return self.inner.sigma(t) * (2 * t).exp()

    def inverse(self, log_snr: Tensor) -> Tensor:
        return self.inner.inverse(log_snr)


def denoisers(schedule: Schedule, shape: tuple[int, ...]) -> dict[str, Denoiser]:
    means = torch.linspace(-1, 1, 3 * math.prod(shape), dtype=torch.float64).reshape(3, *shape)
    result: dict[str, Denoiser] = {
        name: Preconditioned(Toy(), schedule, prediction=name, data_std=DATA_STD) for name in PARAMETRISATIONS
    }
    result["gaussian"] = GaussianOracle(means[0], 0.3 + means[2].abs(), schedule)
    result["mixture"] = MixtureOracle(
        torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64), means, 0.2, schedule
    )
    return result


NAMES = tuple(denoisers(LinearVP(), (2,)))


def rows(shape: tuple[int, ...]) -> Tensor:
    return torch.randn(4, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(2,), (1, 3), (2, 3, 3), (1, 2, 2, 2)], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_scalar_and_per_row_times_agree(name: str, shape: tuple[int, ...]) -> None:
    denoiser, x = denoisers(LinearVP(), shape)[name], rows(shape)
    t = torch.tensor(0.3, dtype=torch.float64)
    together = denoiser(x, t)
    assert together.shape == x.shape
    torch.testing.assert_close(denoiser(x, t.expand(4)), together)
    mixed = torch.tensor([0.3, 0.9, 0.1, 0.3], dtype=torch.float64)
    torch.testing.assert_close(denoiser(x, mixed)[[0, 3]], together[[0, 3]])
    assert not torch.allclose(denoiser(x, mixed)[1], together[1])


@pytest.mark.parametrize("schedule", [LinearVP(), Straight()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("clean", "mixture")])
def test_without_noise_the_input_comes_back(name: str, schedule: Schedule) -> None:
    x = rows((3,))
    for t in (0.0, 1e-7):
        out = denoisers(schedule, (3,))[name](x, torch.tensor(t, dtype=torch.float64))
        torch.testing.assert_close(out, x, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_a_rescaled_twin_changes_nothing(name: str) -> None:
    x, t = rows((3,)), torch.tensor(0.4, dtype=torch.float64)
    plain = denoisers(LinearVP(), (3,))[name](x, t)
    torch.testing.assert_close(denoisers(Rescaled(LinearVP()), (3,))[name](x * (2 * t).exp(), t), plain)


@pytest.mark.parametrize("schedule", [LinearVP(), Straight()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("name", PARAMETRISATIONS)
def test_the_exact_target_gives_the_clean_row(name: str, schedule: Schedule) -> None:
    x_0, noise = rows((3,)), rows((3,)).flip(0)
    alpha, sigma = schedule(torch.tensor(0.6, dtype=torch.float64))
    parametrisation, x_t = PARAMETRISATIONS[name], alpha * x_0 + sigma * noise
    target = parametrisation.target(x_0, noise, alpha, sigma, DATA_STD)
    torch.testing.assert_close(parametrisation.denoised(target, x_t, alpha, sigma, DATA_STD), x_0)
    moved = parametrisation.denoised(target + 1e-3, x_t, alpha, sigma, DATA_STD)
    gain = parametrisation.gain(alpha, sigma, DATA_STD)
    torch.testing.assert_close((moved - x_0).abs(), (1e-3 * gain).expand_as(x_0), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(noise_from(x_0, x_t, alpha, sigma), noise)
    torch.testing.assert_close(score_from(x_0, x_t, alpha, sigma), -noise / sigma)
    velocity = PARAMETRISATIONS["velocity"].target(x_0, noise, alpha, sigma, DATA_STD)
    torch.testing.assert_close(velocity_from(x_0, x_t, alpha, sigma), velocity)
    if isinstance(schedule, LinearVP):
        torch.testing.assert_close(velocity, alpha * noise - sigma * x_0)  # Salimans & Ho (2022)


class Exact(nn.Module):
    """The ideal network of a Gaussian: all that it sees is its unit-variance input and the noise level."""

    def __init__(self, oracle: GaussianOracle, prediction: str) -> None:
        super().__init__()
        self.oracle, self.prediction = oracle, prediction

    def forward(self, x: Tensor, noise_level: Tensor, labels: Tensor | None) -> Tensor:
        schedule = self.oracle.schedule
        t = schedule.inverse(4 * noise_level)
        alpha, sigma = (c[:, None] for c in schedule(t))
        x_t = x * (alpha.square() * DATA_STD**2 + sigma.square()).sqrt()
        denoised = self.oracle(x_t, t)
        noise = noise_from(denoised, x_t, alpha, sigma)
        return PARAMETRISATIONS[self.prediction].target(denoised, noise, alpha, sigma, DATA_STD)


@pytest.mark.parametrize("schedule", [LinearVP(), Straight()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("name", PARAMETRISATIONS)
def test_the_ideal_network_makes_the_exact_denoiser(name: str, schedule: Schedule) -> None:
    mean = torch.tensor([0.3, -0.2, 0.8], dtype=torch.float64)
    oracle = GaussianOracle(mean, 0.2 + mean.abs(), schedule)
    denoiser = Preconditioned(Exact(oracle, name), schedule, prediction=name, data_std=DATA_STD)
    x, times = rows((3,)), torch.tensor([0.02, 0.3, 0.6, 0.97], dtype=torch.float64)
    torch.testing.assert_close(denoiser(x, times), oracle(x, times), rtol=1e-9, atol=1e-9)
    noiseless = torch.tensor(0.0, dtype=torch.float64)
    torch.testing.assert_close(
        denoiser(x, noiseless), x, rtol=1e-4, atol=1e-4
    )  # up to the bound on the noise level


class Double(nn.Module):
    """Twice the channels: the output, and what becomes the place of the variance."""

    def forward(self, x: Tensor, noise_level: Tensor, labels: Tensor | None) -> Tensor:
        output = Toy()(x, noise_level, labels)
        return torch.cat([output, 3 * x + (0 if labels is None else labels.reshape(-1, 1, 1))], dim=1)


def test_a_learned_variance_lies_between_its_bounds() -> None:
    plain = Preconditioned(Toy(), LinearVP(), prediction="noise", data_std=DATA_STD)
    learned = Preconditioned(
        Double(), LinearVP(), prediction="noise", data_std=DATA_STD, learned_variance=True
    )
    x, t, labels = rows((2, 3)), torch.tensor(0.5, dtype=torch.float64), torch.tensor([0, 1, 2, 0])
    mean, fraction = learned.moments(x, t, labels)
    torch.testing.assert_close(mean, plain(x, t, labels))
    torch.testing.assert_close(learned(x, t, labels), mean)
    assert fraction.shape == x.shape
    assert (fraction > 0).all()
    assert (fraction < 1).all()
    assert float(fraction.max() - fraction.min()) > 0.5
    guided, of_labelled = Guided(learned, 2.0, null_label=3).moments(x, t, labels)
    torch.testing.assert_close(guided, Guided(plain, 2.0, null_label=3)(x, t, labels))
    torch.testing.assert_close(of_labelled, fraction)


def test_unit_target_has_unit_variance() -> None:
    generator = torch.Generator().manual_seed(0)
    x_0, noise = (torch.randn(200_000, generator=generator, dtype=torch.float64) for _ in range(2))
    for t in (0.01, 0.3, 0.9):
        alpha, sigma = LinearVP()(torch.tensor(t, dtype=torch.float64))
        target = PARAMETRISATIONS["unit"].target(DATA_STD * x_0, noise, alpha, sigma, DATA_STD)
        assert float(target.var()) == pytest.approx(1, abs=0.02)


def test_mixture_equals_quadrature() -> None:
    """Bayes' rule by a sum over a fine grid of x_0."""
    weights, means = (
        torch.tensor([0.3, 0.7], dtype=torch.float64),
        torch.tensor([[-1.0], [0.5]], dtype=torch.float64),
    )
    oracle = MixtureOracle(weights, means, 0.2, LinearVP())
    grid = torch.linspace(-3, 3, 20_001, dtype=torch.float64)
    prior = (weights[:, None] * torch.exp(-0.5 * ((grid - means) / 0.2) ** 2)).sum(0)
    t = torch.tensor(0.35, dtype=torch.float64)
    alpha, sigma = LinearVP()(t)
    for x in (-1.5, -0.2, 0.0, 0.9):
        weight = prior * torch.exp(-0.5 * ((x - alpha * grid) / sigma) ** 2)
        exact = (weight * grid).sum() / weight.sum()
        torch.testing.assert_close(oracle(torch.tensor([[x]], dtype=torch.float64), t)[0, 0], exact)


def test_guidance_and_counting() -> None:
    counting = Counting(Preconditioned(Toy(), LinearVP(), prediction="unit", data_std=DATA_STD))
    x, t, labels = rows((3,)), torch.tensor(0.5, dtype=torch.float64), torch.tensor([0, 1, 2, 0])
    labelled, null = counting(x, t, labels), counting(x, t, torch.full((4,), 3))
    assert counting.rows == 8
    guided = Guided(counting, 2.5, null_label=3)(x, t, labels)
    assert counting.rows == 16
    torch.testing.assert_close(guided, null + 2.5 * (labelled - null))
    with pytest.raises(UserError, match="labels"):
        Guided(counting, 2.5, null_label=3)(x, t)


def test_clipping_bounds_the_clean_mean() -> None:
    inner = denoisers(LinearVP(), (3,))["noise"]
    x, t = 10 * rows((3,)), torch.tensor(0.9, dtype=torch.float64)
    torch.testing.assert_close(Clipped(inner)(x, t), inner(x, t).clamp(-1, 1))
    assert inner(x, t).abs().max() > 1


def test_a_fixed_variance_has_no_learned_one() -> None:
    with pytest.raises(UserError, match="small"):
        denoisers(LinearVP(), (3,))["noise"].moments(rows((3,)), torch.tensor(0.5))
