"""The diffusion transformer (Peebles & Xie, 2023), with normalised queries and keys (Dehghani et al., 2023)."""

from __future__ import annotations

from torch import nn

from workbench.nn.isotropic import Isotropic
from workbench.nn.transformer import TokenAttention
from workbench.spec import BackboneSpec


def attention(width: int, grid: tuple[int, ...]) -> nn.Module:
    """Patches are mixed by self-attention, whatever the grid."""
    return TokenAttention(width)


def dit(spec: BackboneSpec, *, event_shape: tuple[int, ...], outputs: int, classes: int) -> Isotropic:
    """The isotropic network whose patches are mixed by self-attention; `width` is a multiple of 32."""
    return Isotropic(
        spec, event_shape=event_shape, outputs=outputs, classes=classes, mixing=attention, placed=True
    )
