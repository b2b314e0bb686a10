"""Backbones: networks of unit-variance input and output that have never heard of diffusion."""

from __future__ import annotations

from collections.abc import Callable

from workbench.nn.base import Backbone
from workbench.nn.convnext import convnext
from workbench.nn.dit import dit
from workbench.nn.mixer import mixer
from workbench.nn.unet import UNet
from workbench.nn.unet_transformer import unet_transformer
from workbench.nn.uvit import UViT
from workbench.registry import look_up
from workbench.spec import BackboneSpec

__all__ = ["BACKBONES", "Backbone", "backbone"]

BACKBONES: dict[str, Callable[..., Backbone]] = {
    "unet": UNet,
    "unet_transformer": unet_transformer,
    "dit": dit,
    "uvit": UViT,
    "convnext": convnext,
    "mixer": mixer,
}


def backbone(spec: BackboneSpec, *, event_shape: tuple[int, ...], outputs: int, classes: int) -> Backbone:
    """The network that `spec` names, for rows of `event_shape` and `outputs` channels out. `classes` 0: no labels."""
    build = look_up(BACKBONES, spec.name, "backbone.name")
    return build(spec, event_shape=event_shape, outputs=outputs, classes=classes)
