"""Before a study of classification starts: can its models do what is asked of them, and how many rows will they see?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from workbench.registry import UserError, unknown
from workbench.spec import (
    BayesSpec,
    ClassifierSpec,
    DiffusionSpec,
    FeatureSpec,
    GANSpec,
    LadderVAESpec,
    LatentDiffusionSpec,
    ModelSpec,
    ReadoutSpec,
    RecognitionSpec,
    SupervisedSpec,
    TrunkClassifierSpec,
    VAESpec,
)

if TYPE_CHECKING:
    from workbench.data import Dataset

CORRUPTED_SETS = 12  # four corruptions at three severities
PRUNED = 0.2  # of the pairs and classes, about what is evaluated as classes are dropped
BOUND_PASSES = 4.5  # through a VAE, for its bound: images are encoded once, their latents decoded eight times
CHOSEN_FROM = 2_000  # validation rows that the choice of a layer looks at
LAYERS = 5  # of the default network
CELL_SECONDS = 2e-4  # a training row, of a linear readout of one penalty
READOUT_SECONDS = 1e-3  # a training row, of a readout and its one choice, a mean over kinds
ENCODED = (VAESpec,)  # families whose latents are features
CLASSIFIERS = (ClassifierSpec, TrunkClassifierSpec)


def check(spec: FeatureSpec | RecognitionSpec, dataset: Dataset) -> None:
    """Raises UserError for a model that cannot do what is asked of it, for a layer that it does not have, and for a
    choice of rows in which a class is missing."""
    if isinstance(spec, FeatureSpec):
        _check_features(spec, dataset)
    elif isinstance(spec.by, ReadoutSpec):
        _between("labelled", spec.by.labelled, 0, 1)
        _at_least_one("draws", spec.by.draws)
    elif isinstance(spec.by, BayesSpec):
        _at_least_one("pairs", spec.by.pairs)
        _at_least_one("rows", spec.by.rows)
        _check_bayes(spec.by.fit.model)
    elif isinstance(spec.by, SupervisedSpec) and not isinstance(spec.by.fit.model, CLASSIFIERS):
        raise UserError(f"model: {_name(spec.by.fit.model)} tells no classes; a classifier does")


def rows_looked_at(spec: FeatureSpec, dataset: Dataset) -> float:
    """Rows that go through the network for the features of a data set, as if each went through all of it; none where
    there is no network."""
    if spec.source is None:
        return 0.0
    rows = spec.train_share * len(dataset.train) + len(dataset.validation) + len(dataset.test)
    rows += CORRUPTED_SETS * spec.corrupted_rows
    if spec.of != "activations":
        return rows
    chosen_from = min(spec.grid_rows, len(dataset.train)) + min(CHOSEN_FROM, len(dataset.validation))
    return spec.draws * rows + (len(spec.times) + 1) * chosen_from


def rows_told(spec: RecognitionSpec, dataset: Dataset) -> float:
    """Evaluations of one row by the network of a trial of classification."""
    by = spec.by
    if isinstance(by, ReadoutSpec):
        return 0.0 if by.drawn is None else float(by.drawn.sampling.rows * by.drawn.sampling.nfe)
    if isinstance(by, SupervisedSpec):
        return float(len(dataset.test) + CORRUPTED_SETS * by.corrupted_rows)
    rows = (by.rows + CORRUPTED_SETS * by.corrupted_rows) * len(dataset.classes)
    if isinstance(by.fit.model, DiffusionSpec):
        return rows * PRUNED * by.pairs
    return rows * (BOUND_PASSES if isinstance(by.fit.model, (VAESpec, LadderVAESpec)) else 1.0)


def readout_seconds(spec: FeatureSpec | RecognitionSpec, dataset: Dataset) -> float:
    """About the seconds of the readouts that are fitted on features: of the cells of the choice of a layer, or of a
    trial."""
    if isinstance(spec, FeatureSpec):
        if spec.of != "activations":
            return 0.0
        cells = len(spec.times) * (len(spec.layers) or LAYERS) + len(spec.sides)
        return cells * min(spec.grid_rows, len(dataset.train)) * CELL_SECONDS
    if not isinstance(spec.by, ReadoutSpec):
        return 0.0
    share = min(spec.by.labelled, spec.by.features.train_share)
    return spec.by.draws * share * len(dataset.train) * READOUT_SECONDS


def _check_features(spec: FeatureSpec, dataset: Dataset) -> None:
    from workbench.models import Event, build
    from workbench.recognition import layers

    _between("features.train_share", spec.train_share, 0, 1)
    for name, value in (
        ("components", spec.components),
        ("draws", spec.draws),
        ("grid_rows", spec.grid_rows),
    ):
        _at_least_one(f"features.{name}", value)
    _check_classes("train_share", spec.train_share, math.ceil(spec.train_share * len(dataset.train)), dataset)
    model = None if spec.source is None else spec.source.model
    if spec.of == "latents" and not isinstance(model, ENCODED):
        raise UserError(f"features: {_name(model)} has no encoder, so no latents; a VAE does")
    if spec.of == "activations":
        if not isinstance(model, DiffusionSpec):
            raise UserError(
                f"features: {_name(model)} is no denoiser; activations are those of a diffusion model"
            )
        if not spec.times or not 0 < min(spec.times) <= max(spec.times) < 1:
            raise UserError(
                f"features.times: {spec.times} given; noise levels above 0 and below 1 are needed"
            )
        if not spec.sides or min(spec.sides) < 1:
            raise UserError(f"features.sides: {spec.sides} given; whole numbers from 1 are needed")
        _check_classes("grid_rows", spec.grid_rows, spec.grid_rows, dataset)
        known = layers(build(model, Event.of(dataset)))
        for name in spec.layers:
            if name not in known:
                raise unknown("features.layers", name, known)


def _check_classes(name: str, value: float, rows: int, dataset: Dataset) -> None:
    """Raises UserError where a readout would learn from rows that lack a class."""
    present = len(dataset.train.labels[:rows].unique())
    if present < len(dataset.classes):
        raise UserError(
            f"features.{name}: {value:g} given, which is {min(rows, len(dataset.train))} training rows; {present} of "
            f"{len(dataset.classes)} classes are among them, and a readout needs all: more rows are needed"
        )


def _check_bayes(model: ModelSpec) -> None:
    if isinstance(model, (GANSpec, LatentDiffusionSpec, *CLASSIFIERS)):
        raise UserError(f"model: {_name(model)} tells no likelihood; Bayes' rule needs one")
    if not model.conditional:
        raise UserError(
            f"model: {_name(model)} is unconditional; to classify by Bayes' rule it has to be trained with labels"
        )


def _between(name: str, value: float, low: float, high: float) -> None:
    if not low < value <= high:
        raise UserError(f"{name}: {value:g} given; a number above {low:g} and up to {high:g} is needed")


def _at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise UserError(f"{name}: {value} given; a whole number from 1 is needed")


def _name(model: ModelSpec | None) -> str:
    return "none" if model is None else type(model).__name__.removesuffix("Spec")
