"""Diffusion models: discrete-time DDPM and the continuous formulation, in the same terms."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.diffusion.denoiser import Clipped, Denoiser, Guided, Preconditioned
from workbench.diffusion.objectives import denoising_loss
from workbench.diffusion.schedule import schedule_from
from workbench.models.base import Event, Model, Objective
from workbench.nn import backbone
from workbench.spec import DiffusionSpec


class DiffusionModel(Model):
    """A preconditioned denoiser and the loss that trains it.

    With a discrete schedule of T timesteps, noise prediction and uniform weighting of the noise error this is the DDPM
    of Ho et al. (2020), L_simple included; with learned variance that of Nichol & Dhariwal (2021), L_hybrid.
    """

    def __init__(self, spec: DiffusionSpec, event: Event) -> None:
        super().__init__()
        self.spec, self.event = spec, event
        self.classes = event.classes if spec.conditional else 0
        learned = spec.variance == "learned"
        outputs = event.shape[0] * (2 if learned else 1)
        self.preconditioned = Preconditioned(
            backbone(spec.backbone, event_shape=event.shape, outputs=outputs, classes=self.classes),
            schedule_from(spec.schedule),
            prediction=spec.prediction,
            data_std=event.std,
            learned_variance=learned,
        )

    def denoiser(self, *, guidance: float = 1.0, clip: bool = False) -> Denoiser:
        """The trained denoiser, guided by labels when `guidance` is not 1, its mean clipped to [-1, 1] on request."""
        denoiser: Denoiser = self.preconditioned
        if guidance != 1.0:
            denoiser = Guided(denoiser, guidance, null_label=self.classes)
        return Clipped(denoiser) if clip else denoiser

    def loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """The denoising loss of each row: [B]."""
        condition = labels if self.spec.conditional else None
        if condition is not None and self.spec.label_dropout:
            dropped = torch.rand(len(labels), generator=generator) < self.spec.label_dropout
            condition = labels.masked_fill(dropped.to(labels.device), self.classes)
        return denoising_loss(self.preconditioned, images, condition, spec=self.spec, generator=generator)

    def objectives(self) -> tuple[Objective, ...]:
        return (
            Objective(name="denoising", loss=self.loss, parameters=self.parameters, unit="squared error"),
        )
