"""The law of an image given a latent: each value one of the data's grey levels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.levels import spacing

LEAST_SCALE = math.exp(-3)  # in levels: 99.99 % of such a logistic lie within half a level of its centre


@dataclass(frozen=True, kw_only=True)
class DiscretisedLogistic:
    """Independent logistics over `levels` grey levels, of the given location and log-scale [B, C, *S] in float32.

    Levels are 2 / (levels - 1) apart in [-1, 1]; each takes the probability of the cell around it, and the two at the
    edges take the tails too (Salimans et al., 2017, eq. 2).
    """

    location: Tensor
    log_scale: Tensor
    levels: int

    @classmethod
    def of(cls, outputs: Tensor, *, levels: int, std: float) -> DiscretisedLogistic:
        """From a network's outputs [B, 2 C, *S], which are zero for a logistic around 0 of standard deviation `std`."""
        location, log_ratio = outputs.float().chunk(2, dim=1)
        typical = math.log(max(std, spacing(levels)) * math.sqrt(3) / math.pi)
        least = math.log(LEAST_SCALE * spacing(levels))
        return cls(location=location, log_scale=(typical + log_ratio).clamp(min=least), levels=levels)

    def log_prob(self, images: Tensor) -> Tensor:
        """The log-probability in nats of each value of images [B, C, *S] in [-1, 1]: [B, C, *S].

        With a and b the standardised edges of a cell, F(b) - F(a) = F(b) F(-a) (1 - exp(a - b)) for the logistic
        function F: a product without cancellation, however far in the tail the cell lies.
        """
        half = 1 / (self.levels - 1)
        x, precision = images.float(), (-self.log_scale).exp()
        below = F.logsigmoid((x + half - self.location) * precision)
        above = F.logsigmoid((self.location - x + half) * precision)
        inside = torch.log(-torch.expm1(-2 * half * precision))
        lowest, highest = x < half - 1, x > 1 - half
        return (
            below.masked_fill(highest, 0)
            + above.masked_fill(lowest, 0)
            + inside.masked_fill(lowest | highest, 0)
        )

    def median(self) -> Tensor:
        """The image whose every value is the median, which is the most probable too: [B, C, *S] in [-1, 1]."""
        return self.location.clamp(-1, 1)
