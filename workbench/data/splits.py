"""Fixed, disjoint, stratified splits.

The permutations come from NumPy's RandomState, whose streams NumPy has promised never to change (NEP 19): the splits
are part of what every stored result means, so they must not move with a version of a library.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from workbench.registry import UserError

LEAST_IMAGES_PER_CLASS = 10  # so that 20 % and 10 % of a class are two rows and one row at the least


def stratified_order(labels: Tensor, seed: int = 0) -> Tensor:
    """A fixed random order of the rows, int64 [N], in which each class is spread evenly.

    The row of random rank r among the n of its class is placed at (r + u) / n, u uniform in [0, 1). Any prefix, and so
    any slice, therefore holds each class in its share to within a few rows. `labels` is int64 [N].
    """
    random = np.random.RandomState(seed)
    label = labels.numpy()
    place = np.empty(len(label))
    for value in np.unique(label):
        rows = random.permutation(np.flatnonzero(label == value))
        place[rows] = (np.arange(len(rows)) + random.uniform(size=len(rows))) / len(rows)
    return torch.from_numpy(np.argsort(place, kind="stable"))


def by_counts(labels: Tensor, *counts: int) -> tuple[Tensor, ...]:
    """Consecutive slices of the stratified order, of the given sizes and then one of the rest: indices int64
    [n] each."""
    return torch.tensor_split(stratified_order(labels), tuple(np.cumsum(counts).tolist()))


def by_class_shares(labels: Tensor, classes: tuple[str, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Train, validation and test indices: of each class, 20 % (rounded down) to test, 10 % to validation,
    rest to train.

    Raises UserError when there are fewer than two classes, or a class has fewer than LEAST_IMAGES_PER_CLASS rows.
    """
    if len(classes) < 2:
        raise UserError(f"data: {len(classes)} class ({', '.join(classes)}); at least 2 classes are needed.")
    order = stratified_order(labels)
    part = torch.zeros(len(labels), dtype=torch.int64)
    for label, name in enumerate(classes):
        rows = order[labels[order] == label]
        if len(rows) < LEAST_IMAGES_PER_CLASS:
            raise UserError(
                f"data: class {name!r} has {len(rows)} images; at least {LEAST_IMAGES_PER_CLASS} are needed, "
                "so that train, validation and test each get some."
            )
        test, validation = len(rows) // 5, len(rows) // 10
        part[rows[:test]] = 2
        part[rows[test : test + validation]] = 1
    return order[part[order] == 0], order[part[order] == 1], order[part[order] == 2]
