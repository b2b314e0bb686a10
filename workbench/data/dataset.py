"""What every data set is, whatever it came from."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Split:
    """Rows of a data set: `images` uint8 [N, C, H, W] in 0 .. levels - 1 and `labels` int64 [N] in 0 .. classes - 1."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return self.images.shape[0]

    def rows(self, index: Tensor) -> Split:
        """The rows named by `index` int64 [n], in its order."""
        return Split(self.images[index].contiguous(), self.labels[index].contiguous())


@dataclass(frozen=True)
class Dataset:
    """A data set with its fixed, disjoint splits.

    `levels` is the number of grey levels (17 for scikit-learn's digits, else 256). Every split is ordered so that its
    first n rows hold each class in its due share, to within a few rows (see `splits`): a prefix is a fair sample.
    """

    name: str
    levels: int
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width
