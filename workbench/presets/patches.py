"""What a transformer predicts against how large its patches are: what `patches` compares."""

from __future__ import annotations

import math

from workbench.presets.common import SMOKE_IMAGES, SOLVER, generative_trial
from workbench.registry import UserError
from workbench.spec import BackboneSpec, DataSpec, DiffusionSpec, Prediction, Scale, TrialSpec

# Pixels along a side of an image; own data are taken to be of 28 x 28, as everywhere before they are read.
SIDES = {"digits": 8, "fashion_mnist": 28, "cifar10": 32}

# A transformer of WIDTH channels and, on each data set, so many blocks. The rate was the best of four for it, on
# patches of two pixels and another target.
WIDTH = 64
BLOCKS = {"digits": 6, "fashion_mnist": 4}
LEARNING_RATE = 8e-3

# Training images of every arm.
IMAGES: dict[str, dict[Scale, int]] = {
    "digits": {"quick": 60_000, "standard": 300_000, "full": 2_000_000},
    "fashion_mnist": {"quick": 40_000, "standard": 300_000, "full": 5_000_000},
}


def patched(
    data: DataSpec, scale: Scale, *, prediction: Prediction = "clean", patch_share: float = 0.25
) -> TrialSpec:
    """A small diffusion transformer that predicts `prediction`, on patches whose side is about the share `patch_share`
    of the image's, so that whole patches fill the image; at 1 the whole image is one patch.

    The width is 64 channels: no more than the values of a whole digit of 8 x 8, and far fewer than those of larger
    images. The loss is one and the same function of the clean image in all arms, min-SNR-5 (Hang et al., 2023), so that
    arms differ in what the network has to put out alone. Raises UserError for a share that is not between one pixel and
    the whole side.
    """
    side = SIDES.get(data.name, SIDES["fashion_mnist"])
    if not 1 / side <= patch_share <= 1:
        raise UserError(f"patch_share: {patch_share:g} given; a share from 1/{side}, a pixel, to 1 is needed")
    name = data.name if data.name in BLOCKS else "fashion_mnist"
    backbone = BackboneSpec(name="dit", width=WIDTH, blocks=BLOCKS[name], patch=patch_of(side, patch_share))
    return generative_trial(
        data,
        scale,
        model=DiffusionSpec(backbone=backbone, prediction=prediction, weighting="min_snr"),
        images_seen=SMOKE_IMAGES if scale == "smoke" else IMAGES[name][scale],
        sampling=SOLVER,
        learning_rate=LEARNING_RATE,
    )


def patch_of(side: int, share: float) -> int:
    """The divisor of `side` whose share of it is nearest to `share`, by their ratio; of equals the smaller."""
    divisors = [patch for patch in range(1, side + 1) if side % patch == 0]
    return min(divisors, key=lambda patch: abs(math.log(patch / side / share)))
