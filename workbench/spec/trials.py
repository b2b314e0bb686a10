"""Trainings and trials: data, optimiser, budget, seed; how rows are drawn, what is measured."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from workbench.spec.models import ClassifierSpec, DiffusionSpec, ModelSpec, ScheduleSpec, Variance


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """A data set by name; `digest` is the sha256 of the content for data that the user brings, else None.

    `labelled` is the share of the training rows that are there, the same number of each class, at least
    four of each where there are so many; `draw` numbers the random choice of them. With `shortcut` a pixel
    in the first row tells the class in training and validation, and a wrong one in the test rows.
    """

    name: str = "digits"
    digest: str | None = None
    labelled: float = 1.0
    draw: int = 0
    shortcut: bool = False


@dataclass(frozen=True, kw_only=True)
class OptimiserSpec:
    """Adam with decoupled weight decay, linear warm-up, then a cosine to `final_fraction` of the learning rate."""

    learning_rate: float = 1e-3
    beta_1: float = 0.9
    beta_2: float = 0.99
    weight_decay: float = 0.0
    warmup_images: int = 10_000
    final_fraction: float = 0.0
    clip_norm: float = 1.0


@dataclass(frozen=True, kw_only=True)
class BudgetSpec:
    """How much a fit may see: `images_seen` training images in batches of `batch_size`."""

    images_seen: int = 100_000
    batch_size: int = 128

    @property
    def steps(self) -> int:
        """Optimiser steps, rounded up."""
        return -(-self.images_seen // self.batch_size)

    @property
    def decay_images(self) -> int:
        """The images over which the learning rate decays."""
        return self.images_seen


@dataclass(frozen=True, kw_only=True)
class CheckpointSpec(BudgetSpec):
    """A longer training, of `whole_images`, as it stands after `images_seen`: its learning rate has not decayed yet."""

    whole_images: int = 100_000

    @property
    def decay_images(self) -> int:
        return self.whole_images


@dataclass(frozen=True, kw_only=True)
class FitSpec:
    """A training: data, model, optimiser, budget, seed. The exponential moving average of the weights is the result.

    `ema_halflife_images` is the half-life of the average; it is shortened to 5 % of the images seen so far.
    """

    data: DataSpec = DataSpec()
    model: ModelSpec = DiffusionSpec()
    optimiser: OptimiserSpec = OptimiserSpec()
    budget: BudgetSpec = BudgetSpec()
    ema_halflife_images: int = 20_000
    seed: int = 0


def inner_fits(fit: FitSpec) -> tuple[FitSpec, ...]:
    """The fits that the model of a fit takes weights from: an autoencoder, a trunk."""
    values = (getattr(fit.model, entry.name) for entry in dataclasses.fields(fit.model))
    return tuple(value for value in values if isinstance(value, FitSpec))


def whole_training(fit: FitSpec) -> FitSpec:
    """The training that a fit is a checkpoint of; the fit itself where it is none."""
    if not isinstance(fit.budget, CheckpointSpec):
        return fit
    budget = BudgetSpec(images_seen=fit.budget.whole_images, batch_size=fit.budget.batch_size)
    return dataclasses.replace(fit, budget=budget)


@dataclass(frozen=True, kw_only=True)
class OracleSpec:
    """An exact denoiser of a Gaussian mixture in `dimensions` dimensions: no network, so no error of learning."""

    name: str = "mixture"
    components: int = 8
    dimensions: int = 16
    component_std: float = 0.15
    schedule: ScheduleSpec = ScheduleSpec()
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class SamplingSpec:
    """How rows are drawn. `nfe` is the budget of network evaluations a sample: the sampler takes as many steps as fit
    into it, and what it used is counted. `eta` scales the noise of DDIM; `variance` is that of the ancestral sampler.

    `guidance` is the scale of classifier-free guidance (1: none); `clip` bounds each clean prediction to the data
    range; `seed` addresses the initial noise and the Brownian path, which all arms of a study share.
    """

    sampler: str = "ddim"
    nfe: int = 20
    time_grid: str = "uniform_t"
    eta: float = 0.0
    variance: Variance = "small"
    guidance: float = 1.0
    clip: bool = False
    rows: int = 500
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class MeasureSpec:
    """Which measures are taken, in which feature spaces, against how many rows of the test split.

    `classifier` is the fit whose penultimate layer gives the feature space `cnn` and whose labels recognise samples.
    `probes` are taken of the model itself, not of its rows: its likelihood, the seconds that one image takes.
    """

    names: tuple[str, ...] = ("frechet", "kernel")
    extractors: tuple[str, ...] = ("cnn", "random_conv")
    classifier: FitSpec = FitSpec(model=ClassifierSpec())
    rows: int = 500
    probes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class OracleMeasureSpec:
    """Exact errors of rows drawn with an oracle: no features and no reference sample are needed."""

    names: tuple[str, ...] = ("endpoint_error", "sliced_wasserstein")


@dataclass(frozen=True, kw_only=True)
class TrialSpec:
    """One row of a study: where samples come from, how they are drawn, what is measured.

    `label` tells apart rows that are alike in all else, where a study compares one model in several ways.
    """

    source: FitSpec | OracleSpec
    sampling: SamplingSpec
    measures: MeasureSpec | OracleMeasureSpec
    label: str = ""
