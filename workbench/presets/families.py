"""The families of generative models at one size, each trained for about the same time."""

from __future__ import annotations

from dataclasses import dataclass, replace

from workbench.presets.common import SMOKE_IMAGES, SOLVER, generative_fit, generative_trial, size
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
class Family:
    """A model, how it is trained and drawn from, and how many images a second it is trained on, which sets budgets:
    `share` is that of the seconds of a trial, less than 1 where a fit that it takes weights from has the others."""

    model: ModelSpec
    images_per_second: int
    learning_rate: float
    beta_1: float = 0.9
    weight_decay: float = 0.0
    sampling: SamplingSpec = ONE_PASS
    share: float = 1.0


PROBES = ("bits_per_dim", "ode_bits_per_dim", "single_seconds")
AUTOENCODER_SHARE = 0.5  # of the seconds of latent diffusion

# Training images in a second of one core, measured on the machine of `benchmarks/results`; of Fashion-MNIST those of
# large batches there times the ratio of the two batches on another machine.
_SPEED: dict[str, dict[str, int]] = {
    "digits": {
        "diffusion": 5_900,
        "gan": 1_000,
        "vae": 3_700,
        "ladder_vae": 2_000,
        "coupling_flow": 2_150,
        "autoregressive_flow": 1_600,
        "autoencoder": 4_500,
        "latent_diffusion": 3_100,
    },
    "fashion_mnist": {
        "diffusion": 930,
        "gan": 330,
        "vae": 1_270,
        "ladder_vae": 700,
        "coupling_flow": 290,
        "autoregressive_flow": 420,
        "autoencoder": 1_600,
        "latent_diffusion": 1_170,
    },
}
# Images a batch: of most families, and of others. A short training lacks steps. On Fashion-MNIST (one seed, validation
# split, about the seconds of `standard`) batches of 32 in place of 128 brought samples nearer by the features of a CNN,
# for about a fifth more seconds: the ladder VAE 2.9 times, diffusion 2.7, the VAE 1.3. Batches of 16 brought them no
# nearer, but those that learn by steps more than by images: the GAN 3.2 times, the coupling flow 6.9 and the
# autoregressive flow, against 64, 7.9 times, for two thirds more seconds at the most, in all spaces of features.
LARGE_BATCH = 128  # where trainings are long, and for GPUs
_BATCH: dict[str, tuple[int, dict[str, int]]] = {
    "digits": (128, {"autoregressive_flow": 64}),
    "fashion_mnist": (32, {"gan": 16, "coupling_flow": 16, "autoregressive_flow": 16}),
}
# Seconds of training on one core at the whole budget.
FIT_SECONDS: dict[str, dict[Scale, float]] = {
    "digits": {"quick": 24.0, "standard": 120.0, "full": 600.0},
    "fashion_mnist": {"quick": 30.0, "standard": 90.0, "full": 3_600.0},
}


def _images(data: DataSpec, scale: Scale, share: float, images_per_second: int) -> int:
    """The images of a fit that has the share of the seconds of the data set and scale."""
    seconds = FIT_SECONDS.get(data.name, FIT_SECONDS["fashion_mnist"])
    return SMOKE_IMAGES if scale == "smoke" else int(share * seconds[scale] * images_per_second)


def batch_size_of(data: DataSpec, scale: Scale, name: str) -> int:
    """Images a batch of a family, and of "autoencoder", at a data set and scale."""
    usual, others = _BATCH.get(data.name, _BATCH["fashion_mnist"])
    return LARGE_BATCH if scale == "full" else others.get(name, usual)


def _families(data: DataSpec, scale: Scale, budget: float) -> dict[str, Family]:
    """All families for a data set, each of 0.39 to 0.47 million parameters, those of both networks of the GAN and those
    of the autoencoder of latent diffusion counted.

    On the larger images all networks start from patches, as the U-Net does. The autoencoder is a fit of its own, with a
    part of the seconds that latent diffusion has at this scale and budget.
    """
    small = data.name == "digits"
    speed = _SPEED["digits" if small else "fashion_mnist"]
    unet = size(DataSpec(name=data.name), "quick" if small else "standard").backbone
    patch, dropout = (1, 0.1) if small else (2, 0.0)  # of the few digits, models of likelihood learn too much
    continuous = DiffusionSpec(backbone=unet)
    autoencoder = generative_fit(
        data,
        scale,
        # Images are what its latents say; that these are near the prior is of no use to a model that learns their law.
        model=VAESpec(multipliers=(1, 1), patch=patch, latent="spatial", latent_width=4, beta=0.3),
        images_seen=_images(data, scale, budget * AUTOENCODER_SHARE, speed["autoencoder"]),
        learning_rate=4e-3,
        batch_size=batch_size_of(data, scale, "autoencoder"),
    )
    return {
        "diffusion": Family(
            model=continuous, images_per_second=speed["diffusion"], learning_rate=2e-3, sampling=SOLVER
        ),
        "flow_matching": Family(
            model=replace(continuous, schedule=ScheduleSpec(name="straight"), prediction="flow"),
            images_per_second=speed["diffusion"],
            learning_rate=2e-3,
            sampling=replace(SOLVER, sampler="euler", time_grid="uniform_t"),
        ),
        "ddpm_1000": Family(
            model=replace(continuous, schedule=ScheduleSpec(timesteps=1000), prediction="noise"),
            images_per_second=speed["diffusion"],
            learning_rate=2e-3,
            sampling=SamplingSpec(sampler="ddpm", nfe=1000, time_grid="uniform_t", clip=True),
        ),
        "latent_diffusion": Family(
            model=LatentDiffusionSpec(
                autoencoder=autoencoder,
                diffusion=DiffusionSpec(
                    backbone=BackboneSpec(multipliers=(1, 1), blocks=2, attention=(False, True))
                ),
            ),
            images_per_second=speed["latent_diffusion"],
            learning_rate=2e-3,
            sampling=SOLVER,
            share=1 - AUTOENCODER_SHARE,
        ),
        "gan": Family(
            model=GANSpec(generator_width=48, discriminator_width=48, patch=patch),
            images_per_second=speed["gan"],
            learning_rate=1e-3,
            beta_1=0.0,
        ),
        "vae": Family(
            model=VAESpec(patch=patch, dropout=dropout), images_per_second=speed["vae"], learning_rate=2e-3
        ),
        "ladder_vae": Family(
            model=LadderVAESpec(patch=patch, dropout=dropout),
            images_per_second=speed["ladder_vae"],
            learning_rate=1e-3 if small else 2e-3,
        ),
        "coupling_flow": Family(
            model=CouplingFlowSpec(dropout=2 * dropout),
            images_per_second=speed["coupling_flow"],
            learning_rate=2e-3,
            weight_decay=dropout,
        ),
        "autoregressive_flow": Family(
            model=AutoregressiveFlowSpec(patch=2 * patch, dropout=dropout),
            images_per_second=speed["autoregressive_flow"],
            learning_rate=3e-3,
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
        images_seen=_images(data, scale, budget * chosen.share, chosen.images_per_second),
        sampling=chosen.sampling,
        learning_rate=chosen.learning_rate,
        beta_1=chosen.beta_1,
        weight_decay=chosen.weight_decay,
        batch_size=batch_size_of(data, scale, family),
        probes=PROBES,
    )
