"""U-ViT (Bao et al., 2023): a transformer with long skips that takes noise level and label as tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workbench.nn.base import Backbone, Record, ignore
from workbench.nn.patches import grid_of, on_grid, positions, to_tokens, unfold
from workbench.nn.transformer import Mlp, Residual, TokenAttention
from workbench.spec import BackboneSpec


class UViT(Backbone):
    """`blocks` transformer blocks of `width` channels, a multiple of 32, on patches and the tokens of the condition.

    Every block of the second half sees the output of its twin in the first half, joined by a linear layer. Places are
    fixed sines and cosines where the paper learns them. Features: `blocks.<index>`, without the condition's tokens.
    Raises UserError for a patch that does not divide the sides.
    """

    places: Tensor

    def __init__(
        self, spec: BackboneSpec, *, event_shape: tuple[int, ...], outputs: int, classes: int
    ) -> None:
        super().__init__(spec, classes=classes)
        channels, sides = event_shape[0], event_shape[1:]
        width, values = spec.width, spec.patch ** len(sides)
        self.patch, self.grid, self.twins = spec.patch, grid_of(sides, spec.patch), spec.blocks // 2
        self.register_buffer("places", positions(self.grid, width), persistent=False)
        self.patch_in = nn.Linear(channels * values, width)
        self.condition_in = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(
            nn.Sequential(
                Residual(width, TokenAttention(width)), Residual(width, Mlp(width, 4 * width, spec.dropout))
            )
            for _ in range(spec.blocks)
        )
        self.joins = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(self.twins))
        self.norm_out = nn.LayerNorm(width, bias=False)
        self.patch_out = nn.Linear(width, outputs * values)
        self.feature_names = tuple(f"blocks.{index}" for index in range(spec.blocks))
        self.skips = tuple((f"blocks.{self.twins - 1 - i}", f"joins.{i}") for i in range(self.twins))

    @property
    def last(self) -> nn.Module:
        """The layer from tokens to patches."""
        return self.patch_out

    def forward(
        self, x: Tensor, noise_level: Tensor, labels: Tensor | None = None, record: Record = ignore
    ) -> Tensor:
        tokens = self.condition_in(self.conditions(noise_level, labels).to(x.dtype))  # [B, 1 or 2, C]
        patches = self.patch_in(to_tokens(x, self.patch))  # [B, P, C]
        extra = tokens.shape[1]
        h = torch.cat([tokens, patches + self.places.to(patches.dtype)], dim=1)
        skips: list[Tensor] = []
        joined = len(self.blocks) - self.twins
        for index, block in enumerate(self.blocks):
            if index >= joined:
                h = self.joins[index - joined](torch.cat([h, skips.pop()], dim=2))
            h = block(h)
            if index < self.twins:
                skips.append(h)
            record(f"blocks.{index}", on_grid(h[:, extra:], self.grid))
        return unfold(on_grid(self.patch_out(self.norm_out(h[:, extra:])), self.grid), self.patch)
