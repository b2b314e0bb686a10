"""The shape legend of the library, and the one broadcast helper.

B   rows of a batch              *S  event shape of any rank: [], [D], [C, H, W], ...
N   generated rows               M   reference rows
K   steps of a sampler           D   features
"""

from __future__ import annotations

from torch import Tensor


def over_rows(leading: Tensor, rows: Tensor) -> Tensor:
    """`leading` [], [B] or [B, C] with trailing axes of size one, so that it broadcasts against `rows` [B, *S]."""
    return leading.reshape(*leading.shape, *(1,) * (rows.ndim - leading.ndim))
