"""Activations of a block, made into vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor


def as_read(activation: Tensor) -> Tensor:
    """An activation [B, C, *G] as a residual block of the U-Net reads what it gets: over the channels of each position
    of mean 0 and deviation 1, and through SiLU.

    A block hands on a sum of branches, of which later ones take what they can use behind a non-linearity. Means over a
    grid of the sum itself cancel signs. On Fashion-MNIST a linear readout of 10,000 rows in the middle of a network
    erred on 12.7 % of validation rows by the sum, on 11.7 % by this.
    """
    channels_last = activation.movedim(1, -1)
    return F.silu(F.layer_norm(channels_last, channels_last.shape[-1:])).movedim(-1, 1)


def pooled(activation: Tensor, side: int) -> Tensor:
    """The means of an activation [B, C, *G] over a grid of `side` cells a side, flattened: float32 [B, C side^rank].

    Side 1 is the mean over all positions. A side of the grid G that is shorter than `side` stays as it is: nothing is
    made larger.
    """
    pools: dict[int, Callable[[Tensor, Any], Tensor]] = {
        3: F.adaptive_avg_pool1d,
        4: F.adaptive_avg_pool2d,
        5: F.adaptive_avg_pool3d,
    }
    cells = [min(side, length) for length in activation.shape[2:]]
    return pools[activation.ndim](activation.float(), cells).flatten(1)
