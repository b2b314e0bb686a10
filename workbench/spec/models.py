"""The families of models and the networks in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from workbench.spec.trials import FitSpec  # a fit holds a model, which may hold a fit

Prediction = Literal["noise", "clean", "velocity", "unit", "flow"]
Variance = Literal["small", "large", "learned"]


@dataclass(frozen=True, kw_only=True)
class BackboneSpec:
    """A network of unit-variance input and output. `width` channels at the first level, times `multipliers` below.

    `attention` tells for each level whether its blocks end in self-attention; `patch` is the side in pixels of the
    patches that the first layer folds into channels (1: none).
    """

    name: str = "unet"
    width: int = 32
    multipliers: tuple[int, ...] = (1, 2)
    blocks: int = 1
    attention: tuple[bool, ...] = (False, True)
    patch: int = 1
    dropout: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ScheduleSpec:
    """A noise schedule by name; `timesteps` is DDPM's T for a discrete-time schedule, None for continuous time."""

    name: str = "linear_vp"
    timesteps: int | None = None


@dataclass(frozen=True, kw_only=True)
class DiffusionSpec:
    """A diffusion model. `prediction` is what the network's output means: the noise, the clean image, the velocity,
    `unit`, the unit-variance mixture of the two that Karras et al. (2022) derive, or `flow`, noise minus clean image,
    which on the schedule `straight` is flow matching.

    `noise_density` is the law of t in training and `weighting` the weight on the squared error of the output.
    `variance` is that of the reverse step: fixed (small or large, Ho et al. 2020) or learned (Nichol & Dhariwal 2021).
    """

    backbone: BackboneSpec = BackboneSpec()
    schedule: ScheduleSpec = ScheduleSpec()
    prediction: Prediction = "unit"
    noise_density: str = "uniform"
    weighting: str = "output"
    variance: Variance = "small"
    conditional: bool = True
    label_dropout: float = 0.1


@dataclass(frozen=True, kw_only=True)
class ClassifierSpec:
    """A convolutional classifier; its penultimate layer is the feature space `cnn` of the measures."""

    name: str = "cnn"
    width: int = 32
    features: int = 64
    dropout: float = 0.2
    shift_pixels: int = 1


@dataclass(frozen=True, kw_only=True)
class TrunkClassifierSpec:
    """A classifier on the network of a diffusion model, which sees the image at noise level `time` and whose
    activations are averaged to a grid of `side` cells a side.

    `start` is the fit whose weights it is fine-tuned from; None: the same network from scratch.
    """

    diffusion: DiffusionSpec
    start: FitSpec | None = None
    time: float = 0.02
    side: int = 4
    shift_pixels: int = 1


@dataclass(frozen=True, kw_only=True)
class VAESpec:
    """A convolutional variational autoencoder: an encoder and a decoder of `blocks` residual blocks a level, `width`
    channels at the first level, times `multipliers` below, each further level at half the resolution.

    `latent` is a vector of `latent_width` values, or spatial: `latent_width` channels at the lowest resolution.
    `beta` weighs the divergence of the posterior from the prior (Higgins et al., 2017), and `free_bits` is how much of
    it a channel of the latent has for nothing (Kingma et al., 2016); at 1 and 0 the objective is the plain bound.
    """

    width: int = 32
    multipliers: tuple[int, ...] = (1, 2, 2)
    blocks: int = 1
    patch: int = 1
    latent: Literal["vector", "spatial"] = "vector"
    latent_width: int = 32
    beta: float = 1.0
    free_bits: float = 0.0
    dropout: float = 0.0
    conditional: bool = True


@dataclass(frozen=True, kw_only=True)
class LadderVAESpec:
    """A hierarchical variational autoencoder with a shared top-down path: `layers` tells for each level, the finest
    first, how many layers of `latent_width` channels are drawn there; the other fields are those of VAESpec."""

    width: int = 32
    multipliers: tuple[int, ...] = (1, 1, 1)
    layers: tuple[int, ...] = (1, 2, 3)
    patch: int = 1
    latent_width: int = 8
    beta: float = 1.0
    free_bits: float = 0.0
    dropout: float = 0.0
    conditional: bool = True


