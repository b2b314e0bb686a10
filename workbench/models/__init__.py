"""The families of models, behind one interface."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from workbench.models.autoregressive_flow import AutoregressiveFlow
from workbench.models.base import (
    Classifies,
    Event,
    GenerativeModel,
    HasLatent,
    HasLikelihood,
    Model,
    Objective,
    Watch,
)
from workbench.models.classifier import Classifier
from workbench.models.coupling_flow import CouplingFlow
from workbench.models.diffusion import DiffusionModel
from workbench.models.gan import GAN
from workbench.models.ladder_vae import LadderVAE
from workbench.models.latent_diffusion import LatentDiffusion, require_own_data
from workbench.models.markov_hierarchy import MarkovHierarchy
from workbench.models.trunk_classifier import TrunkClassifier
from workbench.models.vae import VAE
from workbench.spec import (
    AutoregressiveFlowSpec,
    ClassifierSpec,
    CouplingFlowSpec,
    DiffusionSpec,
    GANSpec,
    LadderVAESpec,
    LatentDiffusionSpec,
    MarkovHierarchySpec,
    ModelSpec,
    TrunkClassifierSpec,
    VAESpec,
)

__all__ = [
    "GAN",
    "MODELS",
    "VAE",
    "AutoregressiveFlow",
    "Classifier",
    "Classifies",
    "CouplingFlow",
    "DiffusionModel",
    "Event",
    "GenerativeModel",
    "HasLatent",
    "HasLikelihood",
    "LadderVAE",
    "LatentDiffusion",
    "MarkovHierarchy",
    "Model",
    "Objective",
    "TrunkClassifier",
    "Watch",
    "build",
    "require_own_data",
    "restore",
]


# The family of each kind of spec.
MODELS: dict[type[ModelSpec], Callable[[Any, Event], Model]] = {
    AutoregressiveFlowSpec: AutoregressiveFlow,
    ClassifierSpec: Classifier,
    CouplingFlowSpec: CouplingFlow,
    DiffusionSpec: DiffusionModel,
    LadderVAESpec: LadderVAE,
    TrunkClassifierSpec: TrunkClassifier,
    MarkovHierarchySpec: MarkovHierarchy,
    LatentDiffusionSpec: LatentDiffusion,
    VAESpec: VAE,
    GANSpec: GAN,
}


def build(spec: ModelSpec, event: Event) -> Model:
    """The untrained model that `spec` describes, for rows of `event`. Raises UserError for an unknown component."""
    return MODELS[type(spec)](spec, event)


def restore(spec: ModelSpec, event: Event, state: dict[str, Tensor]) -> Model:
    """The trained model with weights `state`, ready for inference."""
    model = build(spec, event)
    model.load_state_dict(state)
    return model.requires_grad_(False).eval()
