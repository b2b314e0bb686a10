"""The user's own images: a folder with one subfolder a class. Needs Pillow, and only when such a folder is read.

Splits: of each class, 20 % test, 10 % validation, the rest train (see `splits.by_class_shares`).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from workbench.data.dataset import Dataset, Split
from workbench.data.files import sha256_of_file
from workbench.data.splits import by_class_shares
from workbench.registry import UserError
from workbench.spec import DataSpec

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm")
_GREY_MODES = ("1", "L", "LA", "La")


def load(spec: DataSpec, location: Path | None) -> Dataset:
    """The images of the folder `location`: [1, H, W] when all are grey, else [3, H, W], in 0 .. 255.

    Classes are the subfolders in the order of their names. Raises UserError for a folder that is missing, unreadable
    or without images, a file that is no image or of more than 8 bits a value, images of mixed sizes, too few classes or
    too few images of a class.
    """
    if location is None:
        raise UserError(f"data: {spec.name!r} needs the path of a folder with one subfolder a class.")
    files = image_files(location)
    classes = tuple(sorted({path.parent.name for path in files}))
    label_of = {name: label for label, name in enumerate(classes)}
    labels = torch.tensor([label_of[path.parent.name] for path in files])
    train, validation, test = by_class_shares(labels, classes)  # before the images: its mistakes show at once
    everything = Split(torch.from_numpy(_decoded(files)), labels)
    return Dataset(
        location.name,
        256,
        classes,
        everything.rows(train),
        everything.rows(validation),
        everything.rows(test),
    )


def digest(location: Path) -> str:
    """The sha256 over the names (class and file) and contents of all images of the folder, in order of their names."""
    total = hashlib.sha256()
    for path in image_files(location):
        total.update(f"{path.parent.name}/{path.name}\0{sha256_of_file(path)}\n".encode())
    return total.hexdigest()


def image_files(location: Path) -> list[Path]:
    """All image files one level below `location`, in the order of their names; files of other kinds are passed over.

    Raises UserError when the folder is missing or unreadable, has no subfolders, or a subfolder has no images.
    """
    try:
        folders = sorted(
            path for path in location.iterdir() if path.is_dir() and not path.name.startswith(".")
        )
        found = {folder: sorted(path for path in folder.iterdir() if _is_image(path)) for folder in folders}
    except OSError as error:
        raise UserError(f"data: cannot read the folder {error.filename}: {error.strerror}.") from error
    if not folders:
        raise UserError(
            f"data: the folder {location} is empty of classes; it must hold one subfolder of images a class."
        )
    for folder, files in found.items():
        if not files:
            raise UserError(f"data: the class folder {folder} holds no images ({', '.join(SUFFIXES)}).")
    return [path for files in found.values() for path in files]


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def _decoded(files: list[Path]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """The images uint8 [N, C, H, W], C = 1 when all of them are grey."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise UserError("data: reading a folder of images needs Pillow (pip install pillow).") from error

    def read(path: Path) -> Image.Image:
        try:
            with Image.open(path) as image:
                mode = image.mode
                converted = image.convert("L" if mode in _GREY_MODES else "RGB")
        except (
            OSError,
            UnidentifiedImageError,
            SyntaxError,
            ValueError,
            Image.DecompressionBombError,
        ) as error:
            raise UserError(f"data: {path} cannot be read as an image: {error}.") from error
        if mode.startswith(("I", "F")):  # Pillow would cut values above 255 off
            raise UserError(
                f"data: {path} has values of more than 8 bits (mode {mode}); images of 8 bits are needed."
            )
        return converted

    images: list[Image.Image] = []
    for path in files:
        images.append(read(path))
        if images[-1].size != images[0].size:
            raise UserError(
                "data: images of mixed sizes: "
                f"{files[0]} is {images[0].width} x {images[0].height}, {path} is {images[-1].width} x "
                f"{images[-1].height}; all must be equal."
            )
    if all(image.mode == "L" for image in images):
        return np.stack([np.asarray(image)[None] for image in images])
    return np.stack([np.asarray(image.convert("RGB")).transpose(2, 0, 1) for image in images])
