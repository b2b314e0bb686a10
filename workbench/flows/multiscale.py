"""The multi-scale arrangement of RealNVP (Dinh et al., 2017, section 3.6) and Glow (Kingma & Dhariwal, 2018)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from workbench.flows.bijections import (
    ActNorm,
    AffineCoupling,
    Bijection,
    Chain,
    InvertibleConvolution,
    LabelAffine,
    halves,
)
from workbench.nn.patches import fold, unfold

# The network of a coupling: (inputs, outputs) in channels -> (x [B, inputs, *S], labels [B]) -> [B, outputs, *S].
Network = Callable[[int, int], nn.Module]


class MultiScale(Bijection):
    """Rows [B, *S] <-> latents [B, D] that a fresh flow leaves a rotation of the row.

    At each scale cells of two positions a side are folded into channels (squeeze), then come `steps` times actnorm,
    invertible 1x1 convolution and affine coupling. Half of the channels leave after each scale but the last: under
    a normal law whose mean and scale a network makes of the half that stays, which is one more affine coupling. The
    last scale has a normal law for each label. Latents are ordered as they leave.
    """

    def __init__(
        self, shape: tuple[int, ...], *, scales: int, steps: int, classes: int, network: Network
    ) -> None:
        super().__init__()
        self.stages, self.leaving = nn.ModuleList(), []
        channels, sides = shape[0], shape[1:]
        for scale in range(scales):
            channels, sides = channels * 2 ** len(sides), tuple(side // 2 for side in sides)
            stay, leave = channels // 2, channels - channels // 2
            parts: list[Bijection] = []
            for _ in range(steps):
                coupling = AffineCoupling(network(stay, 2 * leave))
                parts += [ActNorm(channels), InvertibleConvolution(channels), coupling]
            last = scale == scales - 1
            parts += [
                LabelAffine((channels, *sides), classes) if last else AffineCoupling(network(stay, 2 * leave))
            ]
            self.stages.append(Chain(parts))
            self.leaving.append((channels if last else leave, *sides))
            channels = stay

    def forward(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        total, left = x.new_zeros(len(x)), []
        for stage in self.stages:
            z, log_det = stage(fold(x, 2), labels)
            total = total + log_det
            x, gone = halves(z)
            left.append(gone.flatten(1))
        left[-1] = z.flatten(1)
        return torch.cat(left, dim=1), total

    def inverse(self, z: Tensor, labels: Tensor) -> Tensor:
        left = torch.split(z, [math.prod(shape) for shape in self.leaving], dim=1)
        x = z.new_empty(len(z), 0, *self.leaving[-1][1:])
        for stage, part, shape in zip(
            reversed(self.stages), reversed(left), reversed(self.leaving), strict=True
        ):
            x = torch.cat([x, part.reshape(len(z), *shape)], dim=1)
            assert isinstance(stage, Chain)
            x = unfold(stage.inverse(x, labels), 2)
        return x

    def initialise(self, x: Tensor, labels: Tensor) -> Tensor:
        left = []
        for stage in self.stages:
            assert isinstance(stage, Chain)
            z = stage.initialise(fold(x, 2), labels)
            x, gone = halves(z)
            left.append(gone.flatten(1))
        left[-1] = z.flatten(1)
        return torch.cat(left, dim=1)
