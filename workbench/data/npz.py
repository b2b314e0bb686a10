"""The user's own arrays: an .npz with `images` and `labels`.

Splits: of each class, 20 % test, 10 % validation, the rest train (see `splits.by_class_shares`).
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from workbench.data.dataset import Dataset, Split
from workbench.data.splits import by_class_shares
from workbench.registry import UserError
from workbench.spec import DataSpec

_IMAGE_SHAPES = "[N, H, W], [N, H, W, C] or [N, C, H, W] with C = 1 or 3"


def load(spec: DataSpec, location: Path | None) -> Dataset:
    """The rows of the .npz `location`: [C, H, W] in 0 .. 255; each distinct label is a class, in their order.

    `images` is uint8 [N, H, W], [N, H, W, C] or [N, C, H, W] with C = 1 or 3 (the last axis is asked first), `labels`
    is integer [N]. Raises UserError for anything else, too few classes or too few images of a class.
    """
    if location is None:
        raise UserError(
            f"data: {spec.name!r} needs the path of an .npz file with the arrays images and labels."
        )
    try:
        with np.load(location, allow_pickle=False) as arrays:
            missing = [name for name in ("images", "labels") if name not in arrays]
            if missing:
                raise UserError(
                    f"data: {location} lacks {' and '.join(missing)}; it must hold images and labels, "
                    f"and holds {', '.join(arrays.files) or 'nothing'}."
                )
            images, labels = np.asarray(arrays["images"]), np.asarray(arrays["labels"])
    except UserError:
        raise
    except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"data: {location} cannot be read as an .npz file: {error}.") from error
    pixels = _channels_first(images, location)
    if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(
            f"data: labels of {location} are {labels.dtype} {list(labels.shape)}; "
            f"they must be integers [{images.shape[0]}], one an image."
        )
    values, codes = np.unique(labels, return_inverse=True)
    classes = tuple(str(value) for value in values)
    everything = Split(torch.from_numpy(pixels), torch.from_numpy(codes.astype(np.int64)))
    train, validation, test = by_class_shares(everything.labels, classes)
    return Dataset(
        location.stem,
        256,
        classes,
        everything.rows(train),
        everything.rows(validation),
        everything.rows(test),
    )


def _channels_first(images: npt.NDArray[np.uint8], location: Path) -> npt.NDArray[np.uint8]:
    if images.dtype == np.uint8 and images.size:
        if images.ndim == 3:
            return images[:, None]
        if images.ndim == 4 and images.shape[3] in (1, 3):
            return np.ascontiguousarray(images.transpose(0, 3, 1, 2))  # [N, H, W, C] -> [N, C, H, W]
        if images.ndim == 4 and images.shape[1] in (1, 3):
            return images
    raise UserError(
        f"data: images of {location} are {images.dtype} {list(images.shape)}; they must be uint8 {_IMAGE_SHAPES}."
    )
