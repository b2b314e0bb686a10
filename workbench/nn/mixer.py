"""The MLP-Mixer (Tolstikhin et al., 2021) with modulated norms: neither attention nor convolution, a plain control."""

from __future__ import annotations

import math

from torch import Tensor, nn

from workbench.nn.isotropic import Isotropic
from workbench.nn.transformer import Mlp
from workbench.spec import BackboneSpec


class TokenMlp(nn.Module):
    """The same MLP over the patches for each channel, width / 2 hidden units as in the paper: [B, P, C] -> same."""

    def __init__(self, width: int, grid: tuple[int, ...]) -> None:
        super().__init__()
        self.mlp = Mlp(math.prod(grid), max(1, width // 2))

    def forward(self, h: Tensor) -> Tensor:
        out: Tensor = self.mlp(h.mT).mT
        return out


def mixer(spec: BackboneSpec, *, event_shape: tuple[int, ...], outputs: int, classes: int) -> Isotropic:
    """The isotropic network whose patches are mixed by an MLP over all of them."""
    return Isotropic(
        spec, event_shape=event_shape, outputs=outputs, classes=classes, mixing=TokenMlp, placed=False
    )
