"""An isotropic convolutional network: depthwise convolutions and pointwise MLPs, as in ConvNeXt (Liu et al., 2022)."""

from __future__ import annotations

from torch import Tensor, nn

from workbench.nn.isotropic import Isotropic
from workbench.nn.layers import convolution, in_float32
from workbench.nn.patches import on_grid
from workbench.spec import BackboneSpec

KERNEL = 5  # patches a side


class DepthwiseConvolution(nn.Module):
    """One filter a channel over the grid of patches, zeros beyond its edge: [B, P, C] -> same.

    In float32: on a CPU the gradient of its weights takes 5 times as long in bf16.
    """

    def __init__(self, width: int, grid: tuple[int, ...]) -> None:
        super().__init__()
        self.grid = grid
        self.convolution = convolution(len(grid), width, width, KERNEL, groups=width)

    def forward(self, h: Tensor) -> Tensor:
        out = in_float32(self.convolution, on_grid(h, self.grid))
        return out.flatten(2).mT.to(h.dtype)


def convnext(spec: BackboneSpec, *, event_shape: tuple[int, ...], outputs: int, classes: int) -> Isotropic:
    """The isotropic network whose patches are mixed by depthwise convolutions."""
    return Isotropic(
        spec,
        event_shape=event_shape,
        outputs=outputs,
        classes=classes,
        mixing=DepthwiseConvolution,
        placed=False,
    )
