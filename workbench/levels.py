"""Images as levels: what a likelihood of discrete images is about.

A data set has `levels` equally spaced values in [-1, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.registry import UserError


def spacing(levels: int) -> float:
    """The distance of two levels."""
    return 2 / (levels - 1)


def require_levels(images: Tensor, levels: int) -> None:
    """Raises UserError for images [B, *S] with values off the `levels` evenly spaced ones of [-1, 1]."""
    steps = (images + 1) * ((levels - 1) / 2)
    wrong = ((steps - steps.round()).abs() > 1e-2) | (images.abs() > 1 + 1e-4)
    off = int(wrong.sum())
    if off:
        raise UserError(
            f"images: {off} of {images.numel()} values are none of the {levels} levels of [-1, 1]; a likelihood is "
            "that of images of the data's levels, which the model dequantises itself"
        )


def rounding_log_prob(images: Tensor, noisy: Tensor, std: float, levels: int) -> Tensor:
    """log P(images | noisy) in nats [B]: each value of noisy [B, *S] is rounded to a level in proportion to
    N(noisy; level, std^2), Bayes' rule where all levels are alike before (Kingma et al., 2021, section 3.3)."""
    values = torch.linspace(-1, 1, levels, dtype=noisy.dtype, device=noisy.device)
    own = -((noisy - images) / std).square() / 2
    total = torch.full_like(own, -torch.inf)
    for value in values:  # level by level, as all at once would hold `levels` copies of the batch
        total = torch.logaddexp(total, -((noisy - value) / std).square() / 2)
    return (own - total).flatten(1).sum(dim=1)
