"""Euler and Heun on the probability-flow ODE in the coordinates of Karras et al. (2022, algorithm 1).

With y = x / alpha and r = sigma / alpha the ODE is dy/dr = (y - D) / r = E[noise | x], so Euler's step is that of DDIM
with eta = 0; the two differ by the time grid that each is run on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from workbench.sampling.sampler import Call, Node, Noise, Sampler, kept


@dataclass(frozen=True)
class Euler(Sampler):
    """y_s = y_t + (r_s - r_t) (y_t - D_t) / r_t."""

    order: ClassVar[int] = 1

    def step(
        self, call: Call, x_t: Tensor, t: Node, s: Node, memory: None, noise: Noise
    ) -> tuple[Tensor, None]:
        return kept(x_t, call.denoised(x_t, t), t, s.alpha, s.sigma), None


@dataclass(frozen=True)
class Heun(Sampler):
    """Euler's step, then the mean of the directions at both ends; the last step, to no noise, is Euler's alone.

    After Euler's y_s = D_t + r_s (y_t - D_t) / r_t the directions differ by (D_t - D_s) / r_s, so their mean moves
    y_s by (r_t / r_s - 1) / 2 (D_s - D_t), where nothing large cancels. On a grid whose first r is hundreds of times
    the second, as that of equal steps of t on a straight path, this mean is far off: such a model wants
    `uniform_log_snr`.
    """

    order: ClassVar[int] = 2

    def step(
        self, call: Call, x_t: Tensor, t: Node, s: Node, memory: None, noise: Noise
    ) -> tuple[Tensor, None]:
        at_start = call.denoised(x_t, t)
        x_s = kept(x_t, at_start, t, s.alpha, s.sigma)
        if s.sigma == 0:
            return x_s, None
        change = call.denoised(x_s, s) - at_start
        # A new tensor: whoever watches the evaluations may hold on to x_s.
        return x_s.add(change, alpha=0.5 * s.alpha * (t.ratio / s.ratio - 1)), None

    def nfe(self, steps: int) -> int:
        return 2 * steps - 1
