"""What every flow shares: the density that it ends in and the unit that it is measured in."""

from __future__ import annotations

import math

from torch import Tensor


def standard_normal(latents: Tensor) -> Tensor:
    """The log-density in nats of latents [B, *S] under independent standard normals: [B]."""
    values = latents.flatten(1)
    return -0.5 * (values.square() + math.log(2 * math.pi)).sum(dim=1)


def bits_a_value(log_prob: Tensor, values: int) -> Tensor:
    """The negative log-probability [B] in nats of rows of `values` values, in bits a value: [B]."""
    return -log_prob / (values * math.log(2))


def bounded(log_scale: Tensor, bound: float) -> Tensor:
    """`bound` tanh(x / bound): the identity near zero, so that it changes no start, and never beyond the bound."""
    return bound * (log_scale / bound).tanh()
