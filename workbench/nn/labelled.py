"""A small residual network of an image and its label that keeps the resolution."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from workbench.nn.layers import ChannelNorm, convolution, zeroed
from workbench.nn.unet import ResidualBlock


class LabelledNet(nn.Module):
    """Network (x [B, inputs, *S], labels [B]) -> [B, outputs, *S]: a convolution, `blocks` residual blocks modulated by
    the embedding of the label, and a convolution that starts at zero. With `classes` 0 or 1 every label must be 0."""

    def __init__(
        self, rank: int, inputs: int, outputs: int, *, width: int, blocks: int, classes: int, dropout: float
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(max(classes, 1), width)
        self.conv_in = convolution(rank, inputs, width, 3)
        self.blocks = nn.ModuleList(
            ResidualBlock(rank, width, width, width, False, dropout) for _ in range(blocks)
        )
        self.norm_out = ChannelNorm(width)
        self.conv_out = zeroed(convolution(rank, width, outputs, 3))

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        embedding = self.embedding(labels)
        h = self.conv_in(x)
        for block in self.blocks:
            h = block(h, embedding)
        out: Tensor = self.conv_out(F.silu(self.norm_out(h)))
        return out
