"""DPM-Solver++ (Lu et al., 2022b): exponential integrators in lambda = log(alpha / sigma) for the clean mean.

Over a step of length h = lambda_s - lambda_t the exact solution is
x_s = sigma_s / sigma_t x_t + sigma_s int exp(lambda) D dlambda; the multistep variants extrapolate D from past steps.
The last step, to no noise, has infinite length and is of first order: x_0 = D.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from workbench.sampling.sampler import Call, Node, Noise, Sampler, kept

Past = tuple[tuple[Node, Tensor], ...]  # clean means of earlier steps, the latest first


@dataclass(frozen=True)
class DPMSolver2M(Sampler):
    """The second-order multistep solver (algorithm 2)."""

    order: ClassVar[int] = 2

    def step(
        self, call: Call, x_t: Tensor, t: Node, s: Node, memory: Past | None, noise: Noise
    ) -> tuple[Tensor, Past]:
        denoised = call.denoised(x_t, t)
        h = s.half_log_snr - t.half_log_snr
        x_s = kept(x_t, denoised, t, s.alpha, s.sigma)
        if memory and s.sigma:
            slope = _slope(denoised, t, memory[0], h)
            x_s.add_(slope, alpha=-0.5 * s.alpha * math.expm1(-h))
        return x_s, ((t, denoised),)


@dataclass(frozen=True)
class DPMSolver3M(Sampler):
    """The third-order multistep solver: slope and curvature of D from three steps.

    The second derivative is twice the second divided difference. The authors' code and its descendants leave the factor
    out, which makes them of second order; with `curvature` = 1 this is what they compute.
    """

    order: ClassVar[int] = 3
    curvature: ClassVar[float] = 2.0

    def step(
        self, call: Call, x_t: Tensor, t: Node, s: Node, memory: Past | None, noise: Noise
    ) -> tuple[Tensor, Past]:
        denoised = call.denoised(x_t, t)
        past = memory or ()
        h = s.half_log_snr - t.half_log_snr
        x_s = kept(x_t, denoised, t, s.alpha, s.sigma)
        if len(past) == 1 and s.sigma:
            x_s.add_(_slope(denoised, t, past[0], h), alpha=-0.5 * s.alpha * math.expm1(-h))
        if len(past) == 2 and s.sigma:
            late, early = _slope(denoised, t, past[0], h), _slope(past[0][1], past[0][0], past[1], h)
            r_late = (t.half_log_snr - past[0][0].half_log_snr) / h
            r_early = (past[0][0].half_log_snr - past[1][0].half_log_snr) / h
            curve = (late - early) / (r_late + r_early)
            slope = late + r_late * curve
            # The integrals of exp against 1, lambda and lambda^2 over the step: phi functions of -h.
            phi_1 = math.expm1(-h)
            phi_2 = phi_1 / h + 1
            phi_3 = phi_2 / h - 0.5
            x_s.add_(slope, alpha=s.alpha * phi_2).add_(curve, alpha=-self.curvature * s.alpha * phi_3)
        return x_s, ((t, denoised), *past[:1])


@dataclass(frozen=True)
class SDEDPMSolver2M(Sampler):
    """The second-order multistep solver of the reverse SDE (appendix of Lu et al., 2022b): noise at every step."""

    order: ClassVar[int] = 2

    @property
    def stochastic(self) -> bool:
        return True

    def step(
        self, call: Call, x_t: Tensor, t: Node, s: Node, memory: Past | None, noise: Noise
    ) -> tuple[Tensor, Past]:
        denoised = call.denoised(x_t, t)
        if s.sigma == 0:
            return denoised.mul(s.alpha), ((t, denoised),)
        h = s.half_log_snr - t.half_log_snr
        gained = -math.expm1(-2 * h)  # the share of the variance at s that is drawn anew
        x_s = x_t.mul(s.sigma / t.sigma * math.exp(-h)).add_(denoised, alpha=s.alpha * gained)
        if memory:
            x_s.add_(_slope(denoised, t, memory[0], h), alpha=0.5 * s.alpha * gained)
        x_s.add_(noise(t.time, s.time), alpha=s.sigma * gained**0.5)
        return x_s, ((t, denoised),)


def _slope(denoised: Tensor, t: Node, before: tuple[Node, Tensor], h: float) -> Tensor:
    """The backward difference of D, in units of the step h: an estimate of h dD/dlambda."""
    node, earlier = before
    return (denoised - earlier).mul_(h / (t.half_log_snr - node.half_log_snr))
