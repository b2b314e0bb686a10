"""What a measure looks at: rows of images, and what networks say of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """Rows of images with what was extracted from them, all on the CPU.

    `images` float [N, C, H, W] in [-1, 1]; `labels` int64 [N] where known (of generated rows: the class asked for);
    `features` name -> float32 [N, D]; `probabilities` float [N, classes] by a trained classifier.
    `copy_threshold` is set on training rows by `copying.with_copy_threshold`, so that it is computed only once.
    """

    images: Tensor
    labels: Tensor | None = None
    features: Mapping[str, Tensor] = field(default_factory=dict)
    probabilities: Tensor | None = None
    copy_threshold: float | None = None

    def __len__(self) -> int:
        return self.images.shape[0]


def blocks(rows: Tensor, size: int) -> Iterator[Tensor]:
    """`rows` [N, *S] in consecutive blocks of `size` rows, the last one shorter."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
