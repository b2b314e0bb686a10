"""The parts of a hierarchy of latents: where they live, who decodes each stage, and how a stage is drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from workbench.diffusion.conversions import PARAMETRISATIONS
from workbench.diffusion.denoiser import Denoiser, Preconditioned
from workbench.diffusion.posterior import posterior
from workbench.diffusion.schedule import Discrete
from workbench.nn.patches import fold, unfold
from workbench.registry import UserError, look_up
from workbench.sampling.sampler import Call, Node, Noise, Sampler

CELL = 2  # pixels a side


class Subspace(nn.Module):
    """The orthogonal projection of rows [B, C, *S] on a share of the dimensions of each cell of two pixels a side.

    A cell is written in the Haar basis, and the patterns of the fewest changes of sign are kept: at a share of one in
    two to the rank of S the mean alone. Raises UserError for a share or sides that cells do not allow.
    """

    def __init__(self, share: float, sides: tuple[int, ...]) -> None:
        super().__init__()
        size = CELL ** len(sides)
        kept = share * size
        if not 1 <= kept <= size or kept != int(kept):
            raise UserError(
                f"model.latent_share: {share} given; a multiple of {1 / size:g} up to 1 is needed for rows of "
                f"{len(sides)} sides"
            )
        self.whole = kept == size
        if not self.whole and any(side % CELL for side in sides):
            raise UserError(
                f"model.latent_share: {share} given for rows of {' x '.join(map(str, sides))} values; sides must be "
                "even, or the share 1"
            )
        haar = torch.ones(1, 1)
        for _ in sides:
            haar = torch.kron(haar, torch.tensor([[1.0, 1.0], [1.0, -1.0]]) / 2**0.5)
        changes = torch.tensor([row.bit_count() for row in range(size)])
        basis = haar[changes.argsort(stable=True)[: int(kept)]]
        self.register_buffer("projection", basis.T @ basis, persistent=False)

    projection: Tensor

    def forward(self, x: Tensor) -> Tensor:
        if self.whole:
            return x
        cells = fold(x, CELL).unflatten(1, (x.shape[1], -1))  # [B, C, cell, *(S / 2)]
        with torch.autocast(x.device.type, enabled=False):  # latents are as fine as the images
            projected = torch.einsum("pq,bcq...->bcp...", self.projection.to(x.dtype), cells)
        return unfold(projected.flatten(1, 2), CELL)


class Staged(Denoiser):
    """The decoder of all stages t = i / T: one network that is told the level of noise, or network i for stage i."""

    schedule: Discrete

    def __init__(
        self, networks: nn.ModuleList, schedule: Discrete, *, prediction: str, data_std: float
    ) -> None:
        super().__init__()
        self.schedule = schedule
        self.parametrisation = look_up(PARAMETRISATIONS, prediction, "prediction")
        self.stages = [
            Preconditioned(network, schedule, prediction=prediction, data_std=data_std)
            for network in networks
        ]

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        index = (t * self.schedule.timesteps).round().long() - 1
        if len(self.stages) == 1 or t.ndim == 0:
            out: Tensor = self.stages[0 if len(self.stages) == 1 else int(index)](x_t, t, cond)
            return out
        order = index.argsort(stable=True)
        parts = torch.split(order, index.bincount(minlength=len(self.stages)).tolist())
        denoised = [
            stage(x_t[rows], t[rows], None if cond is None else cond[rows])
            for stage, rows in zip(self.stages, parts, strict=True)
            if len(rows)
        ]
        return torch.cat(denoised)[order.argsort()]


@dataclass(frozen=True)
class StageSampler(Sampler):
    """Ancestral sampling where x_0 given x_t is taken for normal around the clean mean with variance `spread`, and the
    chain runs in the subspace of `project`; the last step is the clean mean itself.

    `spreads` are by stage, that of the least noise first; zeros give DDPM's small variance.
    """

    spreads: tuple[float, ...]
    project: Callable[[Tensor], Tensor]
    order: ClassVar[int] = 1

    @property
    def stochastic(self) -> bool:
        return True

    def step(
        self, call: Call, x_t: Tensor, t: Node, s: Node, memory: None, noise: Noise
    ) -> tuple[Tensor, None]:
        denoised = call.denoised(x_t, t)
        if s.sigma == 0:
            return denoised, None
        q = posterior(t.alpha, t.sigma, s.alpha, s.sigma)
        spread = self.spreads[round(t.time * len(self.spreads)) - 1]
        mean = self.project(denoised).mul(q.of_x_0).add_(x_t, alpha=q.of_x_t)
        deviation = (q.small + q.of_x_0**2 * spread) ** 0.5
        return mean.add_(self.project(noise(t.time, s.time)), alpha=deviation), None
