"""Few labels: a random choice of training rows with the same number of each class."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from workbench import rng
from workbench.data.dataset import Dataset
from workbench.data.splits import stratified_order

LEAST_LABELLED = 4  # rows of a class: fewer say nothing about a classifier


def few_rows(labels: Tensor, *, classes: int, each: int, draw: int) -> Tensor:
    """A random choice of `each` rows of every class of `labels` [N], at least LEAST_LABELLED of them, all where a class
    has fewer: indices int64 [n], in an order whose prefixes are fair samples. `draw` numbers the choice."""
    order = torch.randperm(len(labels), generator=rng.stream(draw, "labelled"))
    shuffled = labels[order]
    each = max(each, LEAST_LABELLED)
    chosen = torch.cat([order[shuffled == label][:each] for label in range(classes)])
    return chosen[stratified_order(labels[chosen])]


def of_each_class(share: float, rows: int, classes: int) -> int:
    """How many rows of each class make about the `share` of so many rows."""
    return round(share * rows / classes)


def with_few_labels(dataset: Dataset, share: float, draw: int) -> Dataset:
    """The data set whose training split is left with about the `share` of its rows, as `few_rows` chooses them."""
    classes, train = len(dataset.classes), dataset.train
    each = of_each_class(share, len(train), classes)
    chosen = few_rows(train.labels, classes=classes, each=each, draw=draw)
    return replace(dataset, train=train.rows(chosen))
