"""What a denoiser is trained by: the law of t, the weight of the error, and the bound that a learned variance adds."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from workbench.diffusion.denoiser import Preconditioned
from workbench.diffusion.schedule import Discrete, Schedule
from workbench.registry import UserError, look_up
from workbench.shapes import over_rows
from workbench.spec import DiffusionSpec

LEAST_TIME = 1e-4  # below it the noise is less than the distance of two grey levels
BOUND_WEIGHT = 0.001  # of the variational bound in L_hybrid (Nichol & Dhariwal, 2021, eq. 16)

Density = Callable[[Tensor, Schedule], Tensor]


def uniform(quantiles: Tensor, schedule: Schedule) -> Tensor:
    """t uniform over the timesteps of a discrete schedule, or over times from LEAST_TIME to 1."""
    if isinstance(schedule, Discrete):
        return ((quantiles * schedule.timesteps).floor() + 1).clamp(
            max=schedule.timesteps
        ) / schedule.timesteps
    return LEAST_TIME + (1 - LEAST_TIME) * quantiles


def log_normal(quantiles: Tensor, schedule: Schedule) -> Tensor:
    """ln(sigma_t / alpha_t) normal with mean -1.2 and deviation 1.2 (Karras et al., 2022, table 1)."""
    ratio = -1.2 + 1.2 * torch.special.ndtri(quantiles.clamp(1e-6, 1 - 1e-6))
    return schedule.inverse(-2 * ratio).clamp(LEAST_TIME, 1)


def uniform_log_snr(quantiles: Tensor, schedule: Schedule) -> Tensor:
    """The log-SNR uniform from t = 1 to the least time: the law under which, with the weight e^log-SNR on the error of
    the clean mean, the loss is the variational bound (Kingma et al., 2021, eq. 18). It looks closest near the data.
    """
    start, end = schedule.log_snr(torch.tensor([1.0, LEAST_TIME], dtype=torch.float64)).tolist()
    return schedule.inverse(end + (start - end) * quantiles).clamp(LEAST_TIME, 1)


NOISE_DENSITIES: dict[str, Density] = {
    "uniform": uniform,
    "log_normal": log_normal,
    "uniform_log_snr": uniform_log_snr,
}

# The weight on the squared error of the network's output, from the log-SNR and the gain |d denoised / d output|.
WEIGHTINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    # Every output error counts alike; for a noise prediction this is L_simple of Ho et al. (2020, eq. 14).
    "output": lambda log_snr, gain: torch.ones_like(gain),
    # min(SNR, 5) on the error of the clean mean (Hang et al., 2023, eq. 8).
    "min_snr": lambda log_snr, gain: log_snr.exp().clamp(max=5) * gain.square(),
}


def stratified(rows: int, generator: torch.Generator) -> Tensor:
    """`rows` quantiles in [0, 1), one in each of `rows` equal cells (Kingma et al., 2021, appendix I.1), in float64."""
    start = torch.rand((), generator=generator, dtype=torch.float64)
    return (start + torch.arange(rows, dtype=torch.float64) / rows) % 1


def denoising_loss(
    denoiser: Preconditioned,
    x_0: Tensor,
    cond: Tensor | None,
    *,
    spec: DiffusionSpec,
    generator: torch.Generator,
) -> Tensor:
    """The weighted squared error of the network's output, mean over the values of a row: [B].

    With a learned variance the bound of each step is added (L_hybrid), the mean held fixed in it.
    """
    density = look_up(NOISE_DENSITIES, spec.noise_density, "noise_density")
    weighting = look_up(WEIGHTINGS, spec.weighting, "weighting")
    schedule = denoiser.schedule
    t = density(stratified(len(x_0), generator), schedule).to(x_0.device)
    noise = torch.randn(x_0.shape, generator=generator).to(x_0.device)
    alpha, sigma = (over_rows(c, x_0).to(x_0.dtype) for c in schedule(t))
    x_t = alpha * x_0 + sigma * noise
    output = denoiser.output(x_t, t, cond)
    fraction = None
    if denoiser.learned_variance:
        output, fraction = output.chunk(2, dim=1)
    parametrisation = denoiser.parametrisation
    error = output - parametrisation.target(x_0, noise, alpha, sigma, denoiser.data_std)
    gain = parametrisation.gain(alpha, sigma, denoiser.data_std)
    weight = weighting(over_rows(schedule.log_snr(t), x_0).to(x_0.dtype), gain).flatten()
    loss = weight * error.square().flatten(1).mean(1)
    if fraction is None:
        return loss
    if not isinstance(schedule, Discrete):
        raise UserError("variance: 'learned' needs a schedule of discrete timesteps; set schedule.timesteps")
    denoised = parametrisation.denoised(output.detach(), x_t, alpha, sigma, denoiser.data_std)
    bound = step_bound(denoised, fraction.sigmoid(), x_0, x_t, t, schedule)
    return loss + BOUND_WEIGHT * schedule.timesteps * bound


def step_bound(
    denoised: Tensor, fraction: Tensor, x_0: Tensor, x_t: Tensor, t: Tensor, schedule: Discrete
) -> Tensor:
    """KL(q(x_s | x_t, x_0) || p(x_s | x_t)) of the step from t to s = t - 1/T, in nats a value: [B].

    p has the mean of the posterior at `denoised` and the log-variance fraction log(large) + (1 - fraction) log(small)
    (Nichol & Dhariwal, 2021, eq. 15). In the last step, where the small variance is zero, the one of the step before
    stands in for it, and the term is the Gaussian log-density of x_0.
    """
    s = (t - 1 / schedule.timesteps).clamp(min=0)
    (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(t), schedule(s)
    alpha_ts = alpha_t / alpha_s
    large = sigma_t.square() - alpha_ts.square() * sigma_s.square()
    small = large * sigma_s.square() / sigma_t.square()
    small = torch.where(s > 0, small, least_variance(schedule))
    mean_gap = over_rows(alpha_s * large / sigma_t.square(), x_0).to(x_0.dtype) * (denoised - x_0)
    log_small, log_large = (over_rows(v.log(), x_0).to(x_0.dtype) for v in (small, large))
    log_variance = torch.lerp(log_small, log_large, fraction)
    gap = mean_gap.square() * (-log_variance).exp()
    divergence = 0.5 * (log_variance - log_small + (log_small - log_variance).exp() + gap - 1)
    likelihood = 0.5 * (log_variance + gap + math.log(2 * math.pi))
    return torch.where(over_rows(s > 0, x_0), divergence, likelihood).flatten(1).mean(1)


def least_variance(schedule: Discrete) -> float:
    """The small variance of the step to t = 1/T, used for the last one, whose own is zero (Ho et al., 2020)."""
    steps = schedule.timesteps
    times = torch.tensor([min(2, steps) / steps, 1 / steps], dtype=torch.float64)
    (alpha_t, alpha_s), (sigma_t, sigma_s) = (values.tolist() for values in schedule(times))
    large = sigma_t**2 - (alpha_t / alpha_s) ** 2 * sigma_s**2
    return float(large * sigma_s**2 / sigma_t**2) if steps > 1 else float(sigma_t**2)
