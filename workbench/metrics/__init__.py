"""Measures of generated rows against real ones, by name. A measure in a feature space is named `frechet[cnn]`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from workbench import rng
from workbench.metrics import copying, distances, labels, manifold
from workbench.metrics.copying import with_copy_threshold
from workbench.metrics.extractors import EXTRACTORS, Classifier, RandomConv, describe, extract
from workbench.metrics.rows import Rows
from workbench.registry import UserError, look_up

__all__ = [
    "EXTRACTORS",
    "METRICS",
    "Classifier",
    "Metric",
    "RandomConv",
    "Rows",
    "describe",
    "extract",
    "floors",
    "measure",
    "metric_of",
    "with_copy_threshold",
]

Compute = Callable[[Rows, Rows, Rows, str, torch.Generator], float]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A measure: `compute(generated, reference, train, extractor, generator)` gives one number.

    `direction` tells whether lower or higher is better; `least_rows` is the number of generated and of reference rows
    under which its formula is not defined. With `per_extractor` it is taken in each feature space, else once, and the
    extractor is then the empty string. `floor_rows` says which real rows stand for a perfect generator: `held_out`
    rows, or the `reference` rows, for a measure whose answer for rows that a model was trained on says nothing.
    """

    name: str
    unit: str
    direction: Literal["lower", "higher", "none"]
    least_rows: int
    per_extractor: bool
    floor_rows: Literal["held_out", "reference"]
    compute: Compute


def _features(function: Callable[[Tensor, Tensor], float]) -> Compute:
    def compute(generated: Rows, reference: Rows, _train: Rows, extractor: str, _: torch.Generator) -> float:
        return function(_feature_rows(generated, extractor), _feature_rows(reference, extractor))

    return compute


def _class_histogram(
    generated: Rows, reference: Rows, _train: Rows, _extractor: str, _: torch.Generator
) -> float:
    return labels.class_histogram(_probabilities(generated), _probabilities(reference))


def _recognised(
    generated: Rows, _reference: Rows, _train: Rows, _extractor: str, _: torch.Generator
) -> float:
    if generated.labels is None:
        raise UserError(
            "measures: 'recognised' needs the labels that the rows were drawn for, and there are none."
        )
    return labels.recognised(_probabilities(generated), generated.labels)


def _copy_rate(
    generated: Rows, _reference: Rows, train: Rows, _extractor: str, generator: torch.Generator
) -> float:
    threshold = train.copy_threshold
    if threshold is None:
        threshold = copying.copy_threshold(train.images, generator)
    return copying.copy_rate(generated.images, train.images, threshold)


def _feature_rows(rows: Rows, extractor: str) -> Tensor:
    return look_up(rows.features, extractor, "extractors")


def _probabilities(rows: Rows) -> Tensor:
    if rows.probabilities is None:
        raise UserError(
            "measures: class_histogram and recognised need a trained classifier, and none is given."
        )
    return rows.probabilities


def _in_features(
    name: str,
    unit: str,
    direction: Literal["lower", "higher"],
    least_rows: int,
    function: Callable[[Tensor, Tensor], float],
) -> Metric:
    return Metric(
        name=name,
        unit=unit,
        direction=direction,
        least_rows=least_rows,
        per_extractor=True,
        floor_rows="held_out",
        compute=_features(function),
    )


def _once(
    name: str,
    direction: Literal["lower", "higher"],
    floor_rows: Literal["held_out", "reference"],
    compute: Compute,
) -> Metric:
    return Metric(
        name=name,
        unit="share",
        direction=direction,
        least_rows=1,
        per_extractor=False,
        floor_rows=floor_rows,
        compute=compute,
    )


_NEIGHBOURS = manifold.NEAREST + 1
METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _in_features("frechet", "squared feature units", "lower", 2, distances.frechet),
        _in_features("kernel", "squared kernel units", "lower", 2, distances.kernel),
        _in_features("precision", "share", "higher", _NEIGHBOURS, manifold.precision),
        _in_features("recall", "share", "higher", _NEIGHBOURS, manifold.recall),
        _in_features("density", "balls per k", "higher", _NEIGHBOURS, manifold.density),
        _in_features("coverage", "share", "higher", _NEIGHBOURS, manifold.coverage),
        _once("class_histogram", "lower", "held_out", _class_histogram),
        _once("recognised", "higher", "reference", _recognised),
        _once("copy_rate", "lower", "reference", _copy_rate),
    )
}
LEAST_TRAIN_ROWS = 3


def metric_of(measure: str) -> Metric:
    """The metric behind the name of a measure: that of `frechet` for `frechet[cnn]`. Raises UserError if unknown."""
    return look_up(METRICS, measure.partition("[")[0], "measures")


def measure(
    names: Sequence[str], extractors: Sequence[str], generated: Rows, reference: Rows, train: Rows, seed: int
) -> dict[str, float]:
    """Each measure of `names`, in each feature space of `extractors` where it is taken in one: `frechet[cnn]` -> value.

    `generated` are compared with `reference`, real rows that no model was trained on, and looked up among `train`.
    Raises UserError for an unknown name, features or probabilities that are not there, rows that are not finite, and
    fewer rows than a measure needs.
    """
    result: dict[str, float] = {}
    for name in names:
        metric = look_up(METRICS, name, "measures")
        _check_rows(metric, generated, reference, train)
        for extractor in extractors if metric.per_extractor else ("",):
            generator = rng.stream(seed, f"measure {name}")
            value = metric.compute(generated, reference, train, extractor, generator)
            result[f"{name}[{extractor}]" if extractor else name] = value
    return result


def floors(
    names: Sequence[str], extractors: Sequence[str], held_out: Rows, reference: Rows, train: Rows, seed: int
) -> dict[str, float]:
    """What `measure` gives for rows as good as real ones: real rows in the place of generated ones, as many as those.

    `held_out` are real rows that are not in `reference`: best ones that neither the classifier nor the model was
    trained on, else rows of the training split. The reference rows themselves are looked at for `copy_rate`, as each
    training row is its own copy, and for `recognised`, as the classifier knows its training rows by heart.
    """
    return {
        name: value
        for measure_name in names
        for name, value in measure(
            (measure_name,),
            extractors,
            held_out if look_up(METRICS, measure_name, "measures").floor_rows == "held_out" else reference,
            reference,
            train,
            seed,
        ).items()
    }


def _check_rows(metric: Metric, generated: Rows, reference: Rows, train: Rows) -> None:
    for kind, rows in (("generated", generated), ("reference", reference)):
        if len(rows) < metric.least_rows:
            raise UserError(
                f"measures: {metric.name!r} needs at least {metric.least_rows} {kind} rows, and there are {len(rows)}."
            )
        bad = int((~torch.isfinite(rows.images.flatten(1))).any(1).sum())
        if bad:
            raise UserError(
                f"measures: {bad} of {len(rows)} {kind} rows are not finite; the model has diverged."
            )
    if metric.name == "copy_rate" and len(train) < LEAST_TRAIN_ROWS:
        raise UserError(
            f"measures: 'copy_rate' needs at least {LEAST_TRAIN_ROWS} training rows, and there are {len(train)}."
        )
