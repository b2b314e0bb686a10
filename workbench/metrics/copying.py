"""Copy rate: how often a row is a training row in disguise, against how often a real, unseen row seems to be one.

For a row x let d_1 <= d_2 <= ... be its Euclidean distances, in pixels in [-1, 1], from the training rows. Its
nearness is

    r(x) = d_1 / mean(d_1, ..., d_n),   n = 50

(Carlini et al., 2023, section 5.1: the distance from the nearest training row in the units of its neighbourhood, as
plain distances call every smooth or nearly empty image a copy). x counts as a copy when r(x) is at or under a
threshold. Theirs is a constant; here it is the 1 % quantile of the nearness of training rows among the other training
rows, so that a row that follows the law of the data, but was not trained on, counts as a copy about once in a hundred:
the rate of real test rows, which is to be reported beside (as Meehan et al., 2020, compare with held-out rows), is
about 1 % by construction, and an excess over it is copying. One image copied many times over counts each time.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from workbench import rng
from workbench.metrics.neighbours import nearest
from workbench.metrics.rows import Rows

NEIGHBOURHOOD = 50
QUANTILE = 0.01
CALIBRATION_ROWS = 2_000


def copy_rate(images: Tensor, train: Tensor, threshold: float) -> float:
    """The share of `images` [N, C, H, W] whose nearness to `train` [M, C, H, W] is at most `threshold`."""
    distances, _ = nearest(images.flatten(1), train.flatten(1), _neighbourhood(train))
    return float((_nearness(distances) <= threshold).double().mean())


def copy_threshold(train: Tensor, generator: torch.Generator) -> float:
    """The 1 % quantile of the nearness of rows of `train` [M, C, H, W] to the others. Needs M >= 3.

    At most CALIBRATION_ROWS rows, drawn by `generator`, are looked at; all are searched.
    """
    chosen = torch.randperm(len(train), generator=generator)[:CALIBRATION_ROWS]
    bank = train.flatten(1)
    count = _neighbourhood(train)
    distances, index = nearest(bank[chosen], bank, count + 1)
    # A row is at distance 0 from itself, and so are its duplicates: one entry is taken out, itself where it is listed.
    itself = (index == chosen[:, None]).double()
    itself[itself.sum(1) == 0, 0] = 1
    others = distances[itself == 0].reshape(len(chosen), count)
    return float(torch.quantile(_nearness(others), QUANTILE, interpolation="lower"))


def with_copy_threshold(train: Rows, seed: int = 0) -> Rows:
    """`train` with its copy threshold, so that measuring many samples against it computes the threshold only once."""
    return dataclasses.replace(
        train, copy_threshold=copy_threshold(train.images, rng.stream(seed, "copy_threshold"))
    )


def _neighbourhood(train: Tensor) -> int:
    """n, less for a training split that has not so many other rows."""
    return min(NEIGHBOURHOOD, len(train) - 1)


def _nearness(distances: Tensor) -> Tensor:
    """r [N] of rising distances [N, n]; 0 where all are 0."""
    scale = distances.mean(1)
    return torch.where(scale > 0, distances[:, 0] / scale, 0.0)
