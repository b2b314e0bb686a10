"""Plain residual networks without any normalisation: latents -> rows and rows -> features, the two halves of a GAN.

Without norms the variance must be right from the start: the last convolution of each branch is zero and the first is
scaled down by the number of blocks (Zhang et al., 2019, "Fixup"), as in R3GAN (Huang et al., 2024, section 4).
"""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.nn.layers import convolution, zeroed
from workbench.nn.patches import fold, lowest_sides, unfold
from workbench.nn.unet import crop, double, halve, pad
from workbench.registry import UserError

SLOPE = 0.2  # of the leaky rectifier below zero


def rectified(x: Tensor) -> Tensor:
    """x where positive, SLOPE x elsewhere: [*S] -> same."""
    return F.leaky_relu(x, SLOPE)


def scaled(layer: nn.Module, gain: float) -> nn.Module:
    """The layer with normal weights of deviation gain / sqrt(inputs) and no bias at the start."""
    weight, bias = cast(Tensor, layer.weight), cast(Tensor, layer.bias)
    nn.init.normal_(weight, std=gain / math.sqrt(weight[0].numel()))
    nn.init.zeros_(bias)
    return layer


# What keeps the mean square through a leaky rectifier (He et al., 2015, eq. 15).
HE_GAIN = math.sqrt(2 / (1 + SLOPE**2))


class Block(nn.Module):
    """x + conv(rectified(conv(rectified(x)))): [B, C, *S] -> same."""

    def __init__(self, rank: int, width: int, blocks: int) -> None:
        """`blocks` is the number of blocks in the whole network."""
        super().__init__()
        # Fixup's L^(-1 / (2 m - 2)) for branches of m = 2 layers
        self.conv_in = scaled(convolution(rank, width, width, 3), HE_GAIN / math.sqrt(blocks))
        self.conv_out = zeroed(convolution(rank, width, width, 3))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.conv_out(rectified(self.conv_in(rectified(x))))
        return out


def stage(rank: int, inputs: int, width: int, blocks: int, total: int) -> nn.Sequential:
    """A change of width where it is needed, then `blocks` residual blocks."""
    change = [] if inputs == width else [scaled(convolution(rank, inputs, width, 1), 1.0)]
    return nn.Sequential(*change, *(Block(rank, width, total) for _ in range(blocks)))


def require_sizes(width: int, multipliers: tuple[int, ...], blocks: int, patch: int) -> None:
    """Raises UserError for sizes that no residual network has."""
    if not multipliers or min(width, blocks, patch, *multipliers) < 1:
        raise UserError(
            f"model: width {width}, multipliers {multipliers}, blocks {blocks} and patch {patch} given; "
            "whole numbers from 1 are needed"
        )


class ResidualGenerator(nn.Module):
    """Network (latents [B, Z], labels [B] or None) -> rows [B, C, *S] of event shape (C, *S).

    The latent, with an embedding of the label beside it, scales a learned image of the coarsest level; each level up
    doubles the resolution by repetition. Sides that are no multiple of the coarsest cell are cut at their end.
    """

    def __init__(
        self,
        *,
        latent: int,
        classes: int,
        event_shape: tuple[int, ...],
        width: int,
        multipliers: tuple[int, ...],
        blocks: int,
        patch: int,
    ) -> None:
        super().__init__()
        require_sizes(width, multipliers, blocks, patch)
        channels, self.sides, self.patch = event_shape[0], event_shape[1:], patch
        rank, widths = len(self.sides), [width * multiplier for multiplier in multipliers]
        total, coarsest = blocks * len(widths), widths[-1]
        self.label_embedding = nn.Embedding(classes, latent) if classes else None
        self.embed_in = scaled(nn.Linear(2 * latent if classes else latent, coarsest), 1.0)
        self.embed_out = scaled(nn.Linear(coarsest, coarsest), HE_GAIN)
        self.basis = nn.Parameter(torch.randn(coarsest, *lowest_sides(self.sides, patch, len(widths))))
        above = [coarsest, *reversed(widths)]
        self.stages = nn.ModuleList(
            stage(rank, inputs, outputs, blocks, total)
            for inputs, outputs in zip(above, reversed(widths), strict=False)
        )
        self.conv_out = scaled(convolution(rank, widths[0], channels * patch**rank, 3), 0.5)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.label_embedding is not None:
            latents = torch.cat([latents, self.label_embedding(labels)], dim=1)
        scale = self.embed_out(rectified(self.embed_in(latents)))
        h = scale.reshape(*scale.shape, *(1,) * len(self.sides)) * self.basis.to(scale.dtype)
        for level, blocks in enumerate(self.stages):
            h = blocks(double(h) if level else h)
        return crop(unfold(self.conv_out(rectified(h)), self.patch), self.sides)


class ResidualDiscriminator(nn.Module):
    """Network (rows [B, C, *S], labels [B] or None) -> logits float32 [B].

    The generator turned round: each level halves the resolution by averaging, and the coarsest is summed against a
    learned image into features h [F]. The logit is <w + e_label, h> (Miyato & Koyama, 2018, eq. 4, "projection").
    """

    def __init__(
        self,
        *,
        classes: int,
        event_shape: tuple[int, ...],
        width: int,
        multipliers: tuple[int, ...],
        blocks: int,
        patch: int,
    ) -> None:
        super().__init__()
        require_sizes(width, multipliers, blocks, patch)
        channels, sides, self.patch = event_shape[0], event_shape[1:], patch
        rank, widths = len(sides), [width * multiplier for multiplier in multipliers]
        total, coarsest, low = blocks * len(widths), widths[-1], lowest_sides(sides, patch, len(widths))
        self.multiple = patch << len(widths) - 1
        self.conv_in = scaled(convolution(rank, channels * patch**rank, widths[0], 3), 1.0)
        self.stages = nn.ModuleList(
            stage(rank, inputs, outputs, blocks, total)
            for inputs, outputs in zip([widths[0], *widths], widths, strict=False)
        )
        self.basis = nn.Parameter(torch.randn(coarsest, *low) * HE_GAIN / math.sqrt(math.prod(low)))
        self.out = nn.Parameter(torch.randn(coarsest) / math.sqrt(coarsest))
        self.label_embedding = nn.Embedding(classes, coarsest) if classes else None
        if self.label_embedding is not None:
            nn.init.normal_(self.label_embedding.weight, std=1 / math.sqrt(coarsest))

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        h = self.conv_in(fold(pad(x, self.multiple), self.patch))
        for level, blocks in enumerate(self.stages):
            h = blocks(halve(h) if level else h)
        # Products and sums of float32 tensors, not matrix products: the latter are bf16 under autocast, and what
        # counts of a logit is its small difference from another.
        features = (rectified(h) * self.basis).flatten(2).sum(2)
        direction: Tensor = self.out
        if self.label_embedding is not None:
            direction = direction + self.label_embedding(labels)
        return (features * direction).sum(1)
