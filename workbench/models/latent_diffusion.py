"""Latent diffusion (Rombach et al., 2022): a diffusion model of what a trained autoencoder makes of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace

import torch
from torch import Tensor

from workbench.models.base import Event, GenerativeModel, Interpolation, Objective, Watch
from workbench.models.diffusion import DiffusionModel
from workbench.models.vae import VAE
from workbench.registry import UserError
from workbench.rng import Draws
from workbench.spec import DataSpec, FitSpec, LatentDiffusionSpec, SamplingSpec, VAESpec


class LatentDiffusion(GenerativeModel):
    """A frozen VAE and a diffusion model of its latents z [B, *Z], rows being decoded at the end.

    The model learns from draws of the posterior, z ~ q(z | x), as the decoder did, over their standard deviation. This
    one number is that of the first training batch (appendix G), kept in the buffer `latent_std`; that this has happened
    is kept in `initialised`, so that a checkpoint knows it. It offers no likelihood of images: a bound would have to
    count the law of the latents as well as what the decoder leaves open.
    """

    interpolation: Interpolation = "linear"
    latent_std: Tensor
    initialised: Tensor

    def __init__(self, spec: LatentDiffusionSpec, event: Event) -> None:
        super().__init__()
        inner = spec.autoencoder.model
        if not isinstance(inner, VAESpec) or inner.latent != "spatial":
            given = (
                f"a VAE with a {inner.latent} latent" if isinstance(inner, VAESpec) else type(inner).__name__
            )
            raise UserError(f"model.autoencoder: {given} given; a VAE with a spatial latent is needed")
        self.spec, self.event = spec, event
        self.autoencoder = VAE(inner, event).requires_grad_(False)
        self.diffusion = DiffusionModel(
            spec.diffusion, replace(event, shape=self.autoencoder.latent_shape, std=1.0)
        )
        self.classes = max(self.autoencoder.classes, self.diffusion.classes)
        self.register_buffer("latent_std", torch.ones(()))
        self.register_buffer("initialised", torch.tensor(False))

    def adopt(self, inner: Sequence[Mapping[str, Tensor]]) -> None:
        """Take over the weights of the autoencoder. Raises UserError unless they are those of one fit."""
        if len(inner) != 1:
            raise UserError(f"model.autoencoder: weights of {len(inner)} fits given; those of one are needed")
        self.autoencoder.load_state_dict(dict(inner[0]))

    def train(self, mode: bool = True) -> LatentDiffusion:
        """The mode of the diffusion model; the autoencoder stays as it is used, without dropout."""
        super().train(mode)
        self.autoencoder.eval()
        return self

    def loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """The denoising loss of latents in units of their deviation, mean over the values of a row: [B]."""
        with torch.no_grad():
            posterior = self.autoencoder.posterior(images, labels)
            noise = torch.randn(posterior.mean.shape, generator=generator).to(images.device)
            latents = posterior.at(noise)
            if self.training and not self.initialised:
                self.latent_std.copy_(latents.std())
                self.initialised.fill_(True)
            latents = latents / self.latent_std
        return self.diffusion.loss(latents, labels, generator)

    def objectives(self) -> tuple[Objective, ...]:
        return (
            Objective(
                name="denoising",
                loss=self.loss,
                parameters=self.diffusion.parameters,
                unit="squared error",
            ),
        )

    def encode(self, images: Tensor, cond: Tensor | None) -> Tensor:
        """The means [B, *Z] of the latents of images [B, *S], in units of the deviation of all latents."""
        return self.autoencoder.encode(images, cond) / self.latent_std

    def decode(self, latents: Tensor, cond: Tensor | None) -> Tensor:
        """The images [B, *S] of latents [B, *Z] in units of the deviation of all latents."""
        return self.autoencoder.decode(latents * self.latent_std, cond)

    def sample(
        self, draws: Draws, cond: Tensor | None, sampling: SamplingSpec, watch: Watch | None = None
    ) -> Tensor:
        """Rows [B, *S], images of [-1, 1]: the decoder's medians for latents that the diffusion model draws.

        `watch` sees latents on their way. Raises UserError as `DiffusionModel.sample` does, and for `clip`.
        """
        require_no_clip(sampling)
        latents = self.diffusion.sample(draws, cond if self.diffusion.classes else None, sampling, watch)
        return self.decode(latents, cond)

    def evaluations(self, sampling: SamplingSpec) -> int:
        """The evaluations of the diffusion model's network; the one pass through the decoder is not among them."""
        return self.diffusion.evaluations(sampling)


def require_no_clip(sampling: SamplingSpec) -> None:
    """Raises UserError where clean predictions are to be clipped to the range of images, which latents do not have."""
    if sampling.clip:
        raise UserError("sampling.clip: True given; latents have no range to clip to, so False is needed")


def require_own_data(fit: FitSpec) -> None:
    """Raises UserError for a fit of latent diffusion whose autoencoder is that of other data."""
    model = fit.model
    if isinstance(model, LatentDiffusionSpec) and model.autoencoder.data != fit.data:
        raise UserError(
            f"model.autoencoder: trained on {_words(model.autoencoder.data)}, where the latents of "
            f"{_words(fit.data)} are asked for; an autoencoder of the same data is needed"
        )


def _words(data: DataSpec) -> str:
    """A data set by its name and what else distinguishes it: `'digits' with labelled 0.1`."""
    plain = DataSpec(name=data.name)
    values = {entry.name: getattr(data, entry.name) for entry in fields(data)}
    told = [f"{name} {value}" for name, value in values.items() if value != getattr(plain, name)]
    return f"{data.name!r}" + (f" with {', '.join(told)}" if told else "")
