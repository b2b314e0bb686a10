"""Few labels: a random choice of training rows with the same number of each class."""

from __future__ import annotations

from dataclasses import replace

import torch

from workbench import rng
from workbench.data.dataset import Dataset
from workbench.data.splits import stratified_order

LEAST_LABELLED = 4  # rows of a class: fewer say nothing about a classifier


def with_few_labels(dataset: Dataset, share: float, draw: int) -> Dataset:
    """The data set whose training split is left with about the `share` of its rows: as many of each class, at least
    LEAST_LABELLED of them, all where a class has fewer. `draw` numbers the choice."""
    wanted = round(share * len(dataset.train) / len(dataset.classes))
    generator = rng.stream(draw, "labelled")
    order = torch.randperm(len(dataset.train), generator=generator)
    labels = dataset.train.labels[order]
    each = max(wanted, LEAST_LABELLED)
    chosen = torch.cat([order[labels == label][:each] for label in range(len(dataset.classes))])
    chosen = chosen[stratified_order(dataset.train.labels[chosen])]
    return replace(dataset, train=dataset.train.rows(chosen))
