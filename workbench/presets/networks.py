"""Backbones of diffusion models at equal parameters, equal FLOPs or equal seconds: what `backbones` compares."""

from __future__ import annotations

from dataclasses import replace

from workbench.presets.common import FLOW_MATCHING, SMOKE_IMAGES, checkpoint, generative_trial, size
from workbench.presets.sizes import SIZES_OF_BACKBONES, backbone_spec
from workbench.registry import look_up
from workbench.spec import DataSpec, FitSpec, SamplingSpec, Scale, TrialSpec

# All are trained by flow matching. After 16,000 images of Fashion-MNIST in batches of 32 a U-Net so trained draws
# nearer to the validation split, one seed: distance 80; 134 with the default of `DiffusionSpec`, 109 to 114 on the
# cosine schedule or at log-normal noise. Ten evaluations of this solver draw as near as twenty: after 12,000 images in
# batches of 16 at 78 and 82, a DiT after 8,000 at 109 and 111.
SAMPLING = SamplingSpec(sampler="dpmpp_2m", nfe=10, time_grid="uniform_t")

# Images a batch, but for long trainings of `full`. What learns in so short a time lacks steps. On digits batches of 64
# in place of 128 took a quarter more seconds for as many images and brought U-Net and DiT 1.5 and 1.6 times nearer to
# the validation split; those of 32 took 1.8 times the seconds for 1.7 and 1.8. On Fashion-MNIST batches of 16 in place
# of 32 brought the DiT nearer in fewer seconds, 105 after 18 and 111 after 26, and the U-Net as near in as many.
BATCH = {"digits": 64, "fashion_mnist": 16}

# Of 2, 4, 8 and 16 thousandths the rate after which images drawn, 1,000 or as many as the validation split has, are
# nearest to it, in a fit of equal FLOPs on 12,000 digits or 8,000 larger images: four trials for each backbone.
LEARNING_RATES: dict[str, dict[str, float]] = {
    "digits": {
        "unet": 4e-3,
        "unet_transformer": 4e-3,
        "dit": 1.6e-2,
        "uvit": 8e-3,
        "convnext": 8e-3,
        "mixer": 1.6e-2,
    },
    "fashion_mnist": {
        "unet": 4e-3,
        "unet_transformer": 2e-3,
        "dit": 8e-3,
        "uvit": 8e-3,
        "convnext": 8e-3,
        "mixer": 8e-3,
    },
}

# Training images of every backbone; at equal seconds, of the U-Net.
IMAGES: dict[str, dict[Scale, int]] = {
    "digits": {"quick": 12_000, "standard": 300_000, "full": 2_000_000},
    "fashion_mnist": {"quick": 8_000, "standard": 16_000, "full": 5_000_000},
}

# Training images in a second of one core over those of the U-Net, at equal FLOPs and in the batches of the data set.
SPEED: dict[str, dict[str, float]] = {
    "digits": {
        "unet": 1.0,
        "unet_transformer": 0.97,
        "dit": 0.91,
        "uvit": 1.23,
        "convnext": 1.21,
        "mixer": 0.87,
    },
    "fashion_mnist": {
        "unet": 1.0,
        "unet_transformer": 0.87,
        "dit": 0.64,
        "uvit": 0.71,
        "convnext": 0.70,
        "mixer": 0.55,
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
    """Flow matching with a small backbone, after the share `trained` of its training.

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
        model=replace(FLOW_MATCHING, backbone=spec),
        images_seen=images,
        sampling=SAMPLING,
        learning_rate=LEARNING_RATES[name][backbone],
        batch_size=size(data, scale).batch_size if scale == "full" else BATCH[name],
        probes=("single_seconds",),
    )
    assert isinstance(trial.source, FitSpec)
    # The label tells apart comparisons: the U-Net is the same in three of them.
    return replace(trial, source=checkpoint(trial.source, trained), label=matching)
