"""Every schedule: signal falls, noise rises, the inverse is exact; discrete ones equal the closed forms of DDPM."""

from __future__ import annotations

import math

import pytest
import torch

from workbench.diffusion.posterior import posterior
from workbench.diffusion.schedule import SCHEDULES, Discrete, LinearVP, schedule_from
from workbench.registry import UserError
from workbench.spec import ScheduleSpec

SPECS = [ScheduleSpec(name=name) for name in SCHEDULES] + [
    ScheduleSpec(name=name, timesteps=steps)
    for name, steps in (("linear_vp", 4), ("linear_vp", 1000), ("cosine", 50), ("ddpm_linear", 1000))
]
TIMES = torch.linspace(0, 1, 513, dtype=torch.float64)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_signal_falls_and_noise_rises(spec: ScheduleSpec) -> None:
    alpha, sigma = schedule_from(spec)(TIMES)
    assert alpha[0] == 1
    assert sigma[0] == 0
    assert (alpha > 0).all()
    assert (alpha.diff() < 0).all()
    assert (sigma.diff() > 0).all()
    assert (schedule_from(spec).log_snr(TIMES[1:]).diff() < 0).all()


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_inverse_is_exact(spec: ScheduleSpec) -> None:
    schedule = schedule_from(spec)
    torch.testing.assert_close(schedule.inverse(schedule.log_snr(TIMES[1:])), TIMES[1:], rtol=1e-11, atol=0)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_derivative_of_the_log_snr_is_its_slope(spec: ScheduleSpec) -> None:
    schedule, width = schedule_from(spec), 1e-6
    t = (torch.arange(1, 100, dtype=torch.float64) + 1 / math.pi) / 101  # on no timestep, where slopes change
    (derivative,) = torch.autograd.grad(schedule.log_snr(t.requires_grad_()).sum(), t)
    slope = (schedule.log_snr(t.detach() + width) - schedule.log_snr(t.detach() - width)) / (2 * width)
    assert (derivative < 0).all()
    torch.testing.assert_close(derivative, slope, rtol=1e-6, atol=0)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_single_precision_is_enough_near_data(spec: ScheduleSpec) -> None:
    """There 1 - alpha_bar is a small difference of numbers near one, unless it is written otherwise."""
    schedule, t = schedule_from(spec), torch.logspace(-5, -0.1, 200)
    double = schedule.log_snr(t.double())
    torch.testing.assert_close(schedule.log_snr(t).double(), double, rtol=0, atol=1e-5)
    torch.testing.assert_close(schedule.inverse(double.float()).double(), t.double(), rtol=1e-5, atol=0)


def test_discrete_cosine_has_the_betas_of_its_paper() -> None:
    """Nichol & Dhariwal (2021, eq. 17): alpha_bar is f(t) / f(0), beta at most 0.999."""
    schedule = schedule_from(ScheduleSpec(name="cosine", timesteps=50))
    assert isinstance(schedule, Discrete)
    f = [math.cos((i / 50 + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(51)]
    expected = [min(1 - f[i + 1] / f[i], 0.999) for i in range(50)]
    torch.testing.assert_close(schedule.betas, torch.tensor(expected, dtype=torch.float64))


def test_rate_of_linear_vp_is_beta() -> None:
    t = TIMES.clone().requires_grad_()
    log_alpha_bar = 2 * LinearVP().log_alpha(t)
    (rate,) = torch.autograd.grad(log_alpha_bar.sum(), t)
    torch.testing.assert_close(-rate, 0.1 + 19.9 * TIMES)


def test_discrete_equals_products_of_ddpm() -> None:
    schedule = schedule_from(ScheduleSpec(name="ddpm_linear", timesteps=1000))
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    alpha, sigma = schedule(torch.arange(1, 1001, dtype=torch.float64) / 1000)
    torch.testing.assert_close(alpha.square(), (1 - betas).cumprod(0))
    torch.testing.assert_close(sigma.square(), 1 - (1 - betas).cumprod(0))


@pytest.mark.parametrize("timesteps", [1, 2, 4, 10, 1000])
def test_discrete_linear_vp_lies_on_the_continuous_one(timesteps: int) -> None:
    schedule = schedule_from(ScheduleSpec(timesteps=timesteps))
    assert isinstance(schedule, Discrete)
    grid = torch.arange(timesteps + 1, dtype=torch.float64) / timesteps
    torch.testing.assert_close(schedule.log_alpha(grid), LinearVP().log_alpha(grid))


def test_posterior_equals_ddpm() -> None:
    """Equations 6 and 7 of Ho et al. (2020), from the betas."""
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    bar = (1 - betas).cumprod(0)
    for i in (1, 10, 999):
        beta, now, before = (float(x) for x in (betas[i], bar[i], bar[i - 1]))
        q = posterior(now**0.5, (1 - now) ** 0.5, before**0.5, (1 - before) ** 0.5)
        assert q.of_x_0 == pytest.approx(before**0.5 * beta / (1 - now), rel=1e-9)
        assert q.of_x_t == pytest.approx((1 - beta) ** 0.5 * (1 - before) / (1 - now), rel=1e-9)
        assert q.small == pytest.approx((1 - before) / (1 - now) * beta, rel=1e-9)
        assert q.large == pytest.approx(beta, rel=1e-9)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (ScheduleSpec(name="linear_pv"), "linear_vp"),
        (ScheduleSpec(timesteps=0), "timesteps"),
        (ScheduleSpec(name="straight", timesteps=10), "continuous"),
        (ScheduleSpec(name="ddpm_linear", timesteps=10), "betas"),
    ],
)
def test_refuses(spec: ScheduleSpec, words: str) -> None:
    with pytest.raises(UserError, match=words):
        schedule_from(spec)
