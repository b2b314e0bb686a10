"""Images as grids of patches: folding patches into channels, tokens of patches, and where each patch lies."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from workbench.registry import UserError


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


def grid_of(sides: tuple[int, ...], patch: int) -> tuple[int, ...]:
    """Patches along each side. Raises UserError for a patch that does not divide all of them."""
    common = math.gcd(*sides)
    if common % patch:
        accepted = ", ".join(str(n) for n in range(1, common + 1) if common % n == 0)
        size = " x ".join(map(str, sides))
        raise UserError(
            f"backbone.patch: {patch} does not divide rows of {size} values; accepted: {accepted}"
        )
    return tuple(side // patch for side in sides)


def lowest_sides(sides: tuple[int, ...], patch: int, levels: int) -> tuple[int, ...]:
    """The sides of the lowest of `levels` resolutions of an image with `sides`, after folding patches and padding."""
    multiple = patch << (levels - 1)
    return tuple(-(-side // multiple) for side in sides)


def to_tokens(x: Tensor, patch: int) -> Tensor:
    """One token for each patch: [B, C, *S] -> [B, P, C patch^rank]."""
    return fold(x, patch).flatten(2).mT


def on_grid(tokens: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Tokens as an image of patches, a view: [B, P, D] -> [B, D, *grid]."""
    return tokens.mT.reshape(len(tokens), tokens.shape[2], *grid)


def positions(grid: tuple[int, ...], width: int) -> Tensor:
    """Fixed sines and cosines of each patch's place: [P, width]; every axis has an equal share of the channels.

    As Vaswani et al. (2017), but with periods from 2 patches to 4 times the longest side in geometric progression,
    since these grids have tens of positions and not thousands. Channels that are left over are zero.
    """
    frequencies = width // (2 * len(grid))
    periods = torch.logspace(math.log10(2.0), math.log10(4.0 * max(2, *grid)), frequencies)
    places = torch.meshgrid(*(torch.arange(side) + 0.5 for side in grid), indexing="ij")
    phases = [2 * math.pi * place.reshape(-1, 1) / periods for place in places]
    waves = torch.cat([wave for phase in phases for wave in (phase.sin(), phase.cos())], dim=1)
    return torch.nn.functional.pad(waves, (0, width - waves.shape[1]))
