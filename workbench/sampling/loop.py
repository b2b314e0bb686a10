"""sample(): the only sampling loop."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from workbench.diffusion.denoiser import Denoiser
from workbench.sampling.sampler import Call, Node, Noise, Sampler, nodes

OnStep = Callable[[Node, Tensor, Tensor], None]


def no_noise(t: float, s: float) -> Tensor:
    """The noise of a sampler that is meant to need none."""
    raise ValueError(f"a stochastic sampler needs a source of noise for its step from {t} to {s}")


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    sampler: Sampler,
    x_1: Tensor,
    grid: Tensor,
    *,
    cond: Tensor | None = None,
    noise: Noise = no_noise,
    on_step: OnStep | None = None,
) -> Tensor:
    """Rows x_0 [B, *S] from noise at t = 1, x_1 [B, *S], along `grid` float64 [K + 1] from 1 to 0.

    `noise(t, s)` gives the standardised increment of a Brownian path; `on_step(node, x_t, denoised)` sees each
    evaluation. The state has the type of x_1. Raises ValueError when a stochastic sampler is given no noise, or for a
    grid that does not fall.
    """
    if not bool((grid.diff() < 0).all()):
        raise ValueError("grid: each time must be below the one before it")

    def denoised(x: Tensor, node: Node) -> Tensor:
        out: Tensor = denoiser(x, torch.tensor(node.time, dtype=torch.float64, device=x.device), cond)
        if on_step is not None:
            on_step(node, x, out)
        return out

    def moments(x: Tensor, node: Node) -> tuple[Tensor, Tensor]:
        out, fraction = denoiser.moments(
            x, torch.tensor(node.time, dtype=torch.float64, device=x.device), cond
        )
        if on_step is not None:
            on_step(node, x, out)
        return out, fraction

    call = Call(denoised, moments)
    x: Tensor = x_1
    memory: Any = None
    for t, s in pairwise(nodes(denoiser.schedule, grid)):
        x, memory = sampler.step(call, x, t, s, memory, noise)
    return x
