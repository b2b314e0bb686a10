"""How probable images are under a diffusion model: the variational bound, in discrete and in continuous time.

Images x_0 take `levels` equally spaced values in [-1, 1]; everything is in nats of a whole row. With p(x_1) =
N(0, sigma_1^2), which is what samplers start from,

    -log p(x_0) <= KL(q(x_1 | x_0) || p(x_1)) + diffusion + E[-log p(x_0 | x_first)]

In discrete time `diffusion` is the sum of KL(q(x_s | x_t, x_0) || p(x_s | x_t)) over the timesteps after the first (Ho
et al., 2020, eq. 5); in continuous time its limit 1/2 int SNR |x_0 - D(x_t)|^2 d log-SNR (Kingma et al., 2021, eq.
15-18), which no longer depends on the schedule, only on where it begins and ends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.diffusion.denoiser import Denoiser
from workbench.diffusion.objectives import LEAST_TIME, least_variance, step_bound, stratified
from workbench.diffusion.schedule import Discrete, Schedule
from workbench.levels import rounding_log_prob, spacing
from workbench.shapes import over_rows
from workbench.spec import Variance


@dataclass(frozen=True, kw_only=True)
class Bound:
    """The three terms of the bound in nats, each [B] and, in expectation, not negative."""

    prior: Tensor
    diffusion: Tensor
    reconstruction: Tensor

    @property
    def log_prob(self) -> Tensor:
        """The lower bound on log p(x_0): [B]."""
        return -(self.prior + self.diffusion + self.reconstruction)


def log_snr_range(schedule: Schedule, levels: int) -> tuple[float, float]:
    """The log-SNR at t = 1 and that where continuous time begins, near the data.

    The beginning is where the distance of two levels is three deviations of the noise, unless the network was trained
    on more noise only. Any choice gives a valid bound. With less noise it is tighter for a network that has learned to
    round to the levels (Kingma et al., 2021, give it Fourier features for that) and up to 0.4 nats a value looser for
    one that has not, since noise much narrower than a cell is then a poor dequantisation.
    """
    least = 1 / schedule.timesteps if isinstance(schedule, Discrete) else LEAST_TIME
    lowest, trained = schedule.log_snr(torch.tensor([1.0, least], dtype=torch.float64)).tolist()
    return lowest, min(trained, 2 * math.log(3 / spacing(levels)))


def prior_term(schedule: Schedule, x_0: Tensor) -> Tensor:
    """KL(q(x_1 | x_0) || N(0, sigma_1^2)) = SNR(1) / 2 |x_0|^2: [B]."""
    log_snr = schedule.log_snr(torch.ones((), dtype=torch.float64))
    return 0.5 * log_snr.exp().to(x_0) * x_0.square().flatten(1).sum(1)


def cell_term(x_0: Tensor, mean: Tensor, deviation: Tensor, levels: int) -> Tensor:
    """-log of the probability that N(mean, deviation^2) gives to the cell around x_0, value by value: [B].

    The cells of the first and the last level reach to infinity (Ho et al., 2020, eq. 13). All arguments are [B, *S].
    """
    half = 0.5 * spacing(levels)
    lower = torch.where(x_0 < half - 1, -math.inf, (x_0 - half - mean) / deviation)
    upper = torch.where(x_0 > 1 - half, math.inf, (x_0 + half - mean) / deviation)
    # In the upper tail both cumulative probabilities round to one; its mirror image is the lower tail.
    mirrored = lower + upper > 0
    lower, upper = torch.where(mirrored, -upper, lower), torch.where(mirrored, -lower, upper)
    below, above = torch.special.log_ndtr(lower), torch.special.log_ndtr(upper)
    inside: Tensor = above + torch.log1p(-(below - above).exp())
    return -inside.flatten(1).sum(1)


def strata(draws: int, rows: int, generator: torch.Generator) -> Tensor:
    """Quantiles [draws, rows] in float64: those of a row fall into `draws` equal cells, one in each, and the places in
    their cells differ from row to row by equal steps, so that a mean over rows is finer still."""
    places = stratified(rows, generator)
    return (torch.arange(draws, dtype=torch.float64)[:, None] + places) / draws


@torch.no_grad()
def continuous_bound(
    denoiser: Denoiser,
    x_0: Tensor,
    cond: Tensor | None,
    *,
    levels: int,
    draws: int,
    generator: torch.Generator,
    log_snr: float | None = None,
) -> Bound:
    """An unbiased estimate of the bound in continuous time for rows x_0 [B, *S], from `draws` evaluations a row.

    `log_snr` is where time begins; None takes that of `log_snr_range`.

    The log-SNR is drawn uniformly, stratified: the integrand is half the squared error of the noise prediction, which
    varies little over it.
    """
    schedule = denoiser.schedule
    lowest, highest = log_snr_range(schedule, levels)
    highest = highest if log_snr is None else log_snr
    total = torch.zeros(len(x_0), dtype=x_0.dtype, device=x_0.device)
    for quantiles in strata(draws, len(x_0), generator):
        drawn = (highest + (lowest - highest) * quantiles).to(x_0.device)
        t = schedule.inverse(drawn)
        error = denoiser(_noised(schedule, x_0, t, generator), t, cond) - x_0
        total += drawn.exp().to(x_0.dtype) * error.square().flatten(1).sum(1)
    ratio = math.exp(-0.5 * highest)
    y = x_0 + ratio * _normal(x_0, generator)
    return Bound(
        prior=prior_term(schedule, x_0),
        diffusion=0.5 * (highest - lowest) / draws * total,
        reconstruction=-rounding_log_prob(x_0, y, ratio, levels),
    )


@torch.no_grad()
def discrete_bound(
    denoiser: Denoiser,
    x_0: Tensor,
    cond: Tensor | None,
    *,
    levels: int,
    draws: int,
    variance: Variance,
    generator: torch.Generator,
) -> Bound:
    """An unbiased estimate of the bound of a model of T timesteps for rows x_0 [B, *S].

    It takes one evaluation a row for the first timestep and `draws` for the sum over the others. Those are drawn, in
    strata, with probability proportional to the log-SNR that each spans, which leaves terms of nearly one size.
    `variance` is that of the reverse steps. Raises TypeError for a schedule of continuous time.
    """
    schedule = denoiser.schedule
    if not isinstance(schedule, Discrete):
        raise TypeError("the bound over timesteps needs a discrete schedule")

    def predicted(t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x_t = _noised(schedule, x_0, t, generator)
        if variance == "learned":
            return x_t, *denoiser.moments(x_t, t, cond)
        denoised = denoiser(x_t, t, cond)
        return x_t, denoised, torch.full_like(x_0, 1.0 if variance == "large" else 0.0)

    steps, values = schedule.timesteps, x_0[0].numel()
    first = torch.full((len(x_0),), 1 / steps, dtype=torch.float64, device=x_0.device)
    _, denoised, fraction = predicted(first)
    small, large = least_variance(schedule), float(schedule.betas[0])
    deviation = (0.5 * torch.lerp(_like(math.log(small), x_0), _like(math.log(large), x_0), fraction)).exp()
    total = torch.zeros(len(x_0), dtype=x_0.dtype, device=x_0.device)
    if steps > 1:
        times = torch.arange(1, steps + 1, dtype=torch.float64) / steps
        spans = -schedule.log_snr(times).diff()  # of timesteps 2 to T
        edges = spans.cumsum(0) / spans.sum()
        for quantiles in strata(draws, len(x_0), generator):
            chosen = torch.searchsorted(edges, quantiles, right=True).clamp(max=steps - 2)
            t = times[chosen + 1].to(x_0.device)
            x_t, denoised_t, fraction_t = predicted(t)
            weight = (spans.sum() / spans[chosen] / draws).to(x_0)
            total += weight * values * step_bound(denoised_t, fraction_t, x_0, x_t, t, schedule)
    return Bound(
        prior=prior_term(schedule, x_0),
        diffusion=total,
        reconstruction=cell_term(x_0, denoised, deviation, levels),
    )


def _like(value: float, rows: Tensor) -> Tensor:
    return torch.full_like(rows, value)


def _normal(rows: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(rows.shape, generator=generator, dtype=rows.dtype).to(rows.device)


def _noised(schedule: Schedule, x_0: Tensor, t: Tensor, generator: torch.Generator) -> Tensor:
    alpha, sigma = (over_rows(c, x_0).to(x_0.dtype) for c in schedule(t))
    return alpha * x_0 + sigma * _normal(x_0, generator)
