"""Backbones: networks of unit-variance input and output that have never heard of diffusion."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from workbench.nn.unet import UNet
from workbench.registry import look_up
from workbench.spec import BackboneSpec

BACKBONES: dict[str, Callable[..., nn.Module]] = {"unet": UNet}


def backbone(spec: BackboneSpec, *, event_shape: tuple[int, ...], outputs: int, classes: int) -> nn.Module:
    """The network that `spec` names, for rows of `event_shape` and `outputs` channels out. `classes` 0: no labels."""
    build = look_up(BACKBONES, spec.name, "backbone.name")
    return build(spec, event_shape=event_shape, outputs=outputs, classes=classes)
