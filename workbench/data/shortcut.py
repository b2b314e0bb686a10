"""A shortcut: a pixel that tells the class in training, and misleads in the test rows (Geirhos et al., 2020)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from workbench import rng
from workbench.data.dataset import Dataset, Split
from workbench.registry import UserError


def with_shortcut(dataset: Dataset) -> Dataset:
    """The data set with a white pixel in the top row of each image, the rest of that row black: its column is that of
    the class, of a wrong class drawn for each row in the test split. Classes share the columns of a narrow image in
    turns between the top row and those below.

    Raises UserError for more classes than an image has pixels.
    """
    classes, (_, height, width) = len(dataset.classes), dataset.shape
    if classes > height * width:
        raise UserError(
            f"data.shortcut: {classes} classes given; images of {height * width} pixels mark as many"
        )
    offsets = torch.randint(1, classes, (len(dataset.test),), generator=rng.stream(0, "shortcut"))
    return replace(
        dataset,
        train=_marked(dataset.train, dataset.train.labels, dataset),
        validation=_marked(dataset.validation, dataset.validation.labels, dataset),
        test=_marked(dataset.test, (dataset.test.labels + offsets) % classes, dataset),
    )


def marked_classes(images: Tensor, classes: int) -> Tensor:
    """The class that the mark of each image [N, C, H, W] of `with_shortcut` tells: int64 [N]."""
    rows = -(-classes // images.shape[-1])
    return images[:, 0, :rows].flatten(1).argmax(1)


def _marked(split: Split, told: Tensor, dataset: Dataset) -> Split:
    """The rows with the mark of the class `told` [N] of each."""
    images, width = split.images.clone(), dataset.shape[-1]
    rows = -(-len(dataset.classes) // width)
    images[:, :, :rows] = 0
    images[torch.arange(len(images)), :, told // width, told % width] = dataset.levels - 1
    return Split(images, split.labels)
