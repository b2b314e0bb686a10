"""Euler and Heun on the probability-flow ODE in the coordinates of Karras et al. (2022, algorithm 1).

With y = x / alpha and r = sigma / alpha the ODE is dy/dr = (y - D) / r = E[noise | x], so Euler's step is that of DDIM
with eta = 0; the two differ by the time grid that each is run on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from workbench.sampling.sampler import Call, Node, Noise, Sampler, eps


@dataclass(frozen=True)
class Euler(Sampler):
    """y_s = y_t + (r_s - r_t) eps_t."""

    order: ClassVar[int] = 1

    def step(
        self, call: Call, x_t: Tensor, t: Node, s: Node, memory: None, noise: Noise
    ) -> tuple[Tensor, None]:
        direction = eps(x_t, call.denoised(x_t, t), t)
        return _move(x_t, direction, t, s), None


@dataclass(frozen=True)
class Heun(Sampler):
    """Euler's step, then the mean of the directions at both ends; the last step, to no noise, is Euler's alone."""

    order: ClassVar[int] = 2

    def step(
        self, call: Call, x_t: Tensor, t: Node, s: Node, memory: None, noise: Noise
    ) -> tuple[Tensor, None]:
        direction = eps(x_t, call.denoised(x_t, t), t)
        x_s = _move(x_t, direction, t, s)
        if s.sigma == 0:
            return x_s, None
        at_end = eps(x_s, call.denoised(x_s, s), s)
        return _move(x_t, direction.add_(at_end).mul_(0.5), t, s), None

    def nfe(self, steps: int) -> int:
        return 2 * steps - 1


def _move(x_t: Tensor, direction: Tensor, t: Node, s: Node) -> Tensor:
    return x_t.mul(s.alpha / t.alpha).add_(direction, alpha=s.alpha * (s.ratio - t.ratio))
