"""The shape legend of the library, and the one broadcast helper.

    B   rows of a batch              *S  event shape of any rank: [], [D], [C, H, W], ...
    N   generated rows               M   reference rows
    K   steps of a sampler           D   features
"""

from __future__ import annotations

from torch import Tensor


def over_rows(per_row: Tensor, rows: Tensor) -> Tensor:
    """`per_row` [] or [B] with trailing axes added, so that it broadcasts against `rows` [B, *S]."""
    if per_row.ndim == 0:
        return per_row
    return per_row.reshape(per_row.shape[0], *(1,) * (rows.ndim - 1))
