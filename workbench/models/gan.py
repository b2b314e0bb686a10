"""A generative adversarial network with the relativistic pairing loss and both gradient penalties: R3GAN."""

from __future__ import annotations

import contextlib

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from workbench.execution import has_amx
from workbench.models.base import Event, GenerativeModel, Objective, Watch
from workbench.models.labels import labels_of, require_no_guidance
from workbench.nn.residual import ResidualDiscriminator, ResidualGenerator
from workbench.registry import UserError
from workbench.rng import Draws
from workbench.spec import GANSpec, SamplingSpec


def pairing_loss(winner: Tensor, loser: Tensor) -> Tensor:
    """-log sigmoid(winner - loser) of logits [B], in nats: [B] (Huang et al., 2024, eq. 2).

    The discriminator wants the real row of each pair to win, the generator its own.
    """
    return F.softplus(loser - winner)


def twice_differentiable(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Where networks may be differentiated twice: without autocast on a CPU with AMX.

    There the gradient of a gradient through bf16 convolutions is wrong (torch 2.13): for the penalty of a small
    discriminator its cosine with that in float32 is 0.90, and 0.998 where oneDNN is told to do without AMX.
    """
    if device.type == "cpu" and has_amx():
        return torch.autocast("cpu", enabled=False)
    return contextlib.nullcontext()


def squared_gradient(discriminator: nn.Module, rows: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
    """The logits and |d logit / d row|^2 of each row [B, *S], both [B]; differentiable where gradients are on.

    The gradient is taken even under `no_grad`, so that a validation loss holds the same terms as the training loss.
    """
    differentiable = torch.is_grad_enabled()
    with torch.enable_grad(), twice_differentiable(rows.device):
        inputs = rows.detach().requires_grad_()
        logits: Tensor = discriminator(inputs, labels)
        # No row acts on the logit of another, so the gradient of the sum holds the gradient of each.
        (gradient,) = torch.autograd.grad(logits.sum(), inputs, create_graph=differentiable)
    return logits, gradient.float().square().flatten(1).sum(1)


class GAN(GenerativeModel):
    """A generator and a discriminator, each trained by its own objective.

    With z normal, G rows of the generator and x a real row of the same label,

        discriminator: softplus(D(G(z)) - D(x)) + gamma / 2 (|grad D(x)|^2 + |grad D(G(z))|^2)
        generator:     softplus(D(x) - D(G(z)))

    (Huang et al., 2024, eq. 2 and 7; the penalties are R1 of Mescheder et al., 2018, and R2.) Neither loss tells how
    good the rows are, only who is ahead: at equilibrium both pairing losses are log 2. It has no likelihood.
    """

    def __init__(self, spec: GANSpec, event: Event) -> None:
        super().__init__()
        if spec.gamma < 0:
            raise UserError(f"gamma: {spec.gamma} given; a number from 0 is needed")
        if spec.latent < 1:
            raise UserError(f"latent: {spec.latent} given; a whole number from 1 is needed")
        self.spec, self.event = spec, event
        self.classes = event.classes if spec.conditional else 0
        self.generator = ResidualGenerator(
            latent=spec.latent,
            classes=self.classes,
            event_shape=event.shape,
            width=spec.generator_width,
            multipliers=spec.multipliers,
            blocks=spec.blocks,
            patch=spec.patch,
        )
        self.discriminator = ResidualDiscriminator(
            classes=self.classes,
            event_shape=event.shape,
            width=spec.discriminator_width,
            multipliers=spec.multipliers,
            blocks=spec.blocks,
            patch=spec.patch,
        )

    @torch.no_grad()
    def sample(
        self, draws: Draws, cond: Tensor | None, sampling: SamplingSpec, watch: Watch | None = None
    ) -> Tensor:
        """Rows [B, *S] of the generator, in one evaluation; of `sampling` nothing but the seed behind `draws` counts.

        Raises UserError for guidance, which needs a denoiser, and for wrong labels.
        """
        require_no_guidance(sampling)
        latents = draws.normal("latent", shape=(self.spec.latent,))
        cond = labels_of(len(latents), cond, self.classes, latents.device) if self.classes else None
        rows: Tensor = self.generator(latents, cond)
        if watch is not None:
            watch.evaluations += len(rows)
        return rows.float()

    def generator_loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """How surely the real row of each pair wins, in nats: [B]. No gradient reaches the discriminator."""
        cond = labels if self.classes else None
        # The same values as constants: backward then skips the gradients of the discriminator's weights.
        frozen = {name: value.detach() for name, value in self.discriminator.named_parameters()}
        fake = functional_call(self.discriminator, frozen, (self._rows(images, cond, generator), cond))
        with torch.no_grad():
            real = functional_call(self.discriminator, frozen, (images, cond))
        return pairing_loss(fake, real)

    def discriminator_loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """How surely the generated row of each pair wins, in nats, and the penalties: [B]. The generator is fixed."""
        cond = labels if self.classes else None
        with torch.no_grad():
            generated = self._rows(images, cond, generator)
        both = torch.cat([images, generated.to(images.dtype)])
        logits, slopes = squared_gradient(
            self.discriminator, both, None if cond is None else torch.cat([cond, cond])
        )
        (real, fake), (r1, r2) = logits.chunk(2), slopes.chunk(2)
        return pairing_loss(real, fake) + 0.5 * self.spec.gamma * (r1 + r2)

    def objectives(self) -> tuple[Objective, ...]:
        return (
            Objective(
                name="generator",
                loss=self.generator_loss,
                parameters=self.generator.parameters,
                unit="nats",
            ),
            Objective(
                name="discriminator",
                loss=self.discriminator_loss,
                parameters=self.discriminator.parameters,
                unit="nats",
            ),
        )

    def _rows(self, images: Tensor, cond: Tensor | None, generator: torch.Generator) -> Tensor:
        latents = torch.randn(len(images), self.spec.latent, generator=generator).to(images.device)
        rows: Tensor = self.generator(latents, cond)
        return rows
