"""What a network may predict, and the way from each prediction to the clean mean and back.

With x_t = alpha x_0 + sigma noise and data of standard deviation s:

    noise      F = noise                            D = (x_t - sigma F) / alpha               (Ho et al., 2020)
    clean      F = x_0                              D = F
    velocity   F = (alpha noise - sigma x_0) / r    D = (alpha x_t - sigma r F) / r^2,
               r^2 = alpha^2 + sigma^2                           (Salimans & Ho, 2022, where r is 1)
    unit       F = (s alpha noise - sigma x_0 / s) / v   D = (alpha s^2 x_t - s sigma v F) / v^2,
               v^2 = alpha^2 s^2 + sigma^2                       (Karras et al., 2022, table 1, for any alpha)
    flow       F = noise - x_0                      D = (x_t - sigma F) / (alpha + sigma)
                                                                 (Lipman et al., 2023, where alpha + sigma is 1)

None of them has the units of x_t: alpha and sigma multiplied by one factor leave F as it is. `unit` has unit variance
for data of any s, and is the velocity when s = 1. `flow` is dx/dt on the straight path; `velocity` is that on a path
of alpha^2 + sigma^2 = 1, where t is the angle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

Conversion = Callable[[Tensor, Tensor, Tensor, Tensor, float], Tensor]


@dataclass(frozen=True)
class Parametrisation:
    """`denoised(output, x_t, alpha, sigma, s)` and `target(x_0, noise, alpha, sigma, s)`, all [B, *S] or broadcastable.

    `gain(alpha, sigma, s)` is |d denoised / d output|, by which an error of the output becomes one of the clean mean.
    """

    denoised: Conversion
    target: Conversion
    gain: Callable[[Tensor, Tensor, float], Tensor]


def _deviation(alpha: Tensor, sigma: Tensor, s: float) -> Tensor:
    """The standard deviation of x_t for data of deviation s."""
    return (alpha.square() * s**2 + sigma.square()).sqrt()


_UNIT = Parametrisation(
    denoised=lambda output, x_t, alpha, sigma, s: (
        (alpha * s**2 * x_t - s * sigma * _deviation(alpha, sigma, s) * output)
        / _deviation(alpha, sigma, s).square()
    ),
    target=lambda x_0, noise, alpha, sigma, s: (
        (s * alpha * noise - sigma * x_0 / s) / _deviation(alpha, sigma, s)
    ),
    gain=lambda alpha, sigma, s: s * sigma / _deviation(alpha, sigma, s),
)

PARAMETRISATIONS: dict[str, Parametrisation] = {
    "noise": Parametrisation(
        denoised=lambda output, x_t, alpha, sigma, s: (x_t - sigma * output) / alpha,
        target=lambda x_0, noise, alpha, sigma, s: noise,
        gain=lambda alpha, sigma, s: sigma / alpha,
    ),
    "clean": Parametrisation(
        denoised=lambda output, x_t, alpha, sigma, s: output,
        target=lambda x_0, noise, alpha, sigma, s: x_0,
        gain=lambda alpha, sigma, s: alpha / alpha,
    ),
    "velocity": Parametrisation(
        denoised=lambda output, x_t, alpha, sigma, s: _UNIT.denoised(output, x_t, alpha, sigma, 1.0),
        target=lambda x_0, noise, alpha, sigma, s: _UNIT.target(x_0, noise, alpha, sigma, 1.0),
        gain=lambda alpha, sigma, s: _UNIT.gain(alpha, sigma, 1.0),
    ),
    "unit": _UNIT,
    "flow": Parametrisation(
        denoised=lambda output, x_t, alpha, sigma, s: (x_t - sigma * output) / (alpha + sigma),
        target=lambda x_0, noise, alpha, sigma, s: noise - x_0,
        gain=lambda alpha, sigma, s: sigma / (alpha + sigma),
    ),
}


def noise_from(denoised: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """E[noise | x_t] = (x_t - alpha D) / sigma."""
    return (x_t - alpha * denoised) / sigma


def score_from(denoised: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """The gradient of log p_t at x_t by Tweedie's formula: (alpha D - x_t) / sigma^2."""
    return (alpha * denoised - x_t) / sigma.square()


def velocity_from(denoised: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """(alpha E[noise | x_t] - sigma D) / r with r^2 = alpha^2 + sigma^2 (Salimans & Ho, 2022)."""
    return _UNIT.target(denoised, noise_from(denoised, x_t, alpha, sigma), alpha, sigma, 1.0)
