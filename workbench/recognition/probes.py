"""Readouts by name, fitted on training rows and chosen on validation rows. Nothing here ever sees a test row."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import torch.nn.functional as F
from torch import Tensor

from workbench.recognition.readouts import Neighbours, Probe, logistic, logistic_path, mlp_path
from workbench.registry import UserError, look_up

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)  # 1e-4 was never chosen, on either data set
NEIGHBOURS = (1, 5, 20)
MLP_CHECKS, MLP_PATIENCE, LEAST_STEPS = 30, 5, 50  # one check an epoch, or every LEAST_STEPS steps
QUICK_STRENGTH = 1e-2  # of the probe by which layers and noise levels are compared

Cell = TypeVar("Cell")


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A probe, the `choice` that was made on validation rows (its penalty, neighbours or steps), and its accuracy
    there."""

    probe: Probe
    choice: float
    validation_accuracy: float


def accuracy(scores: Tensor, labels: Tensor) -> float:
    """The share of rows whose highest score [N, classes] is that of the label [N]."""
    return float((scores.argmax(1) == labels).double().mean())


def fit_probe(
    name: str,
    train: Tensor,
    labels: Tensor,
    validation: Tensor,
    validation_labels: Tensor,
    classes: int,
    seed: int,
) -> Fitted:
    """The readout `name` of PROBES, learned from `train` [N, D] and `labels` [N], its one choice made on validation.

    Raises UserError for an unknown name, rows that do not fit together, and training labels without all classes.
    """
    fit = look_up(PROBES, name, "probe")
    _check(train, labels, classes)
    _check_pair(validation, validation_labels, train)
    return fit(train, labels, validation, validation_labels, classes, seed)


def choose(
    cells: Iterable[tuple[Cell, Tensor, Tensor]], labels: Tensor, validation_labels: Tensor, classes: int
) -> tuple[Cell, dict[Cell, float]]:
    """The cell whose features tell the classes of validation rows apart best, and the validation accuracy of each.

    A cell, as a layer at a noise level, comes with features of training and of validation rows, [N, D] and [M, D],
    which are not kept. They are compared by a logistic probe of one penalty: by its accuracy, and of equals, which are
    many where validation rows are few, by the lower cross-entropy.
    """
    found: dict[Cell, float] = {}
    surprise: dict[Cell, float] = {}
    for cell, train, validation in cells:
        _check(train, labels, classes)
        _check_pair(validation, validation_labels, train)
        scores = logistic(train, labels, QUICK_STRENGTH)(validation)
        found[cell] = accuracy(scores, validation_labels)
        surprise[cell] = float(F.cross_entropy(scores, validation_labels))
    if not found:
        raise UserError("cells: none given; at least one is needed to choose from")
    return max(found, key=lambda cell: (found[cell], -surprise[cell])), found


def _logistic(
    train: Tensor, labels: Tensor, validation: Tensor, validation_labels: Tensor, classes: int, seed: int
) -> Fitted:
    probes = zip(STRENGTHS, logistic_path(train, labels, STRENGTHS), strict=True)
    return _best(((choice, probe, probe(validation)) for choice, probe in probes), validation_labels)


def _neighbours(
    train: Tensor, labels: Tensor, validation: Tensor, validation_labels: Tensor, classes: int, seed: int
) -> Fitted:
    among = Neighbours.of(train, labels, classes)
    counts = tuple(count for count in NEIGHBOURS if count <= len(train))
    nearest = among.nearest(validation, max(counts))  # once: those of fewer neighbours are the first of them
    return _best(
        ((count, among.probe(count), among.scores(nearest[:, :count])) for count in counts), validation_labels
    )


def _mlp(
    train: Tensor, labels: Tensor, validation: Tensor, validation_labels: Tensor, classes: int, seed: int
) -> Fitted:
    every = max(LEAST_STEPS, len(train) // 256)
    best: Fitted | None = None
    worse = 0
    for check, probe in zip(
        range(1, MLP_CHECKS + 1), mlp_path(train, labels, classes, every, seed), strict=False
    ):
        reached = accuracy(probe(validation), validation_labels)
        worse += 1
        if best is None or reached > best.validation_accuracy:
            best, worse = Fitted(probe=probe, choice=float(check * every), validation_accuracy=reached), 0
        if worse == MLP_PATIENCE:
            break
    assert best is not None
    return best


def _best(candidates: Iterable[tuple[float, Probe, Tensor]], validation_labels: Tensor) -> Fitted:
    """Of choices, their probes and the scores that these give validation rows, the one of the highest accuracy, of
    equals the first."""
    fitted = (
        Fitted(probe=probe, choice=float(choice), validation_accuracy=accuracy(scores, validation_labels))
        for choice, probe, scores in candidates
    )
    return max(fitted, key=lambda candidate: candidate.validation_accuracy)


PROBES: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor, int, int], Fitted]] = {
    "logistic": _logistic,
    "knn": _neighbours,
    "mlp": _mlp,
}


def _check(train: Tensor, labels: Tensor, classes: int) -> None:
    if train.ndim != 2 or len(train) != len(labels):
        raise UserError(
            f"features: {tuple(train.shape)} given with {len(labels)} labels; one row [D] for each label is needed"
        )
    present = len(labels.unique())
    if present < classes or int(labels.min()) < 0 or int(labels.max()) >= classes:
        missing = sorted(set(range(classes)).difference(labels.tolist()))
        raise UserError(
            f"labels: {present} of {classes} classes are among the {len(labels)} training rows, missing {missing}; "
            "a probe needs rows of each"
        )


def _check_pair(validation: Tensor, validation_labels: Tensor, train: Tensor) -> None:
    if (
        not len(validation)
        or validation.shape[1:] != train.shape[1:]
        or len(validation) != len(validation_labels)
    ):
        raise UserError(
            f"validation: features {tuple(validation.shape)} given with {len(validation_labels)} labels; "
            f"rows {tuple(train.shape[1:])}, one for each label, are needed"
        )
