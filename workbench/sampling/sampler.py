"""What a sampler is: a rule for one step from t to s < t. The loop is `sample`, in `loop`."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from workbench.diffusion.schedule import Schedule
from workbench.registry import UserError


@dataclass(frozen=True)
class Node:
    """A point of a time grid with what solvers need of the schedule there, as plain numbers computed once."""

    time: float
    alpha: float
    sigma: float

    @property
    def half_log_snr(self) -> float:
        """lambda = log(alpha / sigma) of Lu et al. (2022); infinite where there is no noise."""
        return math.log(self.alpha / self.sigma) if self.sigma else math.inf

    @property
    def ratio(self) -> float:
        """sigma / alpha, the noise level of Karras et al. (2022)."""
        return self.sigma / self.alpha


def nodes(schedule: Schedule, grid: Tensor) -> list[Node]:
    """The nodes of a grid float64 [K + 1]."""
    alpha, sigma = schedule(grid)
    return [Node(*values) for values in zip(grid.tolist(), alpha.tolist(), sigma.tolist(), strict=True)]


@dataclass(frozen=True)
class Call:
    """The network as a sampler sees it: the clean mean at a node, labels and precision already settled."""

    denoised: Callable[[Tensor, Node], Tensor]
    moments: Callable[[Tensor, Node], tuple[Tensor, Tensor]]


Noise = Callable[[float, float], Tensor]  # (t, s) -> the standardised increment of one Brownian path, [B, *S]


class Sampler(ABC):
    """A rule for one step. It holds its settings and no state: what it must remember it returns as `memory`.

    `order` is the order of convergence to the exact solution: row by row for a deterministic sampler, of the law for a
    stochastic one. That of a multistep rule is reached when its first steps, which are of lower order, are short enough
    not to be seen.
    """

    order: ClassVar[int]

    @property
    def stochastic(self) -> bool:
        """Whether its steps draw noise."""
        return False

    @abstractmethod
    def step(
        self, call: Call, x_t: Tensor, t: Node, s: Node, memory: Any, noise: Noise
    ) -> tuple[Tensor, Any]:
        """From x_t [B, *S] at t to x_s at s, and what the next step is given as `memory` (None at the first)."""

    def nfe(self, steps: int) -> int:
        """Network evaluations of `steps` steps."""
        return steps

    def steps_for(self, nfe: int) -> int:
        """The most steps that `nfe` evaluations allow. Raises UserError when they allow none."""
        steps = nfe
        while steps > 0 and self.nfe(steps) > nfe:
            steps -= 1
        if steps < 1:
            raise UserError(f"nfe: {nfe} given; {type(self).__name__} needs at least {self.nfe(1)}")
        return steps


def kept(x_t: Tensor, denoised: Tensor, t: Node, alpha_s: float, sigma_s: float) -> Tensor:
    """alpha_s D + sigma_s eps with the noise that x_t = alpha_t D + sigma_t eps holds: [B, *S].

    With alpha and sigma of s it is the step of first order that all solvers share (J. Song et al., 2021, eq. 12).
    Neither eps nor x / alpha is computed: in single precision they would cancel where alpha is small.
    """
    share = sigma_s / t.sigma
    return x_t.mul(share).add_(denoised, alpha=alpha_s - share * t.alpha)
