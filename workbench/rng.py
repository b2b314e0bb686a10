"""Addressed randomness: a stream is named by (seed, purpose, index), so that no result depends on who drew before.

Rows are drawn in fixed blocks of BLOCK_ROWS, each from its own stream: row i is the same whatever the batch size, at
the price of at most one block drawn in vain at either end. Numbers are drawn on the CPU, so that they agree on all
devices.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

BLOCK_ROWS = 64


def stream(seed: int, purpose: str, *index: int) -> torch.Generator:
    """A CPU generator for one address. Distinct addresses give independent streams (sha256 of the address)."""
    address = ":".join([str(seed), purpose, *map(str, index)])
    digest = hashlib.sha256(address.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def normal_rows(
    seed: int,
    purpose: str,
    *index: int,
    start: int,
    stop: int,
    shape: tuple[int, ...],
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Standard normal rows `start` to `stop` of the address: [stop - start, *shape]."""
    first, last = start // BLOCK_ROWS, -(-stop // BLOCK_ROWS)
    blocks = [
        torch.randn(BLOCK_ROWS, *shape, generator=stream(seed, purpose, *index, block), dtype=dtype)
        for block in range(first, last)
    ]
    offset = first * BLOCK_ROWS
    return (
        torch.cat(blocks)[start - offset : stop - offset] if blocks else torch.empty(0, *shape, dtype=dtype)
    )
