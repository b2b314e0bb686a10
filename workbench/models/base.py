"""The one interface of all families: a model is a module that names the objectives it is trained by.

What a family can do beyond that is asked for by isinstance: draw rows (GenerativeModel), tell how probable images are
(HasLikelihood), encode them (HasLatent).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from workbench.data import Dataset
from workbench.registry import UserError
from workbench.rng import Draws
from workbench.sampling.loop import OnStep
from workbench.spec import SamplingSpec

LikelihoodKind = Literal["exact", "bound", "estimate"]
Interpolation = Literal["spherical", "linear"]


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

    def adopt(self, inner: Sequence[Mapping[str, Tensor]]) -> None:
        """Take over the weights of the fits that the spec of this model names, in the order of `inner_fits`, before
        training; a model whose spec names none has nothing to take."""
        if inner:
            raise UserError(
                f"model: {type(self).__name__} takes no weights of other fits, {len(inner)} given"
            )


@dataclass(kw_only=True)
class Watch:
    """What is to be known of a sampling beside its rows: `evaluations` counts the rows that went through the network;
    `on_step` sees each evaluation of a family that draws step by step."""

    evaluations: int = 0
    on_step: OnStep | None = None


class GenerativeModel(Model):
    """A family that draws rows. `classes` is the number of labels that it is conditioned on, 0 for none."""

    classes: int

    @abstractmethod
    def sample(
        self, draws: Draws, cond: Tensor | None, sampling: SamplingSpec, watch: Watch | None = None
    ) -> Tensor:
        """Rows [B, *S], images of [-1, 1], for labels `cond` [B]; all randomness comes from `draws`."""

    def evaluations(self, sampling: SamplingSpec) -> int:
        """The network evaluations that a row of `sampling` will take, a guided one counted once."""
        return 1


@runtime_checkable
class HasLikelihood(Protocol):
    """A family that tells how probable images are, and whether that is exact, a lower bound or an unbiased estimate."""

    likelihood_kind: LikelihoodKind

    def log_prob(self, images: Tensor, cond: Tensor | None, generator: torch.Generator) -> Tensor:
        """The log-probability in nats of each image [B, *S] among all images of the data's levels: [B].

        `images` are floats in [-1, 1] that stand for levels. A density p over dequantised images counts as the
        probability of the cell of width 2 / (levels - 1) a value.
        """


@runtime_checkable
class Classifies(Protocol):
    """A model that tells classes."""

    def probabilities(self, images: Tensor) -> Tensor:
        """Class probabilities: images [N, *S] in [-1, 1] -> [N, classes]."""


@runtime_checkable
class HasLatent(Protocol):
    """A family with an encoder: images [B, *S] -> latents [B, *Z] -> images. The way between two latents is the arc
    where latents are standard normal a priori, and the line where their law is learned."""

    interpolation: Interpolation

    def encode(self, images: Tensor, cond: Tensor | None) -> Tensor:
        """The latents [B, *Z] of images [B, *S], without noise."""

    def decode(self, latents: Tensor, cond: Tensor | None) -> Tensor:
        """The images [B, *S] of latents [B, *Z], without noise."""
