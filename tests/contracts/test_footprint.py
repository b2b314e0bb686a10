"""What a training takes is told before it: of weights exactly, of rows by what autograd keeps."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from workbench.data import load
from workbench.execution import Execution
from workbench.footprint import WEIGHT_BYTES, backbone_bytes, training_bytes
from workbench.models import Event, Model, Objective, build
from workbench.spec import (
    BackboneSpec,
    ClassifierSpec,
    DataSpec,
    DiffusionSpec,
    MarkovHierarchySpec,
    TrunkClassifierSpec,
)

EVENT = Event.of(load(DataSpec()))
CPU = Execution()


class TwoLayers(Model):
    """Of 64 values and 10 hidden ones, with a hidden row and its rectified twin to keep."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 10, bias=False), nn.Linear(10, 1, bias=False)

    def objectives(self) -> tuple[Objective, ...]:
        return (Objective(name="mean", loss=self.loss, parameters=self.parameters, unit=""),)

    def loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        kept = (images.flatten(1) + 1).requires_grad_(False)
        return self.second(self.first(kept).relu()).squeeze(1)


def test_weights_and_what_each_row_keeps_are_counted() -> None:
    model = TwoLayers()
    weights = WEIGHT_BYTES * (640 + 10)
    row = 4 * (
        64 + 10
    )  # the input of the first layer; the rectified values serve the second layer and themselves
    assert training_bytes(model, EVENT, 1, CPU) == weights + row
    assert training_bytes(model, EVENT, 100, CPU) == weights + 100 * row


def test_a_network_is_weighed_without_being_made() -> None:
    spec = DiffusionSpec(backbone=BackboneSpec(width=32, multipliers=(1,), attention=(False,)))
    model = build(spec, EVENT)
    backbone = sum(p.numel() for p in model.preconditioned.backbone.parameters())
    assert backbone_bytes(spec, EVENT) == WEIGHT_BYTES * backbone
    huge = replace(spec, backbone=replace(spec.backbone, width=320_000))
    assert backbone_bytes(huge, EVENT) > 10**13
    assert backbone_bytes(TrunkClassifierSpec(diffusion=huge), EVENT) > 10**13
    one = MarkovHierarchySpec(backbone=spec.backbone, stages=4)
    five = replace(one, decoder="separate", encoder="network")
    assert backbone_bytes(five, EVENT) == 5 * backbone_bytes(one, EVENT)
    assert backbone_bytes(ClassifierSpec(), EVENT) == 0


def test_wider_networks_and_larger_batches_take_more() -> None:
    def taken(width: int, batch: int) -> int:
        spec = DiffusionSpec(backbone=BackboneSpec(width=width, multipliers=(1,), attention=(False,)))
        return training_bytes(build(spec, EVENT), EVENT, batch, CPU)

    assert taken(32, 16) < taken(32, 64) < taken(64, 64)
