"""The U-Net (Ronneberger et al., 2015) with residual blocks, as used for diffusion since Ho et al. (2020)."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.nn.base import Backbone, Record, ignore
from workbench.nn.layers import ChannelNorm, SelfAttention, convolution, zeroed
from workbench.nn.patches import fold, unfold
from workbench.registry import UserError
from workbench.shapes import over_rows
from workbench.spec import BackboneSpec

# Builds a module (x [B, C, *S], tokens [B, T, D]) -> [B, C, *S] from C and D.
Attending = Callable[[int, int], nn.Module]


class ResidualBlock(nn.Module):
    """x + conv(silu(scale * norm(conv(silu(norm(x)))) + shift)); scale and shift [B, C] come from the embedding
    [B, E], and are 1 and 0 where `embedding` E is 0 and forward gets None. It has no use for the tokens of the
    condition, at which a block that ends in a transformer looks."""

    def __init__(
        self, rank: int, inputs: int, outputs: int, embedding: int, attention: bool, dropout: float
    ) -> None:
        super().__init__()
        self.norm_in = ChannelNorm(inputs)
        self.conv_in = convolution(rank, inputs, outputs, 3)
        self.norm_out = ChannelNorm(outputs)
        self.modulation = nn.Linear(embedding, 2 * outputs) if embedding else None
        self.conv_out = zeroed(convolution(rank, outputs, outputs, 3))
        self.skip = nn.Identity() if inputs == outputs else convolution(rank, inputs, outputs, 1)
        self.attention = SelfAttention(outputs) if attention else nn.Identity()
        self.dropout = dropout

    def forward(self, x: Tensor, embedding: Tensor | None, tokens: Tensor | None = None) -> Tensor:
        h = self.conv_in(F.silu(self.norm_in(x)))
        if self.modulation is None:
            h = self.norm_out(h)
        else:
            scale, shift = self.modulation(embedding).chunk(2, dim=1)
            h = torch.addcmul(over_rows(shift, h), self.norm_out(h), over_rows(1 + scale, h))
        h = F.dropout(F.silu(h), self.dropout, self.training)
        out: Tensor = self.attention(self.skip(x) + self.conv_out(h))
        return out


class AttendingBlock(nn.Module):
    """A residual block, and behind it a module that looks at the tokens [B, T, D] of the condition as well."""

    def __init__(self, residual: ResidualBlock, attending: nn.Module) -> None:
        super().__init__()
        self.residual, self.attending = residual, attending

    def forward(self, x: Tensor, embedding: Tensor, tokens: Tensor) -> Tensor:
        out: Tensor = self.attending(self.residual(x, embedding), tokens)
        return out


class UNet(Backbone):
    """The convolutional U-Net.

    Patches of `patch` pixels a side are folded into channels first. Each further level halves the resolution by
    averaging and doubles it again by repetition; every block on the way up sees the output of its twin on the way down.
    Sides need not be powers of two: they are padded with the edge value. Where a level has attention, its blocks end in
    self-attention, or in what `attending` builds. Features: `down.<level>.<block>`, `middle`, `up.<level>.<block>`,
    the levels of `up` numbered from the lowest resolution.
    """

    def __init__(
        self,
        spec: BackboneSpec,
        *,
        event_shape: tuple[int, ...],
        outputs: int,
        classes: int,
        attending: Attending | None = None,
    ) -> None:
        super().__init__(spec, classes=classes)
        if len(spec.multipliers) != len(spec.attention):
            raise UserError(
                f"backbone.attention: {len(spec.attention)} values given; one for each of the "
                f"{len(spec.multipliers)} levels is needed"
            )
        if not spec.multipliers or min(spec.multipliers) < 1:
            raise UserError(
                f"backbone.multipliers: {spec.multipliers} given; whole numbers from 1 are needed"
            )
        channels, sides = event_shape[0], event_shape[1:]
        rank = len(sides)
        self.patch, self.sides = spec.patch, sides
        embedding = 4 * spec.width
        self.embed = nn.Sequential(
            nn.Linear(2 * spec.width, embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU()
        )

        def block(inputs: int, width: int, attention: bool) -> nn.Module:
            if attention and attending is not None:
                residual = ResidualBlock(rank, inputs, width, embedding, False, spec.dropout)
                return AttendingBlock(residual, attending(width, 2 * spec.width))
            return ResidualBlock(rank, inputs, width, embedding, attention, spec.dropout)

        widths = [spec.width * multiplier for multiplier in spec.multipliers]
        self.conv_in = convolution(rank, channels * spec.patch**rank, widths[0], 3)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        above = widths[0]
        for width, attention in zip(widths, spec.attention, strict=True):
            sizes = [above] + [width] * (spec.blocks - 1)
            self.down.append(nn.ModuleList(block(size, width, attention) for size in sizes))
            above = width
        self.middle = block(widths[-1], widths[-1], spec.attention[-1])
        below = widths[-1]
        for width, attention in zip(reversed(widths), reversed(spec.attention), strict=True):
            sizes = [below] + [width] * (spec.blocks - 1)
            self.up.append(nn.ModuleList(block(size + width, width, attention) for size in sizes))
            below = width
        self.norm_out = ChannelNorm(widths[0])
        self.conv_out = convolution(rank, widths[0], outputs * spec.patch**rank, 3)
        places = [f"{level}.{block}" for level in range(len(widths)) for block in range(spec.blocks)]
        self.feature_names = (*(f"down.{p}" for p in places), "middle", *(f"up.{p}" for p in places))
        self.skips = tuple(
            (f"down.{down}", f"up.{up}") for down, up in zip(reversed(places), places, strict=True)
        )

    def forward(
        self, x: Tensor, noise_level: Tensor, labels: Tensor | None = None, record: Record = ignore
    ) -> Tensor:
        tokens = self.conditions(noise_level, labels)
        embedding = self.embed(tokens.sum(dim=1).to(x.dtype))
        h = self.conv_in(fold(pad(x, self.multiple), self.patch))
        skips: list[Tensor] = []
        for level, blocks in enumerate(self.down):
            h = halve(h) if level else h
            for index, block in enumerate(cast(nn.ModuleList, blocks)):
                h = block(h, embedding, tokens)
                record(f"down.{level}.{index}", h)
                skips.append(h)
        h = self.middle(h, embedding, tokens)
        record("middle", h)
        for level, blocks in enumerate(self.up):
            h = double(h) if level else h
            for index, block in enumerate(cast(nn.ModuleList, blocks)):
                h = block(torch.cat([h, skips.pop()], dim=1), embedding, tokens)
                record(f"up.{level}.{index}", h)
        return crop(unfold(self.conv_out(F.silu(self.norm_out(h))), self.patch), self.sides)

    @property
    def last(self) -> nn.Module:
        """The last convolution."""
        return self.conv_out

    @property
    def multiple(self) -> int:
        """Every side is padded to a multiple of this many pixels."""
        halvings = len(self.down) - 1
        return self.patch << halvings


def pad(x: Tensor, multiple: int) -> Tensor:
    """Each spatial side of [B, C, *S] padded at its end with the edge value to a multiple of `multiple`."""
    missing = [-side % multiple for side in reversed(x.shape[2:])]
    return F.pad(x, [n for m in missing for n in (0, m)], mode="replicate") if any(missing) else x


def crop(x: Tensor, sides: tuple[int, ...]) -> Tensor:
    """The first `sides` positions of [B, C, *S], without what `pad` added."""
    for axis, side in enumerate(sides, start=2):
        x = x.narrow(axis, 0, side)
    return x


def halve(x: Tensor) -> Tensor:
    """The mean over cells of two positions a side: [B, C, *S] -> [B, C, *(S / 2)]."""
    pool = {3: F.avg_pool1d, 4: F.avg_pool2d, 5: F.avg_pool3d}[x.ndim]
    out: Tensor = pool(x, 2)
    return out


def double(x: Tensor) -> Tensor:
    """Each position repeated along every side: [B, C, *S] -> [B, C, *(2 S)]."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
