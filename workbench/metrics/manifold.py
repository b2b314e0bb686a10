"""Fidelity and variety by nearest neighbours: precision, recall, density, coverage, all with k = 5.

A row's ball reaches to its k-th nearest neighbour in its own sample. A reference row counts as its own ball's centre,
not as a neighbour of itself. Sources: Kynkaanniemi et al. (2019), eq. 1-2; Naeem et al. (2020), eq. 2, 4 and 5.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.metrics.neighbours import distance_blocks, neighbour_radii

NEAREST = 5


def precision(generated: Tensor, reference: Tensor) -> float:
    """The share of `generated` [N, D] inside at least one ball of `reference` [M, D]; in [0, 1]."""
    return _share_inside(generated, reference)


def recall(generated: Tensor, reference: Tensor) -> float:
    """The share of `reference` [M, D] inside at least one ball of `generated` [N, D]; in [0, 1]."""
    return _share_inside(reference, generated)


def density(generated: Tensor, reference: Tensor) -> float:
    """The mean number of balls of `reference` [M, D] that a row of `generated` [N, D] is in, over k; 1 for
    equal laws."""
    radii = neighbour_radii(reference, NEAREST)
    inside = sum(int((block < radii).sum()) for block in distance_blocks(generated, reference))
    return inside / (NEAREST * len(generated))


def coverage(generated: Tensor, reference: Tensor) -> float:
    """The share of balls of `reference` [M, D] that hold a row of `generated` [N, D]; in [0, 1]."""
    radii = neighbour_radii(reference, NEAREST)
    nearest_generated = torch.cat([block.amin(1) for block in distance_blocks(reference, generated)])
    return float((nearest_generated < radii).double().mean())


def _share_inside(rows: Tensor, centres: Tensor) -> float:
    radii = neighbour_radii(centres, NEAREST)
    inside = [(block < radii).any(1) for block in distance_blocks(rows, centres)]
    return float(torch.cat(inside).double().mean())
