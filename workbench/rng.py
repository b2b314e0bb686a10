"""Addressed randomness: a stream is named by (seed, purpose, index), so that no result depends on who drew before.

Rows are drawn in fixed blocks of BLOCK_ROWS, each from its own stream: row i is the same whatever the batch size, at
the price of at most one block drawn in vain at either end. Numbers are drawn on the CPU, so that they agree on all
devices.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

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


@dataclass(frozen=True, kw_only=True)
class Draws:
    """All randomness of rows `start` to `stop` of one sample, by its seed: row i is the same in whatever batch it is
    drawn. Numbers arrive on `device`."""

    seed: int
    start: int
    stop: int
    device: torch.device | None = None

    def __len__(self) -> int:
        return self.stop - self.start

    def normal(
        self, purpose: str, *index: int, shape: tuple[int, ...], dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Standard normal rows [B, *shape] of the address."""
        rows = normal_rows(
            self.seed, purpose, *index, start=self.start, stop=self.stop, shape=shape, dtype=dtype
        )
        return rows.to(self.device)
