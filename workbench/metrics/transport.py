"""Errors of rows drawn with an exact denoiser, where the answer is known: rows of any shape, no features."""

from __future__ import annotations

import torch
from torch import Tensor


def endpoint_error(drawn: Tensor, exact: Tensor) -> float:
    """The root mean square of `drawn` - `exact`, [N, *S] both, over rows and components.

    Row i of both comes from the same noise, so this is the error of the solver alone.
    """
    return float((drawn.double() - exact.double()).square().mean().sqrt())


def sliced_wasserstein(
    drawn: Tensor, reference: Tensor, *, generator: torch.Generator, directions: int = 256
) -> float:
    """The sliced 2-Wasserstein distance between the samples `drawn` [N, *S] and `reference` [M, *S].

    The root of the mean, over random unit directions, of the squared 2-Wasserstein distance of the projections, each
    exact: the integral over u of the squared difference of the two empirical quantile functions.
    Source: Bonneel et al. (2015), eq. 7. For S = [D] a shift by v gives |v| / sqrt(D) in the mean over directions.
    """
    x, y = drawn.flatten(1).double(), reference.flatten(1).double()
    lines = torch.randn(x.shape[1], directions, generator=generator, dtype=torch.float64)
    lines /= lines.norm(dim=0)
    x, y = (x @ lines).sort(dim=0).values, (y @ lines).sort(dim=0).values  # [N, D] -> [N, directions]
    # Both quantile functions are constant between neighbours of the merged levels i / N and j / M.
    levels = torch.cat([_levels(len(x)), _levels(len(y))]).sort().values
    lengths, middles = levels.diff(), (levels[1:] + levels[:-1]) / 2
    row_x = (middles * len(x)).long().clamp_max(len(x) - 1)
    row_y = (middles * len(y)).long().clamp_max(len(y) - 1)
    squared = (lengths[:, None] * (x[row_x] - y[row_y]).square()).sum(0)
    return float(squared.mean().sqrt())


def _levels(rows: int) -> Tensor:
    return torch.arange(rows + 1, dtype=torch.float64) / rows
