"""Generative classifiers: the label under which an image is the most probable, by Bayes' rule with equal priors.

Families with a likelihood tell it by that. A diffusion model is asked by its denoising error: the label that makes the
noise most predictable is taken (Li et al., 2023; Clark & Jaini, 2023), with all noise levels weighing alike, which is
not quite the bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench import rng
from workbench.diffusion.denoiser import Denoiser
from workbench.diffusion.objectives import uniform
from workbench.execution import BATCH_VALUES, Execution, batch_rows
from workbench.models import DiffusionModel, GenerativeModel, HasLikelihood
from workbench.recognition.activations import label_of, on_device
from workbench.registry import UserError
from workbench.shapes import over_rows

FIRST_CHECK = 4  # pairs after which labels are dropped for the first time
KEEP = 2.0  # on digits a fifth of the evaluations at 64 pairs, and all but one in 600 of the decisions
BLOCK = (
    4 * rng.BLOCK_ROWS
)  # images that are decided together, so that batches stay full when few labels are left


@dataclass(frozen=True, kw_only=True)
class Point:
    """What is decided after `pairs` pairs of noise and time: the `labels` int64 [N], and the network `evaluations` that
    an image has cost so far, on average."""

    pairs: int
    labels: Tensor
    evaluations: float


@dataclass(frozen=True, kw_only=True)
class Bayes:
    """The decision: `labels` int64 [N], the mean number of network `evaluations` an image, and how it came about: the
    `curve` over 1, 2, 4, ... pairs, the last point being the decision."""

    labels: Tensor
    evaluations: float
    curve: tuple[Point, ...]


def bound_classifier(
    model: DiffusionModel,
    images: Tensor,
    *,
    draws: int,
    seed: int,
    execution: Execution,
    keep: float = KEEP,
) -> Bayes:
    """The label c of least E |noise - noise_c(x_t, t)|^2 for each image [N, *S] in [-1, 1], t uniform as in Li et al.
    (2023), from at most `draws` pairs of t and noise; see `error_classifier`.

    Raises UserError for a model without labels.
    """
    _require_labels(model)
    return error_classifier(
        model.preconditioned,
        images,
        classes=model.classes,
        draws=draws,
        seed=seed,
        execution=execution,
        keep=keep,
    )


@torch.no_grad()
def error_classifier(
    denoiser: Denoiser,
    images: Tensor,
    *,
    classes: int,
    draws: int,
    seed: int,
    execution: Execution,
    keep: float = KEEP,
) -> Bayes:
    """The label of least error of the predicted noise, for a denoiser that is told one of `classes` labels.

    Every error of the noise counts alike, whatever t: with t uniform this weighting, not that of the bound, is what
    classifies best by Li et al. (2023). All labels of an image meet the same pairs (t, noise), the first 2^k of which
    cover t evenly, so that labels are compared in pairs. After 4, 8, 16, ... pairs a label is dropped when its error
    exceeds that of the best by more than `keep` standard errors of their mean difference (infinite: never); an image
    with one label left costs nothing more. Row i does not depend on the rows beside it. Raises UserError for less than
    one draw, or a `keep` that is not positive.
    """
    if draws < 1:
        raise UserError(f"draws: {draws} given; at least one pair of time and noise is needed")
    if not keep > 0:
        raise UserError(f"keep: {keep} given; a positive number of standard errors is needed")
    stages = [1 << k for k in range(draws.bit_length()) if 1 << k < draws] + [draws]
    labels = torch.zeros(len(stages), len(images), dtype=torch.long)
    used = torch.zeros(len(stages), dtype=torch.long)
    for start in range(0, len(images), BLOCK):
        block = _Block(denoiser, images[start : start + BLOCK], start, classes, draws, seed, execution)
        for index, pairs in enumerate(stages):
            block.extend(pairs)
            labels[index, start : start + BLOCK] = block.decide(keep)
            used[index] += block.used
    curve = tuple(
        Point(pairs=pairs, labels=decided, evaluations=count / max(len(images), 1))
        for pairs, decided, count in zip(stages, labels, used.tolist(), strict=True)
    )
    return Bayes(labels=curve[-1].labels, evaluations=curve[-1].evaluations, curve=curve)


class _Block:
    """The errors of some images under the labels that are still possible: float64 [rows, classes, draws]."""

    def __init__(
        self,
        denoiser: Denoiser,
        images: Tensor,
        start: int,
        classes: int,
        draws: int,
        seed: int,
        execution: Execution,
    ) -> None:
        self.denoiser, self.images, self.start, self.seed = denoiser, images, start, seed
        self.execution = execution
        self.errors = torch.zeros(len(images), classes, draws, dtype=torch.float64)
        self.open = torch.ones(len(images), classes, dtype=torch.bool)
        self.pairs = self.used = 0
        # A shift of its own for each row, so that no two images are asked at the same times.
        shift = torch.special.ndtr(self._normal("bayes time", 0, shape=(), dtype=torch.float64))
        quantiles = (shift[:, None] + van_der_corput(draws)) % 1  # [rows, draws]
        self.times = uniform(quantiles, denoiser.schedule)

    def extend(self, pairs: int) -> None:
        """Evaluate the open labels of all images that have more than one at the pairs up to `pairs`."""
        undecided = self.open.sum(1) > 1
        waiting = self.open & undecided[:, None]
        noise = torch.stack(
            [
                self._normal("bayes noise", pair, shape=tuple(self.images.shape[1:]), dtype=torch.float32)
                for pair in range(self.pairs, pairs)
            ]
        )
        # Each row of `todo` is (pair, image, label); the labels of an image at a pair stand side by side.
        todo = waiting.expand(pairs - self.pairs, -1, -1).nonzero()
        size = batch_rows(tuple(self.images.shape[1:]), max(len(todo), 1))
        for part in todo.split(size):
            pair, row, label = part.unbind(1)
            t = self.times[row, self.pairs + pair]
            errors = self._errors(self.images[row], t, noise[pair, row], label)
            self.errors[row, label, self.pairs + pair] = errors
        self.used += len(todo)
        self.pairs = pairs

    def decide(self, keep: float) -> Tensor:
        """The best label of each image so far [rows], after dropping those that are worse for certain."""
        errors = self.errors[:, :, : self.pairs]
        means = errors.mean(2).masked_fill(~self.open, math.inf)
        best = means.argmin(1)
        if self.pairs >= FIRST_CHECK:
            gap = errors - errors[torch.arange(len(best)), best][:, None]
            limit = keep * gap.std(2) / self.pairs**0.5
            undecided = self.open.sum(1, keepdim=True) > 1  # the others have errors of earlier pairs alone
            self.open &= ~(undecided & (gap.mean(2) > limit))
        return best

    def _errors(self, x_0: Tensor, t: Tensor, noise: Tensor, label: Tensor) -> Tensor:
        """The mean squared error of the noise that the denoiser predicts for each row: float64 [B]."""
        alpha, sigma = (over_rows(c, x_0).to(x_0.dtype) for c in self.denoiser.schedule(t))
        x_t, x_0, ratio = (
            on_device(rows, self.execution) for rows in (alpha * x_0 + sigma * noise, x_0, alpha / sigma)
        )
        with self.execution.autocast():
            denoised = self.denoiser(x_t, t.to(x_t.device), label.to(x_t.device))
        error: Tensor = ratio * (denoised.to(x_0.dtype) - x_0)  # of the noise: x_t is alpha x_0 + sigma noise
        return error.flatten(1).square().mean(1).double().cpu()

    def _normal(self, purpose: str, pair: int, *, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        stop = self.start + len(self.images)
        return rng.normal_rows(
            self.seed, purpose, pair, start=self.start, stop=stop, shape=shape, dtype=dtype
        )


def van_der_corput(count: int) -> Tensor:
    """The first `count` numbers of the binary van der Corput sequence, float64 in [0, 1): the digits of the index
    mirrored at the point, so that any first 2^k lie one in each of 2^k equal cells."""
    index, value = torch.arange(count), torch.zeros(count, dtype=torch.float64)
    for place in range(max(count - 1, 1).bit_length()):
        value += (index >> place & 1) / 2.0 ** (place + 1)
    return value


@torch.no_grad()
def density_classifier(model: GenerativeModel, images: Tensor, *, seed: int, execution: Execution) -> Tensor:
    """The log-density in nats of each image [N, *S] under each label: float32 [N, classes]; its argmax classifies.

    Exact for a flow at one dequantisation, a bound for a VAE or a diffusion model. All labels of an image meet the same
    noise, and all is computed in float32. Raises UserError for a model without labels or without a likelihood.
    """
    _require_labels(model)
    if not isinstance(model, HasLikelihood):
        raise UserError(f"model: {type(model).__name__} has no likelihood; a classifier by density needs one")
    size = max(32, BATCH_VALUES // math.prod(model.event.shape))
    parts = []
    for start in range(0, len(images), size):
        x_0 = on_device(images[start : start + size], execution)
        scores = [
            model.log_prob(x_0, label_of(x_0, label), rng.stream(seed, "density", start))
            for label in range(model.classes)
        ]
        parts.append(torch.stack(scores, dim=1).float().cpu())
    return torch.cat(parts)


def _require_labels(model: GenerativeModel) -> None:
    if not model.classes:
        raise UserError(
            f"model: unconditional {type(model).__name__}; a classifier needs a model trained with labels"
        )
