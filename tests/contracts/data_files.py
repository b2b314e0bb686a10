"""Files of data as users and publishers have them, small."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from workbench import data
from workbench.data import cifar10
from workbench.data.dataset import Dataset
from workbench.registry import UserError


def write_folder(root: Path, *, classes: int = 2, images: int = 10, side: int = 6, mode: str = "L") -> Path:
    random = np.random.default_rng(0)
    for label in range(classes):
        folder = root / f"class {label}"
        folder.mkdir(parents=True)
        for number in range(images):
            shape = (side, side) if mode == "L" else (side, side, 3)
            Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8)).save(folder / f"{number}.png")
    return root


def write_npz(path: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    np.savez(path, images=images, labels=labels)
    return path


def numbered(rows: int, *shape: int) -> np.ndarray:
    """Images whose every pixel is the row's number, so that rows can be told apart."""
    return np.broadcast_to(np.arange(rows, dtype=np.uint8).reshape(-1, *(1,) * len(shape)), (rows, *shape))


def own(path: Path) -> Dataset:
    return data.load(data.from_path(path), location=path)


def cifar_archive(path: Path, records_a_batch: int = 20, *, drop: str = "", cut: int = 0) -> Path:
    """An archive of the publisher's layout. Record n of a batch has label n mod 10; its planes hold n, n + 1, n + 2."""
    with tarfile.open(path, "w:gz") as archive:
        for name in ("cifar-10-batches-bin/batches.meta.txt", *cifar10.TRAIN_MEMBERS, *cifar10.TEST_MEMBERS):
            content = b"".join(
                bytes([n % 10]) + bytes([n]) * 1024 + bytes([n + 1]) * 1024 + bytes([n + 2]) * 1024
                for n in range(records_a_batch)
            )
            if name != drop:
                member = tarfile.TarInfo(name)
                member.size = len(content) - cut
                archive.addfile(member, io.BytesIO(content))
    return path


def idx_bytes(array: Tensor) -> bytes:
    lengths = b"".join(length.to_bytes(4, "big") for length in array.shape)
    return bytes([0, 0, 8, array.ndim]) + lengths + array.numpy().tobytes()


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    text = str(error.value)
    assert "\n" not in text and text.startswith("data")
    return text
