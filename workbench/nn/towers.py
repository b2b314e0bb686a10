"""Halves of a U-Net without links between them: down to features at each resolution, and up from the lowest."""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from workbench.nn.layers import ChannelNorm, convolution, zeroed
from workbench.nn.patches import fold, unfold
from workbench.nn.unet import ResidualBlock, crop, double, halve, pad


class DownTower(nn.Module):
    """Network (x [B, C, *S], embedding [B, E] or None) -> features [B, widths[l], *S_l] of each level, finest first.

    Patches of `patch` pixels a side are folded into channels first; each further level halves the resolution. Sides
    are padded with the edge value to a multiple of `patch` times two to the number of halvings.
    """

    def __init__(
        self,
        widths: tuple[int, ...],
        *,
        event_shape: tuple[int, ...],
        patch: int,
        blocks: int,
        embedding: int,
        dropout: float,
    ) -> None:
        super().__init__()
        rank = len(event_shape) - 1
        self.patch, self.multiple = patch, patch << (len(widths) - 1)
        self.conv_in = convolution(rank, event_shape[0] * patch**rank, widths[0], 3)
        self.levels = nn.ModuleList()
        above = widths[0]
        for width in widths:
            sizes = [above] + [width] * (blocks - 1)
            self.levels.append(
                nn.ModuleList(ResidualBlock(rank, size, width, embedding, False, dropout) for size in sizes)
            )
            above = width

    def forward(self, x: Tensor, embedding: Tensor | None) -> list[Tensor]:
        h = self.conv_in(fold(pad(x, self.multiple), self.patch))
        features: list[Tensor] = []
        for blocks in self.levels:
            h = halve(h) if features else h
            for block in cast(nn.ModuleList, blocks):
                h = block(h, embedding)
            features.append(h)
        return features


class UpTower(nn.Module):
    """Network (h [B, widths[-1], *S_low], embedding [B, E] or None) -> [B, widths[0], *S_high], mirror of DownTower."""

    def __init__(
        self, widths: tuple[int, ...], *, rank: int, blocks: int, embedding: int, dropout: float
    ) -> None:
        super().__init__()
        self.levels = nn.ModuleList()
        below = widths[-1]
        for width in reversed(widths):
            sizes = [below] + [width] * (blocks - 1)
            self.levels.append(
                nn.ModuleList(ResidualBlock(rank, size, width, embedding, False, dropout) for size in sizes)
            )
            below = width

    def forward(self, h: Tensor, embedding: Tensor | None) -> Tensor:
        for level, blocks in enumerate(self.levels):
            h = double(h) if level else h
            for block in cast(nn.ModuleList, blocks):
                h = block(h, embedding)
        return h


class ToImage(nn.Module):
    """The last layer, h [B, C, *S_high] -> [B, outputs, *S] of the event's sides, zero in a fresh network."""

    def __init__(self, channels: int, *, outputs: int, sides: tuple[int, ...], patch: int) -> None:
        super().__init__()
        rank = len(sides)
        self.patch, self.sides = patch, sides
        self.norm = ChannelNorm(channels)
        self.conv = zeroed(convolution(rank, channels, outputs * patch**rank, 3))

    def forward(self, h: Tensor) -> Tensor:
        return crop(unfold(self.conv(F.silu(self.norm(h))), self.patch), self.sides)


class Flat(nn.Module):
    """[B, C, *S] -> [B, S C]: channels vary fastest, so that channels_last memory is not copied."""

    def forward(self, x: Tensor) -> Tensor:
        return x.movedim(1, -1).flatten(1)


class Unflat(nn.Module):
    """The inverse of Flat for positions `sides`: [B, S C] -> [B, C, *S], in channels_last memory."""

    def __init__(self, sides: tuple[int, ...]) -> None:
        super().__init__()
        self.sides = sides

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(len(x), *self.sides, -1).movedim(-1, 1)
