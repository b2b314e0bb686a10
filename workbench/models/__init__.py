"""The families of models, behind one interface."""

from __future__ import annotations

from torch import Tensor

from workbench.models.base import Event, Model, Objective
from workbench.models.classifier import Classifier
from workbench.models.diffusion import DiffusionModel
from workbench.spec import ClassifierSpec, ModelSpec

__all__ = ["Classifier", "DiffusionModel", "Event", "Model", "Objective", "build", "restore"]


def build(spec: ModelSpec, event: Event) -> Model:
    """The untrained model that `spec` describes, for rows of `event`. Raises UserError for an unknown component."""
    if isinstance(spec, ClassifierSpec):
        return Classifier(spec, event)
    return DiffusionModel(spec, event)


def restore(spec: ModelSpec, event: Event, state: dict[str, Tensor]) -> Model:
    """The trained model with weights `state`, ready for inference."""
    model = build(spec, event)
    model.load_state_dict(state)
    return model.requires_grad_(False).eval()
