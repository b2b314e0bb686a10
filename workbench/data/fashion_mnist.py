"""Fashion-MNIST: 70,000 photographs of clothes, 28 x 28 grey, 10 classes (Xiao, Rasul & Vollgraf, 2017; MIT licence).

Taken from the folder given, else from Debian's package `dataset-fashion-mnist`, else from the cache, else downloaded
from the publisher. The digests are those of the unpacked files, since Debian packs them anew.
Splits: test is the publisher's test part; of the publisher's 60,000 training rows, in the fixed stratified order, the
last 5,000 are validation and the other 55,000 train.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor

from workbench.data.dataset import Dataset, Split
from workbench.data.files import cache_folder, download, first_with, require_digest
from workbench.data.idx import parse_idx, read_bytes
from workbench.data.splits import by_counts
from workbench.registry import UserError
from workbench.spec import DataSpec

PUBLISHER = "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/"
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
VALIDATION_ROWS = 5_000
CLASSES = (
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
SHA256_UNPACKED = {
    "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}


def load(spec: DataSpec, location: Path | None) -> Dataset:
    """Fashion-MNIST, [1, 28, 28] in 0 .. 255; `location` is a folder that holds its four .gz files.

    Raises UserError when a file is missing and cannot be downloaded, is truncated or has another digest.
    """
    images, labels, test_images, test_labels = (_read(name, location) for name in SHA256_UNPACKED)
    official_train = Split(images[:, None], labels.to(torch.int64))  # [N, 28, 28] -> [N, 1, 28, 28]
    official_test = Split(test_images[:, None], test_labels.to(torch.int64))
    train, validation = by_counts(official_train.labels, len(official_train) - VALIDATION_ROWS)
    (test,) = by_counts(official_test.labels)
    return Dataset(
        spec.name,
        256,
        CLASSES,
        official_train.rows(train),
        official_train.rows(validation),
        official_test.rows(test),
    )


def _read(name: str, location: Path | None) -> Tensor:
    path = _find(name, location)
    content = read_bytes(path)
    array = parse_idx(content, path)  # before the digest, as "truncated" tells more than "another digest"
    require_digest(str(path), hashlib.sha256(content).hexdigest(), expected=SHA256_UNPACKED[name])
    return array


def _find(name: str, location: Path | None) -> Path:
    if location is not None:
        found = first_with([location], name)
        if found is None:
            raise UserError(
                f"data: {location} does not hold {name}; it must hold {', '.join(SHA256_UNPACKED)}."
            )
        return found
    found = first_with([DEBIAN_FOLDER, cache_folder("fashion_mnist")], name)
    if found is None:
        found = cache_folder("fashion_mnist") / name
        other_way = "install Debian's package dataset-fashion-mnist (apt install dataset-fashion-mnist)"
        download(PUBLISHER + name, found, other_way=other_way)
    return found
