"""What a family with an encoder makes of real images: their reconstructions, and the way from one to another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipelines import drawing, names
from workbench.data import Dataset, to_bytes, to_display, to_float
from workbench.execution import Execution
from workbench.models import GenerativeModel, HasLatent
from workbench.models.interpolation import interpolated

LATENT = (
    "latent.npz"  # display bytes: images and reconstructions [N, C, H, W], interpolations [P, F, C, H, W]
)
RECONSTRUCTED, PAIRS, STEPS = (
    30,
    6,
    8,
)  # test images, pairs of them, latents on the way with both ends among them


def take(
    model: GenerativeModel, data: Dataset, execution: Execution, folder: Path
) -> tuple[Mapping[str, Image.Image], Mapping[str, str]]:
    """Save what the model makes of test images to `folder`; returns pictures of it, and the tag that tells how latents
    were interpolated. Nothing for a family without an encoder.

    A pair is two test images of one class, so that a model with labels decodes the whole way with one label. F frames
    are the first image, STEPS decoded latents and the other image. In float32, as likelihoods are.
    """
    if not isinstance(model, HasLatent):
        return {}, {}

    def shown(images: Tensor) -> Tensor:
        return to_display(to_bytes(images.float().cpu(), data.levels), data.levels)

    def placed(rows: Tensor) -> tuple[Tensor, Tensor | None]:
        images = to_float(data.test.images[rows], data.levels).to(execution.device)
        return images, data.test.labels[rows].to(execution.device) if model.classes else None

    with torch.no_grad():
        images, cond = placed(torch.arange(min(RECONSTRUCTED, len(data.test))))
        reconstructions = shown(model.decode(model.encode(images, cond), cond))
        (first, cond), (last, _) = map(placed, pairs(data.test.labels))
        start, end = model.encode(first, cond), model.encode(last, cond)
        shares = torch.linspace(0, 1, STEPS).tolist()
        way = [model.decode(interpolated(start, end, share, model.interpolation), cond) for share in shares]
        interpolations = torch.stack([shown(frame) for frame in (first, *way, last)], dim=1)
    originals = shown(images)
    np.savez_compressed(
        folder / LATENT,
        allow_pickle=False,
        images=originals.numpy(),
        reconstructions=reconstructions.numpy(),
        interpolations=interpolations.numpy(),
    )
    tens = torch.arange(len(originals)).split(drawing.GRID_COLUMNS)
    lines = [each[rows] for rows in tens for each in (originals, reconstructions)]
    pictures = {
        "reconstructions": drawing.grid(torch.cat(lines)),
        "interpolations": drawing.grid(interpolations.flatten(0, 1)),
    }
    return pictures, {names.TAG_INTERPOLATION: model.interpolation}


def pairs(labels: Tensor) -> tuple[Tensor, Tensor]:
    """The first two rows of each of the first PAIRS classes, as the first and the second rows: int64 [P] each. A class
    of one row makes a pair with itself."""
    rows = [(labels == label).nonzero()[:, 0] for label in labels.unique()[:PAIRS]]
    return torch.stack([each[0] for each in rows]), torch.stack([each[:2][-1] for each in rows])
