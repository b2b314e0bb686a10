"""Small Markovian hierarchies for tests: one of each kind, with weights that are not at their start."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from workbench.data import to_float
from workbench.models import Event, MarkovHierarchy, build
from workbench.nn import Backbone
from workbench.nn.layers import zeroed
from workbench.rng import stream
from workbench.spec import (
    BackboneSpec,
    MarkovHierarchySpec,
)

BACKBONE = BackboneSpec(width=16, multipliers=(1,), attention=(False,), patch=2)
SPEC = MarkovHierarchySpec(backbone=BACKBONE, stages=5)
PLAIN = replace(SPEC, conditional=False)
VARIANTS: dict[str, MarkovHierarchySpec] = {
    "diffusion": SPEC,
    "denoising": replace(SPEC, objective="denoising"),
    "schedule": replace(SPEC, encoder="schedule"),
    "network": replace(SPEC, encoder="network"),
    "quarter": replace(SPEC, latent_share=0.25, encoder="network"),
    "separate": replace(SPEC, decoder="separate"),
    "one_stage": replace(SPEC, stages=1),
}
EVENT = Event(shape=(1, 8, 8), classes=2, levels=17, std=0.9)


def model_of(spec: MarkovHierarchySpec, event: Event = EVENT, *, silent: bool = False) -> MarkovHierarchy:
    """The model with networks of random weights, all of which count, or with networks that say zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(spec, event)
        assert isinstance(model, MarkovHierarchy)
        for network in (*model.networks, *([model.encoder] if model.encoder else [])):
            assert isinstance(network, Backbone)
            if silent:
                zeroed(network.last)
                continue
            for parameter in network.parameters():
                torch.nn.init.normal_(parameter, std=0.2)
    return model


def images_of(event: Event, rows: int) -> Tensor:
    levels = torch.randint(0, event.levels, (rows, *event.shape), generator=stream(0, "images"))
    return to_float(levels, event.levels)
