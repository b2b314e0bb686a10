"""The families of generative models at one size, each trained for about the same time."""

from __future__ import annotations

from dataclasses import dataclass, replace

from workbench.presets import SMOKE_IMAGES, SOLVER, generative_trial, size
from workbench.registry import look_up
from workbench.spec import (
    AutoregressiveFlowSpec,
    CouplingFlowSpec,
    DataSpec,
    DiffusionSpec,
    GANSpec,
    LadderVAESpec,
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
    """A model, how it is trained and drawn from, and how many images a second it is trained on, which sets budgets."""

    model: ModelSpec
    images_per_second: int
    learning_rate: float
    beta_1: float = 0.9
    weight_decay: float = 0.0
    batch_size: int = 128
    sampling: SamplingSpec = ONE_PASS


PROBES = ("bits_per_dim", "single_seconds")

# Training images in a second of one core, measured on the machine of `benchmarks/results`.
_SPEED: dict[str, dict[str, int]] = {
    "digits": {
        "diffusion": 5_900,
        "gan": 1_000,
        "vae": 3_700,
        "ladder_vae": 2_000,
        "coupling_flow": 2_150,
        "autoregressive_flow": 1_600,
    },
    "fashion_mnist": {
        "diffusion": 1_150,
        "gan": 440,
        "vae": 1_500,
        "ladder_vae": 820,
        "coupling_flow": 525,
        "autoregressive_flow": 700,
    },
}
# Seconds of training on one core at the whole budget.
FIT_SECONDS: dict[str, dict[Scale, float]] = {
    "digits": {"quick": 24.0, "standard": 120.0, "full": 600.0},
    "fashion_mnist": {"quick": 30.0, "standard": 240.0, "full": 3_600.0},
}


def _families(data: str) -> dict[str, Family]:
    """All families for a data set, each of 0.39 to 0.47 million parameters, those of both networks of the GAN counted.

    On the larger images all networks start from patches, as the U-Net does.
    """
    small = data == "digits"
    speed = _SPEED["digits" if small else "fashion_mnist"]
    unet = size(DataSpec(name=data), "quick" if small else "standard").backbone
    patch, dropout = (1, 0.1) if small else (2, 0.0)  # of the few digits, models of likelihood learn too much
    continuous = DiffusionSpec(backbone=unet)
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
            learning_rate=1e-3,
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
            batch_size=64,  # it learns by steps more than by images
        ),
    }


def family(data: DataSpec, scale: Scale, *, family: str = "diffusion", budget: float = 1.0) -> TrialSpec:
    """A family trained for the share `budget` of the seconds of the data set and scale.

    Raises UserError for a family that is not known.
    """
    chosen = look_up(_families(data.name), family, "family")
    seconds = FIT_SECONDS.get(data.name, FIT_SECONDS["fashion_mnist"])
    images = SMOKE_IMAGES if scale == "smoke" else int(budget * seconds[scale] * chosen.images_per_second)
    return generative_trial(
        data,
        scale,
        model=chosen.model,
        images_seen=images,
        sampling=chosen.sampling,
        learning_rate=chosen.learning_rate,
        beta_1=chosen.beta_1,
        weight_decay=chosen.weight_decay,
        batch_size=chosen.batch_size,
        probes=PROBES,
    )
