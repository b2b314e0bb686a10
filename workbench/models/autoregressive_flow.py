"""A transformer autoregressive flow of the TarFlow kind (Zhai et al., 2024)."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from workbench.flows import CausalAffine, Chain, bits_a_value, standard_normal
from workbench.levels import require_levels, rounding_log_prob, spacing
from workbench.models.base import Event, GenerativeModel, LikelihoodKind, Objective, Watch
from workbench.models.labels import labels_of, require_no_guidance
from workbench.nn.patches import on_grid, to_tokens, unfold
from workbench.registry import UserError
from workbench.rng import Draws
from workbench.spec import AutoregressiveFlowSpec, SamplingSpec


class AutoregressiveFlow(GenerativeModel):
    """Noisy images y = x + noise_std * normal <-> standard normals, by `blocks` of `CausalAffine` over patches that
    alternate in direction; trained by maximum likelihood of y (Zhai et al., 2024, sections 2.2 to 2.4).

    Samples are cleaned by one step along the score, x = y + noise_std^2 d log p(y) / dy, which is the mean of x given y
    (Tweedie's formula; section 2.5).
    """

    likelihood_kind: LikelihoodKind = "bound"
    unit: ClassVar[str] = "bits a value"

    def __init__(self, spec: AutoregressiveFlowSpec, event: Event) -> None:
        super().__init__()
        check(spec, event)
        self.spec, self.event = spec, event
        self.classes = event.classes if spec.conditional else 0
        self.values = math.prod(event.shape)
        self.sides = tuple(side // spec.patch for side in event.shape[1:])  # in patches
        self.tokens = math.prod(self.sides)
        self.flow = Chain(
            CausalAffine(
                tokens=self.tokens,
                token_width=self.values // self.tokens,
                width=spec.width,
                layers=spec.layers,
                classes=self.classes,
                dropout=spec.dropout,
                backwards=index % 2 == 1,
            )
            for index in range(spec.blocks)
        )

    def patches(self, images: Tensor) -> Tensor:
        """Images [B, *S] as tokens [B, T, P]."""
        return to_tokens(images, self.spec.patch)

    def joined(self, tokens: Tensor) -> Tensor:
        """Tokens [B, T, P] as images [B, *S]."""
        return unfold(on_grid(tokens, self.sides), self.spec.patch)

    def log_density(self, noisy: Tensor, labels: Tensor) -> Tensor:
        """The exact log-density in nats of noisy images [B, *S]: [B]."""
        z, log_det = self.flow.forward(self.patches(noisy), labels)
        return standard_normal(z) + log_det

    def log_prob(self, images: Tensor, cond: Tensor | None, generator: torch.Generator) -> Tensor:
        """A lower bound in nats, at one draw of the noise, of the log-probability of each image [B, *S]: [B].

        The flow is a density of noisy images, so what is bounded is the model "draw y from the flow, then round each
        value to a level in proportion to N(y; level, noise_std^2)". With q(y | x) the noise of training,
        log P(x) >= E_q[log p(y) + log P(x | y) - log q(y | x)], of which training maximises the one term that depends
        on the weights. Samples take the mean of x given y instead of a rounding. Raises UserError for images that are
        not of the data's levels and for wrong labels.
        """
        require_levels(images, self.event.levels)
        labels = labels_of(len(images), cond, self.classes, images.device)
        std = self.spec.noise_std
        noise = self.noise(images, generator)
        noisy = images + std * noise
        log_q = standard_normal(noise) - self.values * math.log(std)
        rounding = rounding_log_prob(images, noisy, std, self.event.levels)
        return self.log_density(noisy, labels) + rounding - log_q

    def loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """The negative log-density of noisy images, a value counted in spacings of the levels, in bits a value: [B].

        For noise that is wide against the spacing, this is the negative of `log_prob`.
        """
        given = labels_of(len(images), labels, self.classes, images.device)
        noisy = images + self.spec.noise_std * self.noise(images, generator)
        cell = self.values * math.log(spacing(self.event.levels))
        return bits_a_value(self.log_density(noisy, given) + cell, self.values)

    def noise(self, images: Tensor, generator: torch.Generator) -> Tensor:
        return torch.randn(images.shape, generator=generator, dtype=images.dtype).to(images.device)

    def objectives(self) -> tuple[Objective, ...]:
        return (Objective(name="likelihood", loss=self.loss, parameters=self.parameters, unit=self.unit),)

    def sample(
        self, draws: Draws, cond: Tensor | None, sampling: SamplingSpec, watch: Watch | None = None
    ) -> Tensor:
        """Rows [B, *S]: patch by patch through each block, then one step of denoising.

        An evaluation is a call that has to wait for the one before it: each patch of each block one, the score at the
        end one. So a row takes blocks * patches + 1 evaluations, each but the last of one patch in one block only.
        Raises UserError for guidance and for wrong labels.
        """
        require_no_guidance(sampling)
        latents = draws.normal("latent", shape=self.event.shape)
        labels = labels_of(len(latents), cond, self.classes, latents.device)
        noisy = self.joined(self.flow.inverse(self.patches(latents), labels))
        if watch is not None:
            watch.evaluations += len(draws) * self.evaluations(sampling)
        return self.denoised(noisy, labels).clamp(-1, 1)

    def evaluations(self, sampling: SamplingSpec) -> int:
        return self.spec.blocks * self.tokens + 1

    def denoised(self, noisy: Tensor, labels: Tensor) -> Tensor:
        """noisy + noise_std^2 d log p(noisy) / d noisy: [B, *S] -> [B, *S]."""
        with torch.enable_grad():
            y = noisy.detach().requires_grad_()
            (score,) = torch.autograd.grad(self.log_density(y, labels).sum(), y)
        return noisy + self.spec.noise_std**2 * score


def check(spec: AutoregressiveFlowSpec, event: Event) -> None:
    """Raises UserError for sizes that are not positive, no noise, and sides that `patch` does not divide."""
    for name in ("patch", "blocks", "layers", "width"):
        if getattr(spec, name) < 1:
            raise UserError(f"model.{name}: {getattr(spec, name)} given; this flow needs at least 1")
    if not spec.noise_std > 0:
        raise UserError(
            f"model.noise_std: {spec.noise_std} given; a flow of levels needs noise of a positive deviation"
        )
    sides = event.shape[1:]
    if not sides or any(side % spec.patch for side in sides):
        raise UserError(f"model.patch: {spec.patch} given; it must divide each side of {tuple(sides)}")
