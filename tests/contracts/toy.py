"""A data set of two kinds of images that any family can learn: the left or the right half is bright."""

from __future__ import annotations

from pathlib import Path

import torch

from workbench.data import Dataset, Split
from workbench.execution import Execution
from workbench.spec import BudgetSpec, FitSpec, ModelSpec, OptimiserSpec
from workbench.training import Fitted, fit


def halves(rows: int = 16, levels: tuple[int, int] = (16, 16)) -> Dataset:
    """Images [rows, 1, 8, 8] of classes in turn, their bright half at one of two `levels` of 17 for two rows each."""
    labels = torch.arange(rows) % 2
    images = torch.zeros(rows, 1, 8, 8, dtype=torch.uint8)
    bright = torch.where(torch.arange(rows) % 4 < 2, *levels).to(torch.uint8)[:, None, None, None]
    images[labels == 0, :, :, :4] = bright[labels == 0]
    images[labels == 1, :, :, 4:] = bright[labels == 1]
    split = Split(images, labels)
    return Dataset("toy", 17, ("a", "b"), split, split, split)


def trained(
    model: ModelSpec,
    *,
    steps: int,
    learning_rate: float,
    levels: tuple[int, int] = (16, 16),
    checkpoint: Path | None = None,
    seconds: float = 1e9,
    precision: torch.dtype = torch.float32,
) -> Fitted:
    """A model after some steps on all rows of `halves`; with `checkpoint`, saved there after each `seconds`."""
    spec = FitSpec(
        model=model,
        optimiser=OptimiserSpec(learning_rate=learning_rate, warmup_images=32),
        budget=BudgetSpec(images_seen=16 * steps, batch_size=16),
        ema_halflife_images=32,
    )
    return fit(
        spec,
        halves(levels=levels),
        execution=Execution(threads=1, precision=precision),
        checkpoint=checkpoint,
        checkpoint_seconds=seconds,
    )
