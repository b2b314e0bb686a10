"""DDPM's own sampler (Ho et al., 2020, algorithm 2) and DDIM (J. Song et al., 2021), for any two times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from workbench.diffusion.posterior import posterior
from workbench.sampling.sampler import Call, Node, Noise, Sampler, kept
from workbench.spec import Variance


@dataclass(frozen=True)
class Ancestral(Sampler):
    """x_s = posterior mean at the clean mean + sqrt(variance) noise; no noise in the last step.

    `variance` is small (beta tilde), large (beta), or learned: their geometric mean, weighted by the network
    (Nichol & Dhariwal, 2021, eq. 15).
    """

    variance: Variance = "small"
    order: ClassVar[int] = 1

    @property
    def stochastic(self) -> bool:
        return True

    def step(
        self, call: Call, x_t: Tensor, t: Node, s: Node, memory: None, noise: Noise
    ) -> tuple[Tensor, None]:
        q = posterior(t.alpha, t.sigma, s.alpha, s.sigma)
        if self.variance == "learned":
            denoised, fraction = call.moments(x_t, t)
        else:
            denoised, fraction = call.denoised(x_t, t), None
        mean = denoised.mul(q.of_x_0).add_(x_t, alpha=q.of_x_t)
        if s.sigma == 0:
            return mean, None
        if fraction is not None:
            deviation = q.small**0.5 * (q.large / q.small) ** (0.5 * fraction)
            return mean.addcmul_(deviation, noise(t.time, s.time)), None
        variance = q.small if self.variance == "small" else q.large
        return mean.add_(noise(t.time, s.time), alpha=variance**0.5), None


@dataclass(frozen=True)
class DDIM(Sampler):
    """x_s = alpha_s D + sqrt(sigma_s^2 - v) eps + sqrt(v) noise with v = eta^2 times the small variance (eq. 12, 16).

    eta = 0 is deterministic and of first order; eta = 1 is DDPM's sampler with the small variance.
    """

    eta: float = 0.0
    order: ClassVar[int] = 1

    @property
    def stochastic(self) -> bool:
        return self.eta > 0

    def step(
        self, call: Call, x_t: Tensor, t: Node, s: Node, memory: None, noise: Noise
    ) -> tuple[Tensor, None]:
        denoised = call.denoised(x_t, t)
        variance = self.eta**2 * posterior(t.alpha, t.sigma, s.alpha, s.sigma).small
        x_s = kept(x_t, denoised, t, s.alpha, max(s.sigma**2 - variance, 0.0) ** 0.5)
        if variance > 0:
            x_s.add_(noise(t.time, s.time), alpha=variance**0.5)
        return x_s, None
