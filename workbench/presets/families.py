"""The families of generative models at one size, each trained for about the same time."""

from __future__ import annotations

from dataclasses import dataclass, replace

from workbench.presets.common import (
    FLOW_MATCHING,
    SMOKE_IMAGES,
    SOLVER,
    generative_fit,
    generative_trial,
    size,
)
from workbench.registry import look_up
from workbench.spec import (
    AutoregressiveFlowSpec,
    BackboneSpec,
    CouplingFlowSpec,
    DataSpec,
    DiffusionSpec,
    GANSpec,
    LadderVAESpec,
    LatentDiffusionSpec,
    ModelSpec,
    SamplingSpec,
    Scale,
    ScheduleSpec,
    TrialSpec,
    VAESpec,
)

ONE_PASS = SamplingSpec(nfe=1)


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Images a batch, and of such batches training images in a second of one core."""

    batch_size: int
    images_per_second: int


@dataclass(frozen=True, kw_only=True)
class Family:
    """A model, how it is trained and drawn from, and at what pace it learns, which sets budgets: `share` is that of the
    seconds of a trial, less than 1 where a fit that it takes weights from has the others."""

    model: ModelSpec
    pace: Pace
    beta_1: float = 0.9
    weight_decay: float = 0.0
    sampling: SamplingSpec = ONE_PASS
    share: float = 1.0


PROBES = ("bits_per_dim", "ode_bits_per_dim", "single_seconds")
AUTOENCODER_SHARE = 0.5  # of the seconds of latent diffusion

# Images a batch -> training images in a second of one core, on the machine of `benchmarks/results`; of small batches
# those of large ones there, times the ratio of the two on another machine, which was measured but, on Fashion-MNIST,
# for the ladder VAE, latent diffusion and its autoencoder (taken as of their like).
#
# A short training lacks steps. On Fashion-MNIST (one seed, 26,000 to 90,000 images) batches of 32 in place of 128
# brought samples nearer to the validation split by `frechet[cnn]`, for about a fifth more seconds: the ladder VAE 2.9
# times, diffusion 2.7, the VAE 1.3. Batches of 16 brought diffusion and the VAE no nearer, but those that learn by
# steps more than by images: the GAN 3.2 times, the coupling flow 6.9, and the autoregressive flow, against 64, 7.9
# times, for up to nine tenths more seconds. Two other spaces of features agreed.
# On digits a small batch takes up to twice the seconds for as many images. Of 32, 64 and 128 those that drew best in
# equal seconds are taken, the half of `quick`, one seed, validation split; they matter to the ladder VAE (3.0 times
# nearer than with 128), the autoregressive flow (1.5), the GAN (1.3) and the VAE (1.2)
# (`benchmarks/results/rates-why_diffusion-digits-equal-seconds.md`; the continuous model decides for both diffusions).
_SPEED: dict[str, dict[str, dict[int, int]]] = {
    "digits": {
        "diffusion": {64: 4_150, 128: 5_900},
        "gan": {64: 950, 128: 1_000},
        "vae": {64: 3_050, 128: 3_700},
        "ladder_vae": {32: 1_050, 128: 2_000},
        "coupling_flow": {64: 1_430, 128: 2_150},
        "autoregressive_flow": {32: 1_230, 64: 1_600},
        "autoencoder": {64: 3_740, 128: 4_500},
        "latent_diffusion": {64: 2_050, 128: 3_100},
    },
    "fashion_mnist": {
        "diffusion": {32: 930, 128: 1_150},
        "gan": {16: 330, 128: 440},
        "vae": {32: 1_270, 128: 1_500},
        "ladder_vae": {32: 700, 128: 820},
        "coupling_flow": {16: 290, 128: 525},
        "autoregressive_flow": {16: 420, 64: 700},
        "autoencoder": {32: 1_600, 128: 1_900},
        "latent_diffusion": {32: 1_170, 128: 1_450},
    },
}
# Learning rates, of such as go up by factors of two, by `frechet[cnn]` from the validation split, one seed; those of
# autoencoders were not tried anew, nor any in longer trainings. On digits the best of four each, after the half of
# `quick`. On other threads, from a quarter to twice these, none drew nearer by more than a tenth
# (`benchmarks/results/rates-why_diffusion-digits.md`; without latent diffusion, whose highest was the best).
# On Fashion-MNIST the lowest that drew within a tenth of the best, of three to five each after a quarter of `standard`,
# since long trainings want lower rates. From 2 thousandths upwards: diffusion 11.0, 9.9, 11.0, flow matching 9.9, 8.0,
# 8.2, DDPM 91, 54, 47, 52, the VAE 43, 27, 23, 26, the ladder VAE 14.1, 11.5, 10.8, 10.3, the coupling flow 36, 29, 24,
# 23, latent diffusion 9.9, 10.0, 10.5; from 3 the autoregressive flow 75, 57, 34, 33; from a half the GAN 26, 24, 23,
# 16, 17.
_RATES: dict[str, dict[str, float]] = {
    "digits": {
        "diffusion": 8e-3,
        "flow_matching": 4e-3,
        "ddpm_1000": 8e-3,
        "gan": 2e-3,
        "vae": 2e-3,
        "ladder_vae": 4e-3,
        "coupling_flow": 8e-3,
        "autoregressive_flow": 1.2e-2,
        "autoencoder": 4e-3,
        "latent_diffusion": 8e-3,
    },
    "fashion_mnist": {
        "diffusion": 4e-3,
        "flow_matching": 4e-3,
        "ddpm_1000": 8e-3,
        "gan": 4e-3,
        "vae": 8e-3,
        "ladder_vae": 8e-3,
        "coupling_flow": 8e-3,
        "autoregressive_flow": 1.2e-2,
        "autoencoder": 4e-3,
        "latent_diffusion": 2e-3,
    },
}
# Seconds of training on one core at the whole budget.
FIT_SECONDS: dict[str, dict[Scale, float]] = {
    "digits": {"quick": 24.0, "standard": 120.0, "full": 600.0},
    "fashion_mnist": {"quick": 30.0, "standard": 90.0, "full": 3_600.0},
}


def _images(data: DataSpec, scale: Scale, share: float, pace: Pace) -> int:
    """The images of a fit that has the share of the seconds of the data set and scale."""
    seconds = FIT_SECONDS.get(data.name, FIT_SECONDS["fashion_mnist"])
    return SMOKE_IMAGES if scale == "smoke" else int(share * seconds[scale] * pace.images_per_second)


def _rates(data: DataSpec) -> dict[str, float]:
    """The learning rate of each network."""
    return _RATES.get(data.name, _RATES["fashion_mnist"])


def paces(data: DataSpec, scale: Scale) -> dict[str, Pace]:
    """The pace of each network: that of its smallest batches, but for the long trainings of `full`."""
    choose = max if scale == "full" else min
    known = _SPEED.get(data.name, _SPEED["fashion_mnist"])
    chosen = {name: choose(speeds) for name, speeds in known.items()}
    return {name: Pace(batch_size=b, images_per_second=known[name][b]) for name, b in chosen.items()}


def _families(data: DataSpec, scale: Scale, budget: float) -> dict[str, Family]:
    """All families for a data set, each of 0.39 to 0.47 million parameters, those of both networks of the GAN and those
    of the autoencoder of latent diffusion counted.

    On the larger images all networks start from patches, as the U-Net does. The autoencoder is a fit of its own, with a
    part of the seconds that latent diffusion has at this scale and budget.
    """
    small = data.name == "digits"
    pace = paces(data, scale)
    unet = size(DataSpec(name=data.name), "quick" if small else "standard").backbone
    patch, dropout = (1, 0.1) if small else (2, 0.0)  # of the few digits, models of likelihood learn too much
    continuous = DiffusionSpec(backbone=unet)
    autoencoder = generative_fit(
        data,
        scale,
        # Images are what its latents say; that these are near the prior is of no use to a model that learns their law.
        model=VAESpec(multipliers=(1, 1), patch=patch, latent="spatial", latent_width=4, beta=0.3),
        images_seen=_images(data, scale, budget * AUTOENCODER_SHARE, pace["autoencoder"]),
        learning_rate=_rates(data)["autoencoder"],
        batch_size=pace["autoencoder"].batch_size,
    )
    return {
        "diffusion": Family(model=continuous, pace=pace["diffusion"], sampling=SOLVER),
        "flow_matching": Family(
            model=replace(FLOW_MATCHING, backbone=unet),
            pace=pace["diffusion"],
            sampling=replace(SOLVER, sampler="euler", time_grid="uniform_t"),
        ),
        "ddpm_1000": Family(
            model=replace(continuous, schedule=ScheduleSpec(timesteps=1000), prediction="noise"),
            pace=pace["diffusion"],
            sampling=SamplingSpec(sampler="ddpm", nfe=1000, time_grid="uniform_t", clip=True),
        ),
        "latent_diffusion": Family(
            model=LatentDiffusionSpec(
                autoencoder=autoencoder,
                diffusion=DiffusionSpec(
                    backbone=BackboneSpec(multipliers=(1, 1), blocks=2, attention=(False, True))
                ),
            ),
            pace=pace["latent_diffusion"],
            sampling=SOLVER,
            share=1 - AUTOENCODER_SHARE,
        ),
        "gan": Family(
            model=GANSpec(generator_width=48, discriminator_width=48, patch=patch),
            pace=pace["gan"],
            beta_1=0.0,
        ),
        "vae": Family(model=VAESpec(patch=patch, dropout=dropout), pace=pace["vae"]),
        "ladder_vae": Family(model=LadderVAESpec(patch=patch, dropout=dropout), pace=pace["ladder_vae"]),
        "coupling_flow": Family(
            model=CouplingFlowSpec(dropout=2 * dropout),
            pace=pace["coupling_flow"],
            weight_decay=dropout,
        ),
        "autoregressive_flow": Family(
            model=AutoregressiveFlowSpec(patch=2 * patch, dropout=dropout),
            pace=pace["autoregressive_flow"],
        ),
    }


def family(data: DataSpec, scale: Scale, *, family: str = "diffusion", budget: float = 1.0) -> TrialSpec:
    """A family trained for the share `budget` of the seconds of the data set and scale, those of an autoencoder that it
    needs first among them.

    Raises UserError for a family that is not known.
    """
    chosen = look_up(_families(data, scale, budget), family, "family")
    return generative_trial(
        data,
        scale,
        model=chosen.model,
        images_seen=_images(data, scale, budget * chosen.share, chosen.pace),
        sampling=chosen.sampling,
        learning_rate=_rates(data)[family],
        beta_1=chosen.beta_1,
        weight_decay=chosen.weight_decay,
        batch_size=chosen.pace.batch_size,
        probes=PROBES,
    )
