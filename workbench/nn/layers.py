"""Layers that several backbones share, for rows [B, C, *S] with channels in the second axis and S of rank 1 to 3."""

from __future__ import annotations

import math
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.registry import UserError

HEAD_WIDTH = 32  # channels of a head of attention

CONVOLUTION: dict[int, type[nn.Conv1d | nn.Conv2d | nn.Conv3d]] = {
    1: nn.Conv1d,
    2: nn.Conv2d,
    3: nn.Conv3d,
}


def convolution(rank: int, inputs: int, outputs: int, kernel: int, *, groups: int = 1) -> nn.Module:
    """A convolution over `rank` spatial axes that keeps their size. Raises UserError for a rank outside 1 to 3."""
    if rank not in CONVOLUTION:
        raise UserError(f"data: a convolutional network needs rows of 1 to 3 spatial axes, not {rank}")
    return CONVOLUTION[rank](inputs, outputs, kernel, padding=kernel // 2, groups=groups)


def zeroed(layer: nn.Module) -> nn.Module:
    """The layer with all parameters set to zero, so that the branch that it ends starts as the identity."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def in_float32(layer: nn.Module, x: Tensor) -> Tensor:
    """layer(x) in float32 even under autocast, where bf16 is too coarse: for grey levels, for divergences that add up,
    for logits that are compared; or too slow, as the gradient of a depthwise convolution is on a CPU."""
    kind = x.device.type
    # The device `meta`, on which costs are counted, knows no autocast.
    plain = torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()
    with plain:
        out: Tensor = layer(x.float())
        return out


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of each position (Ba et al., 2016), as in ConvNeXt: [B, C, *S] -> same.

    In channels_last memory the channels are contiguous, so that the fused kernel of `layer_norm` runs without a copy:
    on a CPU a quarter of the time of group normalisation, forward and backward.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.to(x.dtype)
        return F.layer_norm(x.movedim(1, -1), weight.shape, weight).movedim(-1, 1)


class NoiseEmbedding(nn.Module):
    """Sines and cosines of the noise level at `width` frequencies in geometric progression: [B] -> [B, 2 width].

    The level is a quarter of the log-SNR, about -5 to 5 (Karras et al., 2022, use the same of sigma), so periods from
    0.2 to 60 resolve it without aliasing.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        periods = torch.logspace(math.log10(0.2), math.log10(60.0), width)
        self.register_buffer("frequencies", 2 * math.pi / periods, persistent=False)

    frequencies: Tensor

    def forward(self, noise_level: Tensor) -> Tensor:
        phase = noise_level.float()[:, None] * self.frequencies
        return torch.cat([phase.cos(), phase.sin()], dim=1)


def heads_of(channels: int, head_width: int) -> int:
    """The number of heads. Raises UserError for channels that are no multiple of `head_width`."""
    if channels % head_width:
        raise UserError(
            f"backbone.width: attention over {channels} channels needs a multiple of {head_width}"
        )
    return channels // head_width


def attend(q: Tensor, k: Tensor, v: Tensor, hidden: Tensor | None = None) -> Tensor:
    """Attention of queries [B, heads, P, D] to keys and values [B, heads, T, D]: [B, P, heads D]. `hidden` [P, T] tells
    which keys a query must not see.

    Queries and keys are normalised (Dehghani et al., 2023), which bounds the logits in bf16. Written as plain matrix
    products: with the few positions where it is used, their backward on a CPU is several times faster than that of the
    fused kernel. Queries are scaled, not the many logits: a tenth of the time of 196 positions.
    """
    q, k = (F.layer_norm(u, u.shape[-1:]) for u in (q, k))
    logits = (q * q.shape[-1] ** -0.5) @ k.mT
    logits = logits if hidden is None else logits.masked_fill(hidden, -torch.inf)
    mixed: Tensor = (logits.softmax(dim=-1).to(v.dtype) @ v).transpose(1, 2).flatten(2)
    return mixed


class SelfAttention(nn.Module):
    """Residual multi-head self-attention over positions (Vaswani et al., 2017): [B, C, *S] -> same."""

    def __init__(self, channels: int, head_width: int = HEAD_WIDTH) -> None:
        super().__init__()
        self.heads = heads_of(channels, head_width)
        self.norm = ChannelNorm(channels)
        self.to_qkv = nn.Linear(channels, 3 * channels)
        self.out = zeroed(nn.Linear(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        positions = self.norm(x).flatten(2).mT  # [B, P, C]
        # [B, P, 3 C] -> three times [B, heads, P, C / heads]
        q, k, v = self.to_qkv(positions).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        out: Tensor = x + self.out(attend(q, k, v)).mT.reshape(x.shape)
        return out
