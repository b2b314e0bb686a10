"""scikit-learn's digits: 1,797 scans of handwritten digits, 8 x 8 in 17 grey levels; nothing to download.

Source: UCI, Optical Recognition of Handwritten Digits (Alpaydin & Kaynak, 1998), its test part.
Splits of the fixed stratified order: the first 500 rows are test, the next 147 validation, the last 1,150 train.
"""

from __future__ import annotations

from pathlib import Path

import torch

from workbench.data.dataset import Dataset, Split
from workbench.data.splits import by_counts
from workbench.registry import UserError
from workbench.spec import DataSpec

TEST_ROWS, VALIDATION_ROWS = 500, 147


def load(spec: DataSpec, location: Path | None) -> Dataset:
    """The digits, [1, 8, 8] in 0 .. 16. Raises UserError for a location: there is no file to point at."""
    if location is not None:
        raise UserError(
            f"data: {spec.name!r} comes with scikit-learn and takes no location, but {location} was given."
        )
    # Imported here, as it takes a second that other data need not pay.
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.from_numpy(bunch.images).to(torch.uint8)[:, None]  # [N, 8, 8] -> [N, 1, 8, 8]
    labels = torch.from_numpy(bunch.target).to(torch.int64)
    everything = Split(images, labels)
    test, validation, train = (
        everything.rows(rows) for rows in by_counts(labels, TEST_ROWS, VALIDATION_ROWS)
    )
    return Dataset("digits", 17, tuple("0123456789"), train, validation, test)
