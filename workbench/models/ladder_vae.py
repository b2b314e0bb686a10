"""The hierarchical variational autoencoder with a shared top-down path (Sønderby et al., 2016; Child, 2021)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import cast

import torch
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
from workbench.nn.towers import DownTower, Flat, ToImage, Unflat
from workbench.nn.unet import ResidualBlock, double
from workbench.registry import UserError
from workbench.spec import LadderVAESpec


class LadderLayer(nn.Module):
    """One stochastic layer: the state h [B, C, *S] gives the prior of z, and the value of z moves the state on.

    The prior is normal with mean and deviation from h; z = mean + deviation * e, with e standard normal a priori. The
    posterior is that of e, from h and the encoder's features of the same resolution: a residual of the prior as in
    NVAE (Vahdat & Kautz, 2020, section 3.2), here in units of the prior's deviation. Fresh, both are standard normal.
    """

    def __init__(self, rank: int, width: int, latent: int, embedding: int, dropout: float) -> None:
        super().__init__()
        self.norm = ChannelNorm(width)
        self.to_prior = zeroed(convolution(rank, width, 2 * latent, 1))
        self.compare = ResidualBlock(rank, 2 * width, width, embedding, False, dropout)
        self.norm_posterior = ChannelNorm(width)
        self.to_posterior = zeroed(convolution(rank, width, 2 * latent, 1))
        self.from_latent = convolution(rank, latent, width, 1)
        self.block = ResidualBlock(rank, width, width, embedding, False, dropout)

    def posterior(self, h: Tensor, features: Tensor, embedding: Tensor | None) -> DiagonalNormal:
        """The posterior of the standardised latents, given the state and the encoder's features [B, C, *S]."""
        compared = self.compare(torch.cat([h, features], dim=1), embedding)
        return DiagonalNormal.of(in_float32(self.to_posterior, F.silu(self.norm_posterior(compared))))

    def forward(self, h: Tensor, standardised: Tensor, embedding: Tensor | None) -> Tensor:
        prior = DiagonalNormal.of(in_float32(self.to_prior, F.silu(self.norm(h))))
        out: Tensor = self.block(h + self.from_latent(prior.at(standardised)), embedding)
        return out


# The standardised latents [B, Z, *S] of a layer, from its number, its level, itself and the state [B, C, *S] there.
Choose = Callable[[int, int, LadderLayer, Tensor], Tensor]


class LadderVAE(VariationalModel):
    """Stochastic layers over several resolutions, drawn from the coarsest down on one path that prior and posterior
    share; the encoder's features enter where the posterior is asked for.

    The latents of a row are those of all layers, the coarsest first, in units of their priors: [Z] in one vector, a
    standard normal a priori.
    """

    def __init__(self, spec: LadderVAESpec, event: Event) -> None:
        super().__init__(event, beta=spec.beta, free_bits=spec.free_bits, conditional=spec.conditional)
        require_sizes(spec)
        if len(spec.layers) != len(spec.multipliers) or min(spec.layers) < 0 or not any(spec.layers):
            raise UserError(
                f"model.layers: {spec.layers} given; a whole number from 0 for each of the {len(spec.multipliers)} "
                "levels is needed, and one layer in all at the least"
            )
        channels, sides = event.shape[0], event.shape[1:]
        widths = tuple(spec.width * multiplier for multiplier in spec.multipliers)
        rank = len(sides)
        self.labels = Labels(self.classes, 2 * spec.width)
        embedding = self.labels.width
        self.encoder = DownTower(
            widths,
            event_shape=event.shape,
            patch=spec.patch,
            blocks=1,
            embedding=embedding,
            dropout=spec.dropout,
        )
        low = lowest_sides(sides, spec.patch, len(widths))
        self.start = nn.Parameter(torch.randn(1, widths[-1], *low))
        self.widen, self.levels = nn.ModuleList(), nn.ModuleList()
        self.join, self.part = Flat(), nn.ModuleList()
        below, sizes = widths[-1], list[int]()
        for level, (width, layers) in enumerate(zip(reversed(widths), reversed(spec.layers), strict=True)):
            here = tuple(side << level for side in low)
            self.widen.append(nn.Identity() if width == below else convolution(rank, below, width, 1))
            self.levels.append(
                nn.ModuleList(
                    LadderLayer(rank, width, spec.latent_width, embedding, spec.dropout)
                    for _ in range(layers)
                )
            )
            self.part.extend(Unflat(here) for _ in range(layers))
            sizes += [spec.latent_width * prod(here)] * layers
            below = width
        self.sizes = sizes  # values of a row's latents in each layer, the coarsest first
        self.latent_shape = (sum(sizes),)
        self.to_image = ToImage(widths[0], outputs=2 * channels, sides=sides, patch=spec.patch)

    def infer_from(
        self, features: Sequence[Tensor], images: Tensor, cond: Tensor | None, noise: Tensor
    ) -> Inference:
        likelihood, posteriors, noises = self._follow(features, cond, noise)
        return Inference(
            log_likelihood=likelihood.log_prob(images).flatten(1).sum(1),
            posteriors=posteriors,
            noises=noises,
        )

    def encode(self, images: Tensor, cond: Tensor | None) -> Tensor:
        """The means [B, Z] of the latents, those of each layer given the means above it."""
        zeros = images.new_zeros(len(images), *self.latent_shape)
        _, posteriors, _ = self._follow(self.features(images, cond), cond, zeros)
        return torch.cat([self.join(posterior.mean) for posterior in posteriors], dim=1)

    def likelihood(self, latents: Tensor, cond: Tensor | None) -> DiscretisedLogistic:
        """p(x | z) for latents [B, Z] and labels [B]."""
        parts = self._parts(latents)
        return self._descend(len(latents), self.labels(cond), lambda number, *_: parts[number])

    def decode(self, latents: Tensor, cond: Tensor | None) -> Tensor:
        return self.likelihood(latents, cond).median()

    def _follow(
        self, features: Sequence[Tensor], cond: Tensor | None, noise: Tensor
    ) -> tuple[DiscretisedLogistic, tuple[DiagonalNormal, ...], tuple[Tensor, ...]]:
        """The likelihood, posteriors and noises of the layers, each posterior given the latents drawn above it."""
        embedding, noises = self.labels(cond), self._parts(noise)
        posteriors: list[DiagonalNormal] = []

        def choose(number: int, level: int, layer: LadderLayer, h: Tensor) -> Tensor:
            posteriors.append(layer.posterior(h, features[-1 - level], embedding))
            return posteriors[-1].at(noises[number])

        likelihood = self._descend(len(noise), embedding, choose)
        return likelihood, tuple(posteriors), noises

    def _descend(self, rows: int, embedding: Tensor | None, choose: Choose) -> DiscretisedLogistic:
        """The shared path from the coarsest level to the likelihood, along the latents that `choose` names."""
        h, number = self.start.expand(rows, *self.start.shape[1:]), 0
        for level, (widen, layers) in enumerate(zip(self.widen, self.levels, strict=True)):
            h = widen(double(h) if level else h)
            for layer in cast(nn.ModuleList, layers):
                h = layer(h, choose(number, level, cast(LadderLayer, layer), h), embedding)
                number += 1
        outputs = in_float32(self.to_image, h)
        return DiscretisedLogistic.of(outputs, levels=self.event.levels, std=self.event.std)

    def _parts(self, latents: Tensor) -> tuple[Tensor, ...]:
        """Latents [B, Z] as those of each layer, [B, channels, *S] each."""
        parts = torch.split(latents, self.sizes, dim=1)
        return tuple(shape(part) for shape, part in zip(self.part, parts, strict=True))
