"""Backbones of diffusion models at equal parameters, equal FLOPs or equal seconds: what `backbones` compares."""

from __future__ import annotations

from dataclasses import replace

from workbench.presets.common import SMOKE_IMAGES, SOLVER, checkpoint, generative_trial, size
from workbench.presets.sizes import SIZES_OF_BACKBONES, backbone_spec
from workbench.registry import look_up
from workbench.spec import DataSpec, DiffusionSpec, FitSpec, Scale, TrialSpec

# Of 1, 2, 4 and 8 thousandths the rate after which images drawn, 500 or as many as the validation split has, are
# nearest to it, in a fit of equal FLOPs on 20,000 digits or 6,000 larger images: four trials for each backbone.
LEARNING_RATES: dict[str, dict[str, float]] = {
    "digits": {
        "unet": 4e-3,
        "unet_transformer": 4e-3,
        "dit": 8e-3,
        "uvit": 8e-3,
        "convnext": 8e-3,
        "mixer": 8e-3,
    },
    "fashion_mnist": {
        "unet": 2e-3,
        "unet_transformer": 4e-3,
        "dit": 8e-3,
        "uvit": 4e-3,
        "convnext": 8e-3,
        "mixer": 8e-3,
    },
}

# Training images of every backbone; at equal seconds, of the U-Net.
IMAGES: dict[str, dict[Scale, int]] = {
    "digits": {"quick": 18_000, "standard": 300_000, "full": 2_000_000},
    "fashion_mnist": {"quick": 8_000, "standard": 16_000, "full": 5_000_000},
}

# Training images in a second of one core over those of the U-Net, at equal FLOPs and in the batches of the data set.
SPEED: dict[str, dict[str, float]] = {
    "digits": {
        "unet": 1.0,
        "unet_transformer": 1.0,
        "dit": 0.76,
        "uvit": 0.94,
        "convnext": 0.74,
        "mixer": 0.70,
    },
    "fashion_mnist": {
        "unet": 1.0,
        "unet_transformer": 1.04,
        "dit": 0.67,
        "uvit": 0.63,
        "convnext": 0.57,
        "mixer": 0.64,
    },
}


def network(
    data: DataSpec,
    scale: Scale,
    *,
    backbone: str = "unet",
    matching: str = "parameters",
    trained: float = 1.0,
) -> TrialSpec:
    """A diffusion model with a small backbone, after the share `trained` of its training.

    It is matched to the U-Net in `parameters`, `flops` or `seconds`, or in FLOPs to a smaller or larger U-Net by
    `flops_half` or `flops_double`. Networks of equal seconds are those of equal FLOPs, trained on as many images as
    they see in the U-Net's time. Raises UserError for a backbone or matching that is not known.
    """
    name = data.name if data.name in SIZES_OF_BACKBONES else "fashion_mnist"
    sized = {kind: kind for kind in SIZES_OF_BACKBONES[name]} | {"seconds": "flops"}
    spec = backbone_spec(backbone, name, look_up(sized, matching, "matching"))
    share = SPEED[name][backbone] if matching == "seconds" else 1.0
    images = SMOKE_IMAGES if scale == "smoke" else int(share * IMAGES[name][scale])
    trial = generative_trial(
        data,
        scale,
        model=DiffusionSpec(backbone=spec),
        images_seen=images,
        sampling=SOLVER,
        learning_rate=LEARNING_RATES[name][backbone],
        batch_size=size(data, scale).short_batch_size,
        probes=("single_seconds",),
    )
    assert isinstance(trial.source, FitSpec)
    # The label tells apart comparisons: the U-Net is the same in three of them.
    return replace(trial, source=checkpoint(trial.source, trained), label=matching)
