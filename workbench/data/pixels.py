"""Between the bytes of a data set, the floats that models see, and the bytes that a screen shows."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.registry import UserError


def to_float(images: Tensor, levels: int) -> Tensor:
    """Bytes 0 .. levels - 1 [*S] as float32 in [-1, 1] [*S]: 2 x / (levels - 1) - 1."""
    return images.to(torch.float32) * (2 / (levels - 1)) - 1


def to_bytes(images: Tensor, levels: int) -> Tensor:
    """Floats [*S] as the nearest bytes 0 .. levels - 1 [*S], those outside [-1, 1] clamped. Inverse of `to_float`.

    Raises UserError for values that are not finite, which have no nearest byte.
    """
    require_finite(images, "images")
    return ((images.float() + 1) * ((levels - 1) / 2)).round().clamp(0, levels - 1).to(torch.uint8)


def to_display(images: Tensor, levels: int) -> Tensor:
    """Bytes 0 .. levels - 1 [*S] as bytes 0 .. 255 [*S], to the nearest."""
    return (images.to(torch.float32) * (255 / (levels - 1))).round().to(torch.uint8)


def from_display(images: Tensor, levels: int) -> Tensor:
    """Bytes 0 .. 255 [*S] as the nearest bytes 0 .. levels - 1 [*S]. Inverse of `to_display`."""
    return (images.to(torch.float32) * ((levels - 1) / 255)).round().to(torch.uint8)


def require_finite(values: Tensor, field: str) -> None:
    """Raises UserError that tells how many of `values` [*S] are NaN or infinite, if any is."""
    bad = int((~torch.isfinite(values)).sum())
    if bad:
        raise UserError(f"{field}: {bad} of {values.numel()} values are not finite; the model has diverged.")
