"""The U-Net (Ronneberger et al., 2015) with residual blocks, as used for diffusion since Ho et al. (2020)."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.nn.layers import ChannelNorm, NoiseEmbedding, SelfAttention, convolution, zeroed
from workbench.registry import UserError
from workbench.shapes import over_rows
from workbench.spec import BackboneSpec


class ResidualBlock(nn.Module):
    """x + conv(silu(scale * norm(conv(silu(norm(x)))) + shift)); scale and shift [B, C] come from the embedding
    [B, E], and are 1 and 0 where `embedding` E is 0 and forward gets None."""

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

    def forward(self, x: Tensor, embedding: Tensor | None) -> Tensor:
        h = self.conv_in(F.silu(self.norm_in(x)))
        if self.modulation is None:
            h = self.norm_out(h)
        else:
            scale, shift = self.modulation(embedding).chunk(2, dim=1)
            h = torch.addcmul(over_rows(shift, h), self.norm_out(h), over_rows(1 + scale, h))
        h = F.dropout(F.silu(h), self.dropout, self.training)
        out: Tensor = self.attention(self.skip(x) + self.conv_out(h))
        return out


class UNet(nn.Module):
    """Network (x [B, C, *S], noise_level [B], labels [B] or None) -> [B, outputs, *S], of unit variance in and out.

    Patches of `patch` pixels a side are folded into channels first. Each further level halves the resolution by
    averaging and doubles it again by repetition; every block on the way up sees the output of its twin on the way down.
    Label `classes` stands for "no label". Sides need not be powers of two: they are padded with the edge value.
    """

    def __init__(
        self, spec: BackboneSpec, *, event_shape: tuple[int, ...], outputs: int, classes: int
    ) -> None:
        super().__init__()
        if len(spec.multipliers) != len(spec.attention):
            raise UserError(
                f"backbone.attention: {len(spec.attention)} values given; one for each of the "
                f"{len(spec.multipliers)} levels is needed"
            )
        channels, sides = event_shape[0], event_shape[1:]
        rank = len(sides)
        self.patch, self.sides = spec.patch, sides
        embedding = 4 * spec.width
        self.noise_embedding = NoiseEmbedding(spec.width)
        self.label_embedding = nn.Embedding(classes + 1, 2 * spec.width) if classes else None
        self.embed = nn.Sequential(
            nn.Linear(2 * spec.width, embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU()
        )

        def block(inputs: int, width: int, attention: bool) -> ResidualBlock:
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
        self.conv_out = zeroed(convolution(rank, widths[0], outputs * spec.patch**rank, 3))

    def forward(self, x: Tensor, noise_level: Tensor, labels: Tensor | None = None) -> Tensor:
        embedding = self.noise_embedding(noise_level)
        if self.label_embedding is not None:
            if labels is None:
                labels = torch.full_like(
                    noise_level, self.label_embedding.num_embeddings - 1, dtype=torch.long
                )
            embedding = embedding + self.label_embedding(labels)
        embedding = self.embed(embedding.to(x.dtype))

        h = self.conv_in(fold(pad(x, self.multiple), self.patch))
        skips: list[Tensor] = []
        for level, blocks in enumerate(self.down):
            h = halve(h) if level else h
            for block in cast(nn.ModuleList, blocks):
                h = block(h, embedding)
                skips.append(h)
        h = self.middle(h, embedding)
        for level, blocks in enumerate(self.up):
            h = double(h) if level else h
            for block in cast(nn.ModuleList, blocks):
                h = block(torch.cat([h, skips.pop()], dim=1), embedding)
        return crop(unfold(self.conv_out(F.silu(self.norm_out(h))), self.patch), self.sides)

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


def fold(x: Tensor, patch: int) -> Tensor:
    """Patches into channels: [B, C, *S] -> [B, C patch^rank, *(S / patch)]."""
    if patch == 1:
        return x
    for axis in range(2, x.ndim):  # each pass moves one axis of the patch into the channels
        split = x.reshape(*x.shape[:axis], -1, patch, *x.shape[axis + 1 :])
        x = split.movedim(axis + 1, 2).flatten(1, 2)
    return x


def unfold(x: Tensor, patch: int) -> Tensor:
    """The inverse of `fold`: [B, C patch^rank, *S] -> [B, C, *(S patch)]."""
    if patch == 1:
        return x
    for axis in reversed(range(2, x.ndim)):
        split = x.reshape(len(x), -1, patch, *x.shape[2:])
        x = split.movedim(2, axis + 1).flatten(axis, axis + 1)
    return x


def halve(x: Tensor) -> Tensor:
    """The mean over cells of two positions a side: [B, C, *S] -> [B, C, *(S / 2)]."""
    pool = {3: F.avg_pool1d, 4: F.avg_pool2d, 5: F.avg_pool3d}[x.ndim]
    out: Tensor = pool(x, 2)
    return out


def double(x: Tensor) -> Tensor:
    """Each position repeated along every side: [B, C, *S] -> [B, C, *(2 S)]."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
