"""Trials of classification: which features of an image are looked at, and how its class is read from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from workbench.spec.trials import DataSpec, FitSpec, TrialSpec

Features = Literal["pixels", "principal", "activations", "latents"]
Readout = Literal["logistic", "knn", "mlp"]


@dataclass(frozen=True, kw_only=True)
class FeatureSpec:
    """Features of all rows of a data set: the `pixels`, their `principal` components (up to `components`, and up to
    half as many as there are pixels), a denoiser's `activations`, or the `latents` of a model with an encoder; the
    latter two of the model that `source` trains.

    Activations are read at a layer, a noise level and a grid that are chosen on the validation split, by the accuracy
    of a linear readout of `grid_rows` training rows: first among the `layers` named (none: all of the network) and the
    `times` t, averaged to a grid of as many cells a side as the first of `sides`; then, there, among all `sides`. The
    features are means over `draws` of the noise. `untrained` draws the weights of the network anew. Features are taken
    of the first `train_share` of the training rows, and of the first `corrupted_rows` test rows under each corruption
    at each severity.
    """

    of: Features
    data: DataSpec
    source: FitSpec | None = None
    untrained: bool = False
    components: int = 64
    layers: tuple[str, ...] = ()
    times: tuple[float, ...] = (0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7)
    sides: tuple[int, ...] = (4, 1, 8)
    grid_rows: int = 5_000
    draws: int = 2
    train_share: float = 1.0
    corrupted_rows: int = 0
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class ReadoutSpec:
    """A readout trained on features: of the share `labelled` of the training rows, at least a few of each class, as the
    mean over `draws` random choices of them where not all are taken; its one hyperparameter is chosen on the validation
    split. `drawn` says how samples of the same fit are drawn and measured beside, where that is of interest."""

    features: FeatureSpec
    head: Readout = "logistic"
    labelled: float = 1.0
    draws: int = 1
    drawn: TrialSpec | None = None


@dataclass(frozen=True, kw_only=True)
class BayesSpec:
    """The class under which a generative model finds an image most probable, or by which it tells the noise best.

    A diffusion model is asked at up to `pairs` pairs of noise level and noise, the same for all classes of an image;
    other families tell their density or its bound. The first `rows` test rows are classified, and the first
    `corrupted_rows` of them under each corruption.
    """

    fit: FitSpec
    pairs: int = 64
    rows: int = 500
    corrupted_rows: int = 0


@dataclass(frozen=True, kw_only=True)
class SupervisedSpec:
    """A network trained to tell the class; the first `corrupted_rows` test rows are tried under each corruption."""

    fit: FitSpec
    corrupted_rows: int = 0


@dataclass(frozen=True, kw_only=True)
class RecognitionSpec:
    """One row of a study of classification: how the class of a test image is told. `seed` addresses the choice of
    labelled rows and the noise of features and bounds."""

    by: ReadoutSpec | BayesSpec | SupervisedSpec
    seed: int = 0


def data_of(spec: RecognitionSpec) -> DataSpec:
    """The data whose test rows a trial of classification is about."""
    return spec.by.features.data if isinstance(spec.by, ReadoutSpec) else spec.by.fit.data


def fit_of(spec: RecognitionSpec) -> FitSpec | None:
    """The fit that a trial of classification rests on; None where nothing was trained before the readout."""
    return spec.by.features.source if isinstance(spec.by, ReadoutSpec) else spec.by.fit
