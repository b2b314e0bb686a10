"""The variational autoencoder (Kingma & Welling, 2014; Rezende et al., 2014), convolutional."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch.nn.functional as F
from torch import Tensor, nn

from workbench.models.base import Event
from workbench.models.likelihood import DiscretisedLogistic
from workbench.models.variational import (
    DiagonalNormal,
    Inference,
    Labels,
    VariationalModel,
    require_sizes,
)
from workbench.nn.layers import ChannelNorm, convolution, in_float32, zeroed
from workbench.nn.patches import lowest_sides
from workbench.nn.towers import DownTower, Flat, ToImage, Unflat, UpTower
from workbench.registry import unknown
from workbench.spec import VAESpec

LATENTS = ("vector", "spatial")


class VAE(VariationalModel):
    """One layer of latents between a convolutional encoder and its mirror, both told the label.

    A vector latent [Z] suits drawing from the prior; a spatial one [Z, *S_low] is what a diffusion model of latents
    wants (Rombach et al., 2022). The posterior of a fresh model is the prior.
    """

    def __init__(self, spec: VAESpec, event: Event) -> None:
        super().__init__(event, beta=spec.beta, free_bits=spec.free_bits, conditional=spec.conditional)
        require_sizes(spec)
        if spec.latent not in LATENTS:
            raise unknown("model.latent", spec.latent, LATENTS)
        channels, sides = event.shape[0], event.shape[1:]
        widths = tuple(spec.width * multiplier for multiplier in spec.multipliers)
        rank, top = len(sides), widths[-1]
        low = lowest_sides(sides, spec.patch, len(widths))
        labels = Labels(self.classes, 2 * spec.width)
        self.labels, embedding = labels, labels.width
        self.encoder = DownTower(
            widths,
            event_shape=event.shape,
            patch=spec.patch,
            blocks=spec.blocks,
            embedding=embedding,
            dropout=spec.dropout,
        )
        self.norm = ChannelNorm(top)
        self.to_posterior: nn.Module
        self.from_latent: nn.Module
        if spec.latent == "vector":
            self.latent_shape = (spec.latent_width,)
            self.to_posterior = nn.Sequential(
                Flat(), zeroed(nn.Linear(top * prod(low), 2 * spec.latent_width))
            )
            self.from_latent = nn.Sequential(nn.Linear(spec.latent_width, top * prod(low)), Unflat(low))
        else:
            self.latent_shape = (spec.latent_width, *low)
            self.to_posterior = zeroed(convolution(rank, top, 2 * spec.latent_width, 1))
            self.from_latent = convolution(rank, spec.latent_width, top, 1)
        self.decoder = UpTower(
            widths, rank=rank, blocks=spec.blocks, embedding=embedding, dropout=spec.dropout
        )
        self.to_image = ToImage(widths[0], outputs=2 * channels, sides=sides, patch=spec.patch)

    def posterior(self, images: Tensor, cond: Tensor | None) -> DiagonalNormal:
        """q(z | x) for images [B, *S] and labels [B]."""
        return self._posterior(self.features(images, cond))

    def likelihood(self, latents: Tensor, cond: Tensor | None) -> DiscretisedLogistic:
        """p(x | z) for latents [B, *latent_shape] and labels [B]."""
        h = self.decoder(self.from_latent(latents), self.labels(cond))
        outputs = in_float32(self.to_image, h)
        return DiscretisedLogistic.of(outputs, levels=self.event.levels, std=self.event.std)

    def infer_from(
        self, features: Sequence[Tensor], images: Tensor, cond: Tensor | None, noise: Tensor
    ) -> Inference:
        posterior = self._posterior(features)
        likelihood = self.likelihood(posterior.at(noise), cond)
        return Inference(
            log_likelihood=likelihood.log_prob(images).flatten(1).sum(1),
            posteriors=(posterior,),
            noises=(noise,),
        )

    def encode(self, images: Tensor, cond: Tensor | None) -> Tensor:
        return self.posterior(images, cond).mean

    def decode(self, latents: Tensor, cond: Tensor | None) -> Tensor:
        return self.likelihood(latents, cond).median()

    def _posterior(self, features: Sequence[Tensor]) -> DiagonalNormal:
        return DiagonalNormal.of(in_float32(self.to_posterior, F.silu(self.norm(features[-1]))))
