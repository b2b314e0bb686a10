"""What denoisers are trained by: the law of t, the meaning of weights, the bound of a learned variance."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from workbench.diffusion.denoiser import Preconditioned
from workbench.diffusion.objectives import (
    NOISE_DENSITIES,
    WEIGHTINGS,
    denoising_loss,
    least_variance,
    step_bound,
    stratified,
)
from workbench.diffusion.posterior import posterior
from workbench.diffusion.schedule import Discrete, LinearVP, schedule_from
from workbench.rng import stream
from workbench.spec import DiffusionSpec, ScheduleSpec


def discrete(timesteps: int = 20) -> Discrete:
    schedule = schedule_from(ScheduleSpec(timesteps=timesteps))
    assert isinstance(schedule, Discrete)
    return schedule


def rows(index: int) -> Tensor:
    return torch.randn(3, 1, 4, 4, generator=stream(0, "rows", index), dtype=torch.float64)


def test_quantiles_fill_their_cells() -> None:
    quantiles = stratified(100, stream(0, "t")).sort().values
    assert torch.equal((quantiles * 100).floor(), torch.arange(100, dtype=torch.float64))


@pytest.mark.parametrize("name", NOISE_DENSITIES)
@pytest.mark.parametrize("schedule", [LinearVP(), discrete()], ids=lambda s: type(s).__name__)
def test_times_lie_in_the_unit_interval(name: str, schedule: LinearVP | Discrete) -> None:
    t = NOISE_DENSITIES[name](stratified(1000, stream(0, "t")), schedule)
    assert (t > 0).all()
    assert (t <= 1).all()


def test_uniform_visits_each_timestep_alike() -> None:
    t = NOISE_DENSITIES["uniform"](stratified(400, stream(0, "t")), discrete(20))
    assert torch.equal((t * 20).round().long().bincount(), torch.tensor([0] + [20] * 20))


def test_log_normal_has_the_stated_law() -> None:
    t = NOISE_DENSITIES["log_normal"](stratified(10_000, stream(0, "t")), LinearVP())
    ratio = -0.5 * LinearVP().log_snr(t)
    assert float(ratio.mean()) == pytest.approx(-1.2, abs=0.02)
    assert float(ratio.std()) == pytest.approx(1.2, abs=0.03)


def test_uniform_log_snr_has_the_stated_law() -> None:
    t = NOISE_DENSITIES["uniform_log_snr"](stratified(1000, stream(0, "t")), LinearVP())
    spacings = LinearVP().log_snr(t).sort().values.diff()
    torch.testing.assert_close(spacings, spacings.mean().expand(999), rtol=1e-6, atol=0)
    assert float(t.min()) < 2e-4 and float(t.max()) > 0.99


@pytest.mark.parametrize("fraction", [0.0, 0.4, 1.0])
def test_step_bound_is_the_divergence_of_two_gaussians(fraction: float) -> None:
    schedule, t = discrete(), 7 / 20
    x_0, x_t, denoised = rows(0), rows(1), rows(2)
    (alpha_t, alpha_s), (sigma_t, sigma_s) = (
        v.tolist() for v in schedule(torch.tensor([t, t - 1 / 20]).double())
    )
    q = posterior(alpha_t, sigma_t, alpha_s, sigma_s)
    variance = q.small ** (1 - fraction) * q.large**fraction
    true = Normal(q.of_x_t * x_t + q.of_x_0 * x_0, q.small**0.5)
    model = Normal(q.of_x_t * x_t + q.of_x_0 * denoised, variance**0.5)
    times = torch.full((3,), t, dtype=torch.float64)
    bound = step_bound(denoised, torch.full_like(x_0, fraction), x_0, x_t, times, schedule)
    torch.testing.assert_close(bound, kl_divergence(true, model).flatten(1).mean(1), rtol=1e-5, atol=1e-6)


def test_last_step_of_the_bound_is_a_likelihood() -> None:
    schedule, x_0, denoised = discrete(), rows(0), rows(2)
    times = torch.full((3,), 1 / 20, dtype=torch.float64)
    bound = step_bound(denoised, torch.zeros_like(x_0), x_0, rows(1), times, schedule)
    expected = -Normal(denoised, least_variance(schedule) ** 0.5).log_prob(x_0)
    torch.testing.assert_close(bound, expected.flatten(1).mean(1))


def test_a_perfect_mean_and_the_small_variance_cost_nothing() -> None:
    x_0, t = rows(0), torch.full((3,), 0.5, dtype=torch.float64)
    bound = step_bound(x_0, torch.zeros_like(x_0), x_0, rows(1), t, discrete())
    torch.testing.assert_close(bound, torch.zeros(3, dtype=torch.float64))


class Silent(torch.nn.Module):
    """A network that always says zero, so that its error is its target."""

    def forward(self, x: Tensor, noise_level: Tensor, labels: Tensor | None) -> Tensor:
        return torch.zeros_like(x)


def test_simple_loss_of_silence_is_the_variance_of_noise() -> None:
    """L_simple of Ho et al. (2020): the mean square of the noise itself."""
    denoiser = Preconditioned(Silent(), discrete(), prediction="noise", data_std=1.0)
    x_0 = torch.randn(2000, 8, generator=stream(0, "x_0"))
    spec = DiffusionSpec(prediction="noise", schedule=ScheduleSpec(timesteps=20))
    loss = denoising_loss(denoiser, x_0, None, spec=spec, generator=stream(0, "loss"))
    assert float(loss.mean()) == pytest.approx(1, abs=4 * math.sqrt(2 / loss.numel() / 8))


def test_min_snr_bounds_the_weight_of_the_clean_error() -> None:
    log_snr, gain = torch.tensor([-3.0, 0.0, 9.0]), torch.tensor([1.0, 2.0, 1.0])
    torch.testing.assert_close(WEIGHTINGS["min_snr"](log_snr, gain), torch.tensor([math.exp(-3), 4.0, 5.0]))
