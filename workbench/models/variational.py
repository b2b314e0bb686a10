"""What every variational autoencoder shares: the bound on the likelihood, and all that follows from it.

Latents are written so that their prior is a standard normal, in every family: rows are drawn by decoding noise.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from workbench.models.base import Event, GenerativeModel, Interpolation, LikelihoodKind, Objective, Watch
from workbench.models.labels import require_no_guidance
from workbench.nn.towers import DownTower
from workbench.registry import UserError
from workbench.rng import Draws
from workbench.spec import LadderVAESpec, SamplingSpec, VAESpec

IMPORTANCE_SAMPLES = 8
LOG_STD_LIMIT = 5.0


@dataclass(frozen=True, kw_only=True)
class DiagonalNormal:
    """A normal with independent values, mean and log of the standard deviation [B, Z, *S] in float32."""

    mean: Tensor
    log_std: Tensor

    @classmethod
    def of(cls, outputs: Tensor) -> DiagonalNormal:
        """From a network's outputs [B, 2 Z, *S]: standard where they are zero, its log-deviation within 5 of 0
        (Vahdat & Kautz, 2020, bound it likewise)."""
        mean, log_std = outputs.float().chunk(2, dim=1)
        return cls(mean=mean, log_std=LOG_STD_LIMIT * torch.tanh(log_std / LOG_STD_LIMIT))

    def at(self, noise: Tensor) -> Tensor:
        """The value that standard normal noise [B, Z, *S] stands for: mean + std * noise."""
        return torch.addcmul(self.mean, self.log_std.exp(), noise)

    def divergence(self) -> Tensor:
        """The Kullback-Leibler divergence from the standard normal, in nats a value: [B, Z, *S]."""
        return 0.5 * (self.mean.square() + (2 * self.log_std).exp() - 1) - self.log_std

    def log_ratio(self, noise: Tensor) -> Tensor:
        """log N(z; 0, 1) - log N(z; mean, std) at z = at(noise), in nats a value: [B, Z, *S]."""
        return 0.5 * (noise.square() - self.at(noise).square()) + self.log_std


@dataclass(frozen=True, kw_only=True)
class Inference:
    """What one pass through encoder and decoder says of a batch: `log_likelihood` log p(x | z) in nats a row [B], and
    for each layer the posterior and the noise that it was drawn with, [B, Z, *S] each."""

    log_likelihood: Tensor
    posteriors: tuple[DiagonalNormal, ...]
    noises: tuple[Tensor, ...]

    def divergences(self) -> tuple[Tensor, ...]:
        """The divergence of posterior from prior of each channel of each layer, in nats: [B, Z] each.

        For a layer below the first it is the one given the values drawn above it, whose mean is what the bound needs.
        """
        values = (posterior.divergence() for posterior in self.posteriors)
        return tuple(value.reshape(*value.shape[:2], -1).sum(2) for value in values)

    def log_weight(self) -> Tensor:
        """log p(x, z) - log q(z | x) in nats: [B]."""
        ratios = (
            q.log_ratio(noise).flatten(1).sum(1)
            for q, noise in zip(self.posteriors, self.noises, strict=True)
        )
        return sum(ratios, start=self.log_likelihood)


def charged(divergences: Tensor, free_nats: float) -> Tensor:
    """The divergences [B, Z] that are paid for: a channel whose mean over the batch is below `free_nats` costs that
    much and has no gradient (Kingma et al., 2016, eq. 10, C.8)."""
    return torch.where(divergences.mean(0) < free_nats, free_nats, divergences)


class VariationalModel(GenerativeModel):
    """A model with latents z [B, *latent_shape], standard normal a priori, that is trained by the variational bound

        log p(x) >= E_q [log p(x | z)] - KL(q(z | x) || p(z))

    (Kingma & Welling, 2014). The objective is its negative in nats a value of x, the divergence weighted by `beta`
    after the free bits are taken off; the likelihood that is reported knows of neither.
    """

    likelihood_kind: LikelihoodKind = "bound"
    interpolation: Interpolation = "spherical"
    latent_shape: tuple[int, ...]
    labels: Labels
    encoder: DownTower

    def __init__(self, event: Event, *, beta: float, free_bits: float, conditional: bool) -> None:
        super().__init__()
        for field, value in (("beta", beta), ("free_bits", free_bits)):
            if not 0 <= value < math.inf:
                raise UserError(f"model.{field}: {value} given; a number from 0 is needed")
        self.event, self.beta, self.free_nats = event, beta, free_bits * math.log(2)
        self.classes = event.classes if conditional else 0

    def features(self, images: Tensor, cond: Tensor | None) -> list[Tensor]:
        """What the encoder sees in images [B, *S] with labels [B]: [B, C, *S_l] of each level, finest first."""
        features: list[Tensor] = self.encoder(images, self.labels(cond))
        return features

    def infer(self, images: Tensor, cond: Tensor | None, noise: Tensor) -> Inference:
        """One pass for images [B, *S] and labels [B], the latents drawn with noise [B, *latent_shape]."""
        return self.infer_from(self.features(images, cond), images, cond, noise)

    @abstractmethod
    def infer_from(
        self, features: Sequence[Tensor], images: Tensor, cond: Tensor | None, noise: Tensor
    ) -> Inference:
        """`infer`, given the `features` of the images: many draws of their latents need these once."""

    @abstractmethod
    def encode(self, images: Tensor, cond: Tensor | None) -> Tensor:
        """The means [B, *latent_shape] of the latents of images [B, *S]."""

    @abstractmethod
    def decode(self, latents: Tensor, cond: Tensor | None) -> Tensor:
        """The images [B, *S] of latents [B, *latent_shape]: the median of each value's law, without its noise."""

    def loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """The negative bound in nats a value, its divergence weighted: [B]."""
        seen = self.infer(images, labels, self._noise(images, generator))
        cost = sum(charged(divergences, self.free_nats).sum(1) for divergences in seen.divergences())
        return (self.beta * cost - seen.log_likelihood) / images[0].numel()

    def objectives(self) -> tuple[Objective, ...]:
        return (Objective(name="bound", loss=self.loss, parameters=self.parameters, unit="nats a value"),)

    def log_prob(self, images: Tensor, cond: Tensor | None, generator: torch.Generator) -> Tensor:
        """A lower bound in expectation on the log-probability in nats of each image [B, *S]: [B].

        The importance-weighted bound of Burda et al. (2016, eq. 8) with IMPORTANCE_SAMPLES draws, at least as tight as
        that of the objective.
        """
        features = self.features(images, cond)
        weights = [
            self.infer_from(features, images, cond, self._noise(images, generator)).log_weight()
            for _ in range(IMPORTANCE_SAMPLES)
        ]
        return torch.stack(weights).logsumexp(0) - math.log(IMPORTANCE_SAMPLES)

    def sample(
        self, draws: Draws, cond: Tensor | None, sampling: SamplingSpec, watch: Watch | None = None
    ) -> Tensor:
        """Rows [B, *S]: the decoder's medians for latents from the prior. Raises UserError for guidance."""
        require_no_guidance(sampling)
        if watch is not None:
            watch.evaluations += len(draws)
        return self.decode(draws.normal("latent", shape=self.latent_shape), cond)

    def _noise(self, images: Tensor, generator: torch.Generator) -> Tensor:
        return torch.randn(len(images), *self.latent_shape, generator=generator).to(images.device)


class Labels(nn.Module):
    """Label embedding, labels [B] -> [B, width]; None for a model without labels (`classes` 0), whatever it is given.

    Raises UserError when a model with labels is given none.
    """

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.width = width if classes else 0
        self.table = nn.Embedding(classes, width) if classes else None

    def forward(self, labels: Tensor | None) -> Tensor | None:
        if self.table is None:
            return None
        if labels is None:
            raise UserError("labels: none given to a model that was trained with them; each row needs one")
        out: Tensor = self.table(labels)
        return out


def require_sizes(spec: VAESpec | LadderVAESpec) -> None:
    """Raises UserError for a size in `spec` that is not a positive whole number."""
    sizes = {"width": (spec.width,), "multipliers": spec.multipliers, "patch": (spec.patch,)}
    sizes |= {"latent_width": (spec.latent_width,)}
    sizes |= {"blocks": (spec.blocks,)} if isinstance(spec, VAESpec) else {}
    for field, values in sizes.items():
        if not values or min(values) < 1:
            raise UserError(f"model.{field}: {getattr(spec, field)} given; whole numbers from 1 are needed")