@dataclass(frozen=True, kw_only=True)
class LatentDiffusionSpec:
    """A diffusion model of the latents of a trained autoencoder (Rombach et al., 2022).

    `autoencoder` is the fit of a VAE with a spatial latent on the same data; its weights are taken over and frozen. In
    `diffusion` sizes are those of the latent: its patches and levels fold and halve the sides of that.
    """

    autoencoder: FitSpec
    diffusion: DiffusionSpec = DiffusionSpec()


@dataclass(frozen=True, kw_only=True)
class CouplingFlowSpec:
    """A multi-scale flow of affine couplings (Glow, Kingma & Dhariwal 2018): `scales` squeezes, `steps` couplings at
    each, and in each coupling a network of `width` channels with `blocks` residual blocks."""

    scales: int = 2
    steps: int = 8
    width: int = 32
    blocks: int = 1
    dropout: float = 0.0
    conditional: bool = True


@dataclass(frozen=True, kw_only=True)
class AutoregressiveFlowSpec:
    """A transformer autoregressive flow (TarFlow, Zhai et al. 2024) on patches of `patch` pixels a side: `blocks` of
    alternating direction, each a causal transformer of `width` channels with `layers` layers.

    `noise_std` is the standard deviation of the noise that is added to images of [-1, 1] in training and taken away
    again after sampling.
    """

    patch: int = 2
    blocks: int = 4
    layers: int = 2
    width: int = 64
    noise_std: float = 0.1
    dropout: float = 0.0
    conditional: bool = True


@dataclass(frozen=True, kw_only=True)
class GANSpec:
    """A generator and a discriminator, residual networks without norms, trained by the relativistic pairing loss with
    both zero-centred gradient penalties (R3GAN: Huang et al., 2024).

    `width` channels at the finest level of either, times `multipliers` below, `blocks` residual blocks a level; `patch`
    is the side in pixels of the patches of the finest level. `latent` is the dimension of the generator's input and
    `gamma` the weight of the penalties. Train it with `OptimiserSpec(beta_1=0.0, beta_2=0.99)`, as R3GAN: a momentum
    that outlives the opponent's answer makes the two circle each other.
    """

    latent: int = 64
    generator_width: int = 64
    discriminator_width: int = 64
    multipliers: tuple[int, ...] = (1, 2)
    blocks: int = 1
    patch: int = 1
    gamma: float = 1.0
    conditional: bool = True


@dataclass(frozen=True, kw_only=True)
class MarkovHierarchySpec:
    """A Markovian hierarchical variational autoencoder of `stages` stages, of which the diffusion model is one (Luo,
    2022): with every field but the first two as it is here, its encoder is fixed, its latents have the dimension of the
    data, and its decoder is one network.

    `encoder` tells what of the encoder is learned: nothing, the `schedule` of noise (Kingma et al., 2021), or that and
    by a `network` what the latents are noised from. With `latent_share` below 1 the latents lie in a subspace: of every
    cell of two pixels a side, that share of its dimensions. `decoder` is one network for all stages, or one for each,
    as large as `backbone` says. `objective` is the variational bound, or the squared error of the network's output at
    all stages alike; `variance` is that of the reverse steps, the least possible or learned, one number a stage.
    """

    backbone: BackboneSpec = BackboneSpec()
    stages: int = 16
    schedule: str = "cosine"
    encoder: Literal["fixed", "schedule", "network"] = "fixed"
    latent_share: float = 1.0
    decoder: Literal["shared", "separate"] = "shared"
    objective: Literal["bound", "denoising"] = "bound"
    variance: Literal["small", "learned"] = "learned"
    prediction: Prediction = "unit"
    conditional: bool = True


ModelSpec = (
    DiffusionSpec
    | ClassifierSpec
    | TrunkClassifierSpec
    | VAESpec
    | LadderVAESpec
    | MarkovHierarchySpec
    | LatentDiffusionSpec
    | CouplingFlowSpec
    | AutoregressiveFlowSpec
    | GANSpec
)
