"""Nearest neighbours by blocked matrix products: bounded memory, whatever the number of rows."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from workbench.metrics.rows import blocks

_QUERY_BLOCK, _BANK_BLOCK = 1024, 16_384
_REFINE_BYTES = 64_000_000


def distance_blocks(query: Tensor, bank: Tensor, block_rows: int = _QUERY_BLOCK) -> Iterator[Tensor]:
    """Euclidean distances in float64 of `query` [N, D] from `bank` [M, D], in blocks [<= block_rows, M] of queries.

    Both are centred on the mean of the bank first: |x|^2 - 2 x.y + |y|^2 loses digits far from the origin.
    """
    centre = bank.double().mean(0)
    bank = bank.double() - centre
    for block in blocks(query, block_rows):
        yield _squared(block.double() - centre, bank).sqrt_()


def neighbour_radii(rows: Tensor, k: int) -> Tensor:
    """The distance [N] of each of `rows` [N, D] from its k-th nearest other row. Needs N > k."""
    # k + 1, as the nearest is the row itself; topk is several times faster here than kthvalue.
    near = [block.topk(k + 1, dim=1, largest=False).values for block in distance_blocks(rows, rows)]
    return torch.cat(near)[:, k]


def nearest(query: Tensor, bank: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k nearest rows of `bank` [M, D] to each of `query` [N, D]: float64 distances [N, k], rising, and
    indices [N, k].

    Candidates are found in float32, where 10,000 x 55,000 images take seconds; their distances are then taken from the
    differences themselves, so that a row that is in the bank is at distance 0 exactly.
    """
    centre = bank.float().mean(0)
    centred_bank = bank.float() - centre
    found = [_candidates(block.float() - centre, centred_bank, k) for block in blocks(query, _QUERY_BLOCK)]
    index = torch.cat(found) if found else torch.empty(0, k, dtype=torch.int64)
    refine_rows = max(1, _REFINE_BYTES // (4 * k * bank.shape[1]))
    distances = [
        torch.linalg.vector_norm(bank[candidates] - rows[:, None], dim=-1, dtype=torch.float64)
        for rows, candidates in zip(blocks(query, refine_rows), blocks(index, refine_rows), strict=True)
    ]
    distance, order = torch.cat(distances).sort(dim=1)
    return distance, index.gather(1, order)


def _candidates(query: Tensor, bank: Tensor, k: int) -> Tensor:
    """The indices [n, k] of the k rows of `bank` nearest to each of `query`, merged from block to block of the bank."""
    best = torch.empty(len(query), 0)
    index = torch.empty(len(query), 0, dtype=torch.int64)
    for start in range(0, len(bank), _BANK_BLOCK):
        squared = _squared(query, bank[start : start + _BANK_BLOCK])
        near = squared.topk(min(k, squared.shape[1]), dim=1, largest=False)
        best, index = torch.cat([best, near.values], 1), torch.cat([index, near.indices + start], 1)
        kept = best.topk(min(k, best.shape[1]), dim=1, largest=False)
        best, index = kept.values, index.gather(1, kept.indices)
    return index


def _squared(x: Tensor, y: Tensor) -> Tensor:
    """Squared distances [n, m] of `x` [n, D] from `y` [m, D]."""
    products = torch.addmm(y.square().sum(1), x, y.T, alpha=-2)  # [m] is added to each row
    return products.add_(x.square().sum(1)[:, None]).clamp_min_(0)
