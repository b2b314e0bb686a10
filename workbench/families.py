"""The families of generative models at one size, each trained for about the same time."""

from __future__ import annotations

from dataclasses import dataclass, replace

from workbench.presets import generative_trial, size
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
    sampling: SamplingSpec = ONE_PASS


SOLVER = SamplingSpec(sampler="dpmpp_2m", nfe=20, time_grid="uniform_log_snr")
PROBES = ("bits_per_dim", "single_seconds")
SMOKE_IMAGES = 1_000

# Training images a second on one core, both cores busy, of the machine of `benchmarks/results`.
_SPEED: dict[str, dict[str, int]] = {
    "digits": {
        "diffusion": 5_800,
        "gan": 1_110,
        "vae": 3_450,
        "ladder_vae": 1_960,
        "coupling_flow": 2_130,
        "autoregressive_flow": 2_280,
    },
    "fashion_mnist": {
        "diffusion": 1_100,
        "gan": 510,
        "vae": 1_270,
        "ladder_vae": 740,
        "coupling_flow": 425,
        "autoregressive_flow": 985,
    },
}
# Seconds of training on one core at the whole budget.
FIT_SECONDS: dict[str, dict[Scale, float]] = {
    "digits": {"quick": 24.0, "standard": 120.0, "full": 600.0},
    "fashion_mnist": {"quick": 30.0, "standard": 400.0, "full": 3_600.0},
}


def _families(data: str) -> dict[str, Family]:
    """All families for a data set, each of 0.40 to 0.47 million parameters, those of both networks of the GAN counted.

    On the larger images all networks start from patches, as the U-Net does."""
    small = data == "digits"
    speed = _SPEED["digits" if small else "fashion_mnist"]
    unet = size(DataSpec(name=data), "quick" if small else "standard").backbone
    patch = 1 if small else 2
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
            learning_rate=5e-4,
            beta_1=0.0,
        ),
        "vae": Family(model=VAESpec(patch=patch), images_per_second=speed["vae"], learning_rate=2e-3),
        "ladder_vae": Family(
            model=LadderVAESpec(patch=patch), images_per_second=speed["ladder_vae"], learning_rate=2e-3
        ),
        "coupling_flow": Family(
            model=CouplingFlowSpec(), images_per_second=speed["coupling_flow"], learning_rate=1e-3
        ),
        "autoregressive_flow": Family(
            model=AutoregressiveFlowSpec(width=64, patch=2 * patch),
            images_per_second=speed["autoregressive_flow"],
            learning_rate=1e-3,
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
        probes=PROBES,
    )
