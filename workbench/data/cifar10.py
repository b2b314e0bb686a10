"""CIFAR-10: 60,000 photographs, 32 x 32 in colour, 10 classes, in the publisher's binary format (Krizhevsky, 2009).

A record is 3,073 bytes: the label, then the red, green and blue planes, each row by row. The publisher's archive is
read where it lies and is never unpacked to disk.
Splits: test is the publisher's test batch; of the 50,000 training rows, in the fixed stratified order, the last 5,000
are validation and the other 45,000 train.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import torch

from workbench.data.dataset import Dataset, Split
from workbench.data.files import cache_folder, download, require_digest, sha256_of_file
from workbench.data.splits import by_counts
from workbench.registry import UserError
from workbench.spec import DataSpec

PUBLISHER = "https://www.cs.toronto.edu/~kriz/"
ARCHIVE = "cifar-10-binary.tar.gz"
ARCHIVE_SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
TRAIN_MEMBERS = tuple(f"cifar-10-batches-bin/data_batch_{number}.bin" for number in range(1, 6))
TEST_MEMBERS = ("cifar-10-batches-bin/test_batch.bin",)
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
VALIDATION_SHARE = 0.1
RECORD_BYTES = 1 + 3 * 32 * 32


def load(spec: DataSpec, location: Path | None) -> Dataset:
    """CIFAR-10, [3, 32, 32] in 0 .. 255; `location` is the publisher's archive or a folder that holds it.

    Raises UserError when the archive is missing and cannot be downloaded, is damaged or has another digest.
    """
    if location is None:
        path = cache_folder("cifar10") / ARCHIVE
        if not path.is_file():
            download(
                PUBLISHER + ARCHIVE,
                path,
                other_way=f"give the folder that holds {ARCHIVE} as the data's location",
            )
    else:
        path = location / ARCHIVE if location.is_dir() else location
        if not path.is_file():
            raise UserError(f"data: {path} is missing; get it from {PUBLISHER}{ARCHIVE}.")
    require_digest(str(path), sha256_of_file(path), expected=ARCHIVE_SHA256)
    return read_archive(path)


def read_archive(path: Path) -> Dataset:
    """The data set in an archive of the publisher's layout, of any number of records; its digest is not looked at.

    Raises UserError for a missing batch, or one that is not whole or holds a label above 9.
    """
    batches: dict[str, Split] = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:  # in one pass: seeking back in a gzip stream unpacks it again
                file = archive.extractfile(member) if member.name in TRAIN_MEMBERS + TEST_MEMBERS else None
                if file is not None:
                    batches[member.name] = parse_batch(file.read(), f"{path}:{member.name}")
    except (OSError, EOFError, tarfile.TarError) as error:
        raise UserError(f"data: {path} is not a whole .tar.gz archive: {error}.") from error
    missing = [name for name in TRAIN_MEMBERS + TEST_MEMBERS if name not in batches]
    if missing:
        raise UserError(f"data: {path} lacks {', '.join(missing)}.")
    official_train = _joined([batches[name] for name in TRAIN_MEMBERS])
    official_test = _joined([batches[name] for name in TEST_MEMBERS])
    kept = len(official_train) - round(VALIDATION_SHARE * len(official_train))
    train, validation = by_counts(official_train.labels, kept)
    (test,) = by_counts(official_test.labels)
    return Dataset(
        "cifar10",
        256,
        CLASSES,
        official_train.rows(train),
        official_train.rows(validation),
        official_test.rows(test),
    )


def parse_batch(content: bytes, name: str) -> Split:
    """The rows of one batch file; `name` is named in errors.

    Raises UserError when `content` is not a whole number of records, or a label is above 9.
    """
    if not content or len(content) % RECORD_BYTES:
        raise UserError(
            f"data: {name} is truncated: {len(content)} bytes are not a whole number of records of {RECORD_BYTES}."
        )
    records = torch.frombuffer(bytearray(content), dtype=torch.uint8).reshape(-1, RECORD_BYTES)
    labels = records[:, 0].to(torch.int64)
    if int(labels.max()) >= len(CLASSES):
        raise UserError(f"data: {name} holds the label {int(labels.max())}; those of CIFAR-10 are 0 to 9.")
    return Split(records[:, 1:].reshape(-1, 3, 32, 32), labels)  # [N, 3072] -> [N, 3, 32, 32]


def _joined(splits: list[Split]) -> Split:
    return Split(torch.cat([part.images for part in splits]), torch.cat([part.labels for part in splits]))
