"""From diffusion to a hierarchical VAE, one difference at a time: what `hierarchy` compares."""

from __future__ import annotations

import math
from dataclasses import replace

from workbench.presets.common import SMOKE_IMAGES, generative_trial, size
from workbench.presets.families import family
from workbench.registry import UserError, look_up
from workbench.spec import (
    Arm,
    BackboneSpec,
    DataSpec,
    FitSpec,
    LadderVAESpec,
    MarkovHierarchySpec,
    SamplingSpec,
    Scale,
    TrialSpec,
    arm,
    with_fields,
)

EQUAL_TOTAL = "networks_equal_total"
LADDER = "ladder_vae"

# What each variant changes of diffusion that is trained by its bound.
VARIANTS: dict[str, Arm] = {
    "diffusion_bound": (),
    "diffusion_denoising": arm(objective="denoising"),
    "learned_schedule": arm(encoder="schedule"),
    "learned_encoder": arm(encoder="network"),
    "quarter_latents": arm(latent_share=0.25),
    "quarter_latents_learned": arm(latent_share=0.25, encoder="network"),
    EQUAL_TOTAL: arm(decoder="separate"),
    "networks_equal_each": arm(decoder="separate"),
}
# The layers of a ladder VAE of so many stages, the finest level first, and the width that gives it the parameters of a
# U-Net of width UNET_WIDTH.
UNET_WIDTH = 32
LADDERS: dict[int, tuple[tuple[int, ...], int]] = {4: ((1, 1, 2), 37)}
# Learning rates. On digits a network for all stages ends at about one validation loss from 2 to 8 thousandths, narrow
# networks of a stage each learn best at the highest of these; the ladder VAE has that of its family. On Fashion-MNIST
# (30,000 images in batches of 32, one seed) these had less validation loss than the half of them: one network for 4 and
# for 16 stages, narrow networks for 4, and a learned encoder of a quarter of the dimensions with 4.
RATE = 4e-3
RATES = {EQUAL_TOTAL: 8e-3}

# Training images of every arm.
IMAGES: dict[str, dict[Scale, int]] = {
    "digits": {"quick": 50_000, "standard": 300_000, "full": 2_000_000},
    "fashion_mnist": {"quick": 20_000, "standard": 60_000, "full": 5_000_000},
}


def hierarchy(
    data: DataSpec, scale: Scale, *, variant: str = "diffusion_bound", stages: int = 16
) -> TrialSpec:
    """A hierarchy of `stages` latents: diffusion trained by its bound, what `variant` changes of it, or a ladder VAE.

    All see the same images in the same batches. Networks of their own for each stage are as wide as the one of the
    others, or with `networks_equal_total` narrower by the root of their number, which leaves all together about its
    parameters. Raises UserError for a variant that is not known or stages that it does not have.
    """
    images = IMAGES.get(data.name, IMAGES["fashion_mnist"])
    seen = SMOKE_IMAGES if scale == "smoke" else images[scale]
    backbone = size(data, scale).backbone
    # Without attention, whose heads are 32 channels wide, any width can be had.
    backbone = replace(backbone, attention=(False,) * len(backbone.multipliers))
    if variant == LADDER:
        model: LadderVAESpec | MarkovHierarchySpec = _ladder(data, backbone, stages)
    else:
        changes = look_up({**VARIANTS, LADDER: ()}, variant, "variant")
        if variant == EQUAL_TOTAL:
            backbone = replace(backbone, width=round(backbone.width / math.sqrt(max(stages, 1))))
        model = with_fields(MarkovHierarchySpec(backbone=backbone, stages=stages), changes)
    return generative_trial(
        data,
        scale,
        model=model,
        images_seen=seen,
        sampling=SamplingSpec(sampler="ddpm", nfe=1 if variant == LADDER else stages),
        learning_rate=_learning_rate(data, scale, variant),
        batch_size=size(data, scale).short_batch_size,
        probes=("bits_per_dim", "single_seconds"),
    )


def _learning_rate(data: DataSpec, scale: Scale, variant: str) -> float:
    if variant == LADDER:
        fit = family(data, scale, family=LADDER).source
        assert isinstance(fit, FitSpec)
        return fit.optimiser.learning_rate
    return RATES.get(variant, RATE)


def _ladder(data: DataSpec, backbone: BackboneSpec, stages: int) -> LadderVAESpec:
    """The ladder VAE of so many stages, on the patches that the family of `families` has."""
    if stages not in LADDERS:
        raise UserError(f"stages: {stages} given; a ladder VAE is here with {' or '.join(map(str, LADDERS))}")
    layers, width = LADDERS[stages]
    return LadderVAESpec(
        layers=layers,
        width=width * backbone.width // UNET_WIDTH,
        patch=1 if data.name == "digits" else 2,
        dropout=0.1 if data.name == "digits" else 0.0,
    )
