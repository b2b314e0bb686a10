"""The Gaussian posterior q(x_s | x_t, x_0) of the forward process, s < t (Ho et al., 2020, eq. 7, for any two times).

With alpha_ts = alpha_t / alpha_s and var_ts = sigma_t^2 - alpha_ts^2 sigma_s^2, the noise added between s and t:

    mean = (alpha_ts sigma_s^2 x_t + alpha_s var_ts x_0) / sigma_t^2
    small variance = var_ts sigma_s^2 / sigma_t^2           exact when x_0 is known (beta tilde)
    large variance = var_ts                                 exact when the data are standard normal (beta)
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Posterior:
    """Coefficients of the mean and the two bounds of the reverse variance, for one pair of times."""

    of_x_t: float
    of_x_0: float
    small: float
    large: float


def posterior(alpha_t: float, sigma_t: float, alpha_s: float, sigma_s: float) -> Posterior:
    """The posterior for the signal and noise at t and at s < t; at s = 0 it is x_0 itself, with zero small variance."""
    alpha_ts = alpha_t / alpha_s
    var_ts = sigma_t**2 - alpha_ts**2 * sigma_s**2
    return Posterior(
        of_x_t=alpha_ts * sigma_s**2 / sigma_t**2,
        of_x_0=alpha_s * var_ts / sigma_t**2,
        small=var_ts * sigma_s**2 / sigma_t**2,
        large=var_ts,
    )
