"""How much memory a training takes, told by its network before anything is trained."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from workbench.execution import Execution
from workbench.models import Event, Model
from workbench.nn.cost import cost_of
from workbench.spec import BackboneSpec, MarkovHierarchySpec, ModelSpec, TrunkClassifierSpec

WEIGHT_BYTES = 5 * 4  # float32: a weight, its gradient, two moments of Adam, the average


def backbone_bytes(spec: ModelSpec, event: Event) -> int:
    """What the weights of a model's backbones take in training; 0 for a model without one, or whose backbone sees
    latents. No memory is taken."""
    network = getattr(spec.diffusion if isinstance(spec, TrunkClassifierSpec) else spec, "backbone", None)
    if not isinstance(network, BackboneSpec):
        return 0
    count = 1
    if isinstance(spec, MarkovHierarchySpec):
        count = (spec.stages if spec.decoder == "separate" else 1) + (spec.encoder == "network")
    cost = cost_of(network, event_shape=event.shape, outputs=event.shape[0], classes=event.classes)
    return WEIGHT_BYTES * count * cost.parameters


def training_bytes(model: Model, event: Event, batch_size: int, execution: Execution) -> int:
    """What training takes beside the process itself: the weights with all that is kept for each, and what is kept of
    each row of a batch on its way through the network for the gradient, as counted on one row and on three."""
    weights = WEIGHT_BYTES * sum(p.numel() for p in model.parameters())
    few, more = (_kept(model, event, rows, execution) for rows in (1, 3))
    return weights + batch_size * max(0, more - few) // 2


def _kept(model: Model, event: Event, rows: int, execution: Execution) -> int:
    """The bytes kept for the gradient of a batch, of the objective that keeps most."""
    most = 0
    for objective in model.objectives():
        storages: dict[int, int] = {}

        def keep(kept: Tensor, storages: dict[int, int] = storages) -> Tensor:
            storage = kept.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
            return kept

        images = torch.zeros(rows, *event.shape, device=execution.device)
        labels = torch.zeros(rows, dtype=torch.int64, device=execution.device)
        with saved_tensors_hooks(keep, lambda kept: kept), execution.autocast():
            loss = objective.loss(images, labels, torch.Generator().manual_seed(0))
        most = max(most, sum(storages.values()))
        del loss  # until here it holds all of them, so that no address is used twice
    return most
