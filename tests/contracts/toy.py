"""A data set of two kinds of images that any family can learn: the left or the right half is bright."""

from __future__ import annotations

import torch

from workbench.data import Dataset, Split


def halves(rows: int = 16, levels: tuple[int, int] = (16, 16)) -> Dataset:
    """Images [rows, 1, 8, 8] of classes in turn, their bright half at one of two `levels` of 17 for two rows each."""
    labels = torch.arange(rows) % 2
    images = torch.zeros(rows, 1, 8, 8, dtype=torch.uint8)
    bright = torch.where(torch.arange(rows) % 4 < 2, *levels).to(torch.uint8)[:, None, None, None]
    images[labels == 0, :, :, :4] = bright[labels == 0]
    images[labels == 1, :, :, 4:] = bright[labels == 1]
    split = Split(images, labels)
    return Dataset("toy", 17, ("a", "b"), split, split, split)
