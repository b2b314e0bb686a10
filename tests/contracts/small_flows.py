"""Small flows of each kind, and images for them."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.data import to_float
from workbench.models import (
    AutoregressiveFlow,
    CouplingFlow,
    Event,
    build,
)
from workbench.rng import stream
from workbench.spec import (
    AutoregressiveFlowSpec,
    CouplingFlowSpec,
    with_fields,
)

Spec = CouplingFlowSpec | AutoregressiveFlowSpec
Flow = CouplingFlow | AutoregressiveFlow
EVENT = Event(shape=(1, 4, 4), classes=3, levels=17, std=0.5)
SPECS: dict[str, Spec] = {
    "coupling": CouplingFlowSpec(scales=2, steps=2, width=8),
    "autoregressive": AutoregressiveFlowSpec(patch=2, blocks=2, layers=2, width=32, noise_std=0.2),
}


def flow(name: str, event: Event = EVENT, std: float = 0.1, **fields: object) -> Flow:
    """A flow in float64 whose weights are moved from their start, so that every branch counts (std 0: a fresh one)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(with_fields(SPECS[name], fields), event)
        for parameter in model.parameters():
            parameter.data += std * torch.randn_like(parameter)
    assert isinstance(model, Flow)
    return model.double().eval()


def levels(rows: int, event: Event = EVENT) -> Tensor:
    values = torch.randint(0, event.levels, (rows, *event.shape), generator=stream(0, "levels"))
    return to_float(values, event.levels).double()


LABELS = torch.tensor([0, 1, 2, 1])
