"""The way from one latent to another."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.models.base import Interpolation
from workbench.shapes import over_rows

LEAST_ANGLE = 1e-3  # of two latents in radians: below it the arc is the line


def interpolated(start: Tensor, end: Tensor, share: float, how: Interpolation) -> Tensor:
    """Latents [B, *Z] at a share of the way from `start` to `end` [B, *Z]: on the line, or on the arc between them,

        (sin((1 - share) angle) start + sin(share angle) end) / sin(angle)

    (Shoemake, 1985; White, 2016, for latents), which has the length of its ends where they have the same: of standard
    normals the middle of a line is shorter than nearly all of them, by the square root of 2.
    """
    line = torch.lerp(start, end, share)
    if how == "linear":
        return line
    a, b = start.flatten(1).double(), end.flatten(1).double()
    angle = torch.nn.functional.cosine_similarity(a, b).clamp(-1, 1).acos()
    weights = (((1 - share) * angle).sin() / angle.sin(), (share * angle).sin() / angle.sin())
    first, second = (over_rows(weight.to(start.dtype), start) for weight in weights)
    return torch.where(over_rows(angle < LEAST_ANGLE, start), line, first * start + second * end)
