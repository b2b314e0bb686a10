"""The likelihood by the probability-flow ODE (Y. Song et al., 2021, section 4.3 and appendix D.2), an estimate.

With y = x / alpha and the time l = log(sigma / alpha) the ODE is dy/dl = y - D(alpha y), and along it

    log p_l(y) = log p_1(y_1) + int_l^{l_1} (d - tr dD/dy) dl

where p_1 = N(0, (sigma_1 / alpha_1)^2), which is what samplers start from.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from workbench.diffusion.denoiser import Denoiser
from workbench.diffusion.likelihood import log_snr_range
from workbench.levels import rounding_log_prob


def rademacher(rows: Tensor, draws: int, generator: torch.Generator) -> Tensor:
    """Probes [draws, B, *S] of independent signs: the mean of v^T J v is tr J on average (Hutchinson, 1990)."""
    bits = torch.randint(0, 2, (draws, *rows.shape), generator=generator)
    return (2 * bits - 1).to(rows)


def axes(rows: Tensor) -> Tensor:
    """Probes [d, B, *S] along the axes, of length sqrt(d): the mean of v^T J v is tr J, exactly, at d products."""
    d = rows[0].numel()
    basis = math.sqrt(d) * torch.eye(d, dtype=rows.dtype, device=rows.device)
    return basis.reshape(d, 1, *rows.shape[1:]).expand(d, *rows.shape)


def ode_log_density(
    denoiser: Denoiser,
    y: Tensor,
    cond: Tensor | None,
    *,
    log_snr: float,
    steps: int,
    probes: Tensor,
) -> Tensor:
    """The log-density in nats of rows y = x_t / alpha_t [B, *S] at the t of that log-SNR: [B].

    The classical Runge-Kutta rule of fourth order takes `steps` equal steps of the log-SNR to t = 1, four evaluations
    and, with M `probes` [M, B, *S], 4 M products with the Jacobian each. Its error falls as steps^-4.
    """
    schedule, d = denoiser.schedule, y[0].numel()
    start = -0.5 * log_snr
    end = -0.5 * float(schedule.log_snr(torch.ones((), dtype=torch.float64)))
    width = (end - start) / steps

    def slope(y: Tensor, at: float) -> tuple[Tensor, Tensor]:
        """dy/dl and its divergence."""
        t = schedule.inverse(torch.tensor(-2 * at, dtype=torch.float64, device=y.device)).clamp(max=1)
        alpha, _ = schedule(t)
        with torch.enable_grad():
            inputs = y.detach().requires_grad_()
            denoised: Tensor = denoiser(alpha.to(y.dtype) * inputs, t, cond)
            trace = torch.zeros(len(y), dtype=y.dtype, device=y.device)
            for probe in probes:
                (product,) = torch.autograd.grad(
                    denoised, inputs, probe.to(denoised.dtype), retain_graph=True
                )
                trace += (product * probe).flatten(1).sum(1) / len(probes)
        return y - denoised.detach().to(y.dtype), d - trace

    gained = torch.zeros(len(y), dtype=y.dtype, device=y.device)
    for step in range(steps):
        at = start + step * width
        k_1, g_1 = slope(y, at)
        k_2, g_2 = slope(y + 0.5 * width * k_1, at + 0.5 * width)
        k_3, g_3 = slope(y + 0.5 * width * k_2, at + 0.5 * width)
        k_4, g_4 = slope(y + width * k_3, at + width)
        y = y + width / 6 * (k_1 + 2 * k_2 + 2 * k_3 + k_4)
        gained = gained + width / 6 * (g_1 + 2 * g_2 + 2 * g_3 + g_4)
    standardised = (y * math.exp(-end)).square().flatten(1).sum(1)
    return gained - 0.5 * standardised - d * (end + 0.5 * math.log(2 * math.pi))


def ode_log_prob(
    denoiser: Denoiser,
    x_0: Tensor,
    cond: Tensor | None,
    *,
    levels: int,
    generator: torch.Generator,
    steps: int = 25,
    draws: int = 1,
    log_snr: float | None = None,
) -> Tensor:
    """An estimate of the log-probability in nats of each image x_0 [B, *S] among all images of `levels` levels: [B].

    A model of discrete images has no density at x_0 itself, so it is taken where the least noise has been added:

        log p(x_0) >= E[log p(y) - log q(y | x_0) + log p(x_0 | y)],   y = x_0 + sigma / alpha noise,

    with one draw of y and `draws` of Hutchinson's probes a row. That is the bound of variational dequantisation (Ho et
    al., 2019) with the noise of the process itself, for which the network was trained; uniform noise would fall between
    the levels, where a good model has learned that no image lies. The mean over draws is below log p(x_0). `log_snr`
    says how much noise that is; None takes that of `log_snr_range`.
    """
    if log_snr is None:
        _, log_snr = log_snr_range(denoiser.schedule, levels)
    ratio = math.exp(-0.5 * log_snr)
    noise = torch.randn(x_0.shape, generator=generator, dtype=x_0.dtype).to(x_0.device)
    y = x_0 + ratio * noise
    density = ode_log_density(
        denoiser, y, cond, log_snr=log_snr, steps=steps, probes=rademacher(x_0, draws, generator)
    )
    spread = 0.5 * noise.square().flatten(1).sum(1) + x_0[0].numel() * (
        math.log(ratio) + 0.5 * math.log(2 * math.pi)
    )
    return density + spread + rounding_log_prob(x_0, y, ratio, levels)
