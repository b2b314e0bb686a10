"""The one interface of all families: a model is a module that names the objectives it is trained by."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from workbench.data import Dataset


@dataclass(frozen=True, kw_only=True)
class Event:
    """What a model must know of its data: `shape` (C, *S) of a row in [-1, 1], number of `classes` and levels a value,
    and the standard deviation `std` of all training values."""

    shape: tuple[int, ...]
    classes: int
    levels: int
    std: float

    @classmethod
    def of(cls, dataset: Dataset) -> Event:
        """The event of a data set; the standard deviation is that of its training split."""
        images = dataset.train.images
        # From the histogram of values: exact, and without a float copy of all images.
        counts = torch.bincount(images.flatten(), minlength=dataset.levels).double()
        values = torch.linspace(-1, 1, dataset.levels, dtype=torch.float64)
        mean = (counts * values).sum() / counts.sum()
        std = ((counts * (values - mean).square()).sum() / counts.sum()).sqrt()
        shape = tuple(images.shape[1:])
        return cls(shape=shape, classes=len(dataset.classes), levels=dataset.levels, std=float(std))


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A loss and the parameters that it trains. `loss(images [B, *S], labels [B], generator)` gives one value a row:
    [B], in the unit that `unit` names."""

    name: str
    loss: Callable[[Tensor, Tensor, torch.Generator], Tensor]
    parameters: Callable[[], Iterable[nn.Parameter]]
    unit: str


class Model(nn.Module, ABC):
    """A family: built from its spec and an event, trained by its objectives, one for most families, two for a GAN."""

    event: Event

    @abstractmethod
    def objectives(self) -> tuple[Objective, ...]:
        """The losses that the training loop minimises in turn."""
