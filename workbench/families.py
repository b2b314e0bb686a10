"""The families of generative models at one size, each trained for about the same time."""

from __future__ import annotations

from dataclasses import dataclass, replace

from workbench.presets import generative_trial, size
from workbench.registry import look_up
from workbench.spec import (
    BackboneSpec,
    DataSpec,
    DiffusionSpec,
    ModelSpec,
    SamplingSpec,
    Scale,
    ScheduleSpec,
    TrialSpec,
)

ONE_PASS = SamplingSpec(nfe=1)


@dataclass(frozen=True, kw_only=True)
class Family:
    """A model, how it is trained and drawn from. `images_per_second` is what one core of the machine of
    `benchmarks/results` trains on, by which fits of equal seconds are given equal time."""

    model: ModelSpec
    images_per_second: int
    learning_rate: float
    beta_1: float = 0.9
    sampling: SamplingSpec = ONE_PASS


SOLVER = SamplingSpec(sampler="dpmpp_2m", nfe=20, time_grid="uniform_log_snr")
PROBES = ("bits_per_dim", "single_seconds")
SMOKE_IMAGES = 1_000

# Seconds of training on one core at the whole budget.
FIT_SECONDS: dict[str, dict[Scale, float]] = {
    "digits": {"quick": 24.0, "standard": 120.0, "full": 600.0},
    "fashion_mnist": {"quick": 30.0, "standard": 400.0, "full": 3_600.0},
}


def _families(unet: BackboneSpec) -> dict[str, Family]:
    """All families at the size of the default network of a data set."""
    continuous = DiffusionSpec(backbone=unet)
    return {
        "ddpm_1000": Family(
            model=replace(continuous, schedule=ScheduleSpec(timesteps=1000), prediction="noise"),
            images_per_second=5_900,
            learning_rate=2e-3,
            sampling=SamplingSpec(sampler="ddpm", nfe=1000, time_grid="uniform_t", clip=True),
        ),
        "diffusion": Family(model=continuous, images_per_second=5_900, learning_rate=2e-3, sampling=SOLVER),
    }


def family(data: DataSpec, scale: Scale, *, family: str = "diffusion", budget: float = 1.0) -> TrialSpec:
    """A family trained for the share `budget` of the seconds of the data set and scale.

    Raises UserError for a family that is not known."""
    chosen = look_up(_families(size(data, "standard").backbone), family, "family")
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
