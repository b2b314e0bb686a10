"""A classifier on the trunk of a denoiser: fine-tuned from a trained one, or the same network from scratch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.models.base import Event, Model, Objective
from workbench.models.classifier import SMOOTHING, shifted
from workbench.models.diffusion import DiffusionModel
from workbench.nn.base import Backbone
from workbench.nn.cost import feature_sizes
from workbench.nn.layers import in_float32
from workbench.nn.pooling import as_read, pooled
from workbench.registry import UserError
from workbench.spec import TrunkClassifierSpec


class TrunkClassifier(Model):
    """What every block of the network puts out, normalised and through SiLU (`as_read`) and averaged to a grid of
    `side` cells a side, and a linear layer of logits on all of it.

    The image goes in as a diffusion model at noise level `time` would see it, without a label; in training with fresh
    noise, else with the mean of the noise. Trained as `Classifier` is: cross-entropy on images shifted by up to
    `shift_pixels` and labels smoothed.
    """

    def __init__(self, spec: TrunkClassifierSpec, event: Event) -> None:
        super().__init__()
        if not 0 < spec.time < 1:
            raise UserError(f"model.time: {spec.time:g} given; a noise level above 0 and below 1 is needed")
        if spec.side < 1:
            raise UserError(f"model.side: {spec.side} given; a whole number from 1 is needed")
        if spec.start is not None and spec.start.model != spec.diffusion:
            raise UserError(
                f"model.start: trains {type(spec.start.model).__name__.removesuffix('Spec')}, another model than that "
                "whose network is fine-tuned; the same is needed"
            )
        self.spec, self.event = spec, event
        self.diffusion = DiffusionModel(spec.diffusion, event)
        sizes = feature_sizes(self._backbone, event.shape, spec.side)
        self.layers = tuple(sizes)
        self.head = nn.Linear(sum(sizes.values()), event.classes)

    @property
    def _backbone(self) -> Backbone:
        network = self.diffusion.preconditioned.backbone
        assert isinstance(network, Backbone)
        return network

    def adopt(self, inner: Sequence[Mapping[str, Tensor]]) -> None:
        """The weights of the trained denoiser, where the spec names one. Raises UserError where it is not given, or one
        is given that the spec does not name."""
        wanted = 0 if self.spec.start is None else 1
        if len(inner) != wanted:
            raise UserError(
                f"model.start: weights of {len(inner)} fits given; {wanted} are named by the spec"
            )
        for weights in inner:
            self.diffusion.load_state_dict(dict(weights))

    def probabilities(self, images: Tensor) -> Tensor:
        """Class probabilities: images [N, *S] in [-1, 1] -> [N, classes]."""
        return in_float32(self.head, self._features(images, torch.zeros_like(images))).softmax(dim=1)

    def loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Cross-entropy in nats: [B]."""
        moved = shifted(images, self.spec.shift_pixels, generator)
        noise = torch.randn(moved.shape, generator=generator).to(moved)
        logits = self.head(self._features(moved, noise)).float()
        return F.cross_entropy(logits, labels, label_smoothing=SMOOTHING, reduction="none")

    def objectives(self) -> tuple[Objective, ...]:
        return (Objective(name="cross_entropy", loss=self.loss, parameters=self.parameters, unit="nats"),)

    def _features(self, images: Tensor, noise: Tensor) -> Tensor:
        denoiser = self.diffusion.preconditioned
        t = torch.tensor(self.spec.time, dtype=torch.float64, device=images.device)
        alpha, sigma = (float(value) for value in denoiser.schedule(t))
        x_t = alpha * images + sigma * noise
        seen = self._backbone.features(*denoiser.inputs(x_t, t), None, self.layers)
        return torch.cat([pooled(as_read(seen[name]), self.spec.side) for name in self.layers], dim=1)
