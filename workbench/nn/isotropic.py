"""Networks of one resolution and width: patches, equal blocks modulated by the condition, patches again.

Every block moves values between patches by a `mixing` branch of its own and then applies an MLP to each patch. The
mixing is all that the diffusion transformer, the isotropic convolutional network and the MLP-Mixer differ in.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.nn.base import Backbone, Record, ignore
from workbench.nn.layers import zeroed
from workbench.nn.patches import grid_of, on_grid, positions, to_tokens, unfold
from workbench.nn.transformer import Mlp
from workbench.spec import BackboneSpec

# Builds a branch (h [B, P, width]) -> same from the width and the grid whose P patches the tokens are.
Mixing = Callable[[int, tuple[int, ...]], nn.Module]


class Modulated(nn.Module):
    """norm(h) * (1 + scale) + shift for each row: h [B, P, C], embedding [B, C] -> [B, P, C]; at first plain."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.modulation = zeroed(nn.Linear(width, 2 * width))

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.modulation(embedding).unsqueeze(1).chunk(2, dim=2)
        return torch.addcmul(shift, F.layer_norm(h, h.shape[-1:]), 1 + scale)


class AdaptiveResidual(nn.Module):
    """h + gate * branch(modulated norm(h)): adaLN-zero (Peebles & Xie, 2023). Gates of zero: at first the identity."""

    def __init__(self, width: int, branch: nn.Module) -> None:
        super().__init__()
        self.norm = Modulated(width)
        self.gate = zeroed(nn.Linear(width, width))
        self.branch = branch

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        return torch.addcmul(h, self.gate(embedding).unsqueeze(1), self.branch(self.norm(h, embedding)))


class IsotropicBlock(nn.Module):
    """Mixing between patches, then an MLP on each: (h [B, P, C], embedding [B, C]) -> [B, P, C]."""

    def __init__(self, width: int, mixing: nn.Module, dropout: float) -> None:
        super().__init__()
        self.mixing = AdaptiveResidual(width, mixing)
        self.mlp = AdaptiveResidual(width, Mlp(width, 4 * width, dropout))

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        out: Tensor = self.mlp(self.mixing(h, embedding), embedding)
        return out


class Isotropic(Backbone):
    """`blocks` blocks on patches of `patch` pixels a side. Features: `blocks.<index>`.

    With `placed`, fixed sines and cosines tell each patch where it lies; a mixing that knows this anyway needs none.
    Raises UserError for a patch that does not divide the sides.
    """

    places: Tensor

    def __init__(
        self,
        spec: BackboneSpec,
        *,
        event_shape: tuple[int, ...],
        outputs: int,
        classes: int,
        mixing: Mixing,
        placed: bool,
    ) -> None:
        super().__init__(spec, classes=classes)
        channels, sides = event_shape[0], event_shape[1:]
        width, values = spec.width, spec.patch ** len(sides)
        self.patch, self.grid = spec.patch, grid_of(sides, spec.patch)
        places = positions(self.grid, width) if placed else torch.zeros(1, width)
        self.register_buffer("places", places, persistent=False)
        self.embed = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.patch_in = nn.Linear(channels * values, width)
        self.blocks = nn.ModuleList(
            IsotropicBlock(width, mixing(width, self.grid), spec.dropout) for _ in range(spec.blocks)
        )
        self.norm_out = Modulated(width)
        self.patch_out = nn.Linear(width, outputs * values)
        self.feature_names = tuple(f"blocks.{index}" for index in range(spec.blocks))

    @property
    def last(self) -> nn.Module:
        """The layer from tokens to patches."""
        return self.patch_out

    def forward(
        self, x: Tensor, noise_level: Tensor, labels: Tensor | None = None, record: Record = ignore
    ) -> Tensor:
        embedding = self.embed(self.conditions(noise_level, labels).sum(dim=1).to(x.dtype))
        h = self.patch_in(to_tokens(x, self.patch))  # [B, P, C]
        h = h + self.places.to(h.dtype)
        for index, block in enumerate(self.blocks):
            h = block(h, embedding)
            record(f"blocks.{index}", on_grid(h, self.grid))
        return unfold(on_grid(self.patch_out(self.norm_out(h, embedding)), self.grid), self.patch)
