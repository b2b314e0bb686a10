"""Damage to images, at three severities: noise, blur, shift, less contrast (kinds of Hendrycks & Dietterich, 2019).

Sizes are shares of the side of an image, so that small and large images suffer alike.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench import rng
from workbench.registry import UserError

SEVERITIES = (1, 2, 3)
NOISE_STD = (0.2, 0.4, 0.8)  # of values in [-1, 1]
BLUR_STD = (1 / 24, 1 / 12, 1 / 8)  # of the side
SHIFT = (1 / 8, 1 / 4, 3 / 8)  # of the side
CONTRAST = (0.6, 0.35, 0.2)  # what is left of it

# Images [N, C, H, W] in [-1, 1], a severity of SEVERITIES and a seed -> images of the same shape in [-1, 1].
Corruption = Callable[[Tensor, int, int], Tensor]


def noise(images: Tensor, severity: int, seed: int) -> Tensor:
    """Normal noise on each value; row i meets the same noise in whatever batch."""
    rows = rng.normal_rows(seed, "corruption noise", start=0, stop=len(images), shape=tuple(images.shape[1:]))
    return (images + _of(NOISE_STD, severity) * rows).clamp(-1, 1)


def blur(images: Tensor, severity: int, seed: int) -> Tensor:
    """A Gaussian blur, the edges repeated."""
    std = _of(BLUR_STD, severity) * images.shape[-1]
    radius = max(1, round(2.5 * std))
    place = torch.arange(-radius, radius + 1, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (place / std).square())
    kernel = kernel / kernel.sum()
    channels = images.shape[1]
    padded = F.pad(images, (radius,) * 4, mode="replicate")
    lines = kernel.expand(channels, 1, 1, -1)
    return F.conv2d(F.conv2d(padded, lines, groups=channels), lines.mT, groups=channels).clamp(-1, 1)


def shift(images: Tensor, severity: int, seed: int) -> Tensor:
    """Moved along one of the four diagonals, drawn for each row, by as many pixels; what comes in is black."""
    pixels = max(1, round(_of(SHIFT, severity) * images.shape[-1]))
    signs = rng.normal_rows(seed, "corruption shift", start=0, stop=len(images), shape=(2,)).sign().long()
    padded = F.pad(images, (pixels,) * 4, value=-1.0)
    height, width = images.shape[-2:]
    return torch.stack(
        [
            row[:, pixels + dy * pixels :, pixels + dx * pixels :][:, :height, :width]
            for row, (dy, dx) in zip(padded, signs.tolist(), strict=True)
        ]
    )


def contrast(images: Tensor, severity: int, seed: int) -> Tensor:
    """Each image drawn towards its own mean."""
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return mean + _of(CONTRAST, severity) * (images - mean)


CORRUPTIONS: dict[str, Corruption] = {"noise": noise, "blur": blur, "shift": shift, "contrast": contrast}


def _of(table: tuple[float, ...], severity: int) -> float:
    if severity not in SEVERITIES:
        raise UserError(f"severity: {severity} given; one of {', '.join(map(str, SEVERITIES))} is needed")
    return table[severity - 1]
