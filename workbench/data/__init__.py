"""Data sets by name, and the user's own: fixed, disjoint, stratified splits of uint8 images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from workbench.data import cifar10, digits, fashion_mnist, folder, npz
from workbench.data.dataset import Dataset, Split
from workbench.data.few import few_rows, of_each_class, with_few_labels
from workbench.data.files import sha256_of_file
from workbench.data.pixels import from_display, require_finite, to_bytes, to_display, to_float
from workbench.data.shortcut import marked_classes, with_shortcut
from workbench.registry import UserError, look_up
from workbench.spec import DataSpec

DATASETS: dict[str, Callable[[DataSpec, Path | None], Dataset]] = {
    "digits": digits.load,
    "fashion_mnist": fashion_mnist.load,
    "cifar10": cifar10.load,
    "folder": folder.load,
    "npz": npz.load,
}
OWN_DATA = ("folder", "npz")

__all__ = [
    "DATASETS",
    "OWN_DATA",
    "Dataset",
    "Split",
    "digest_of",
    "few_rows",
    "from_display",
    "from_path",
    "load",
    "marked_classes",
    "of_each_class",
    "require_finite",
    "to_bytes",
    "to_display",
    "to_float",
    "with_few_labels",
    "with_shortcut",
]


def load(spec: DataSpec, *, location: Path | None = None) -> Dataset:
    """The data set that `spec` names; `location` is where its files are, needed for the user's own data alone.

    Raises UserError for an unknown name, for files that are missing, unreadable or damaged, and for the user's own
    data when its content is not that whose digest the spec holds.
    """
    loader = look_up(DATASETS, spec.name, "data")
    if not 0 < spec.labelled <= 1:
        raise UserError(f"data.labelled: {spec.labelled:g} given; a share above 0 and up to 1 is needed")
    if spec.name in OWN_DATA and location is not None:
        digest = digest_of(location)
        if spec.digest != digest:
            raise UserError(
                f"data: {location} has sha256 {digest[:16]}..., where the spec says {(spec.digest or 'none')[:16]}...; "
                "its content has changed since the study was planned."
            )
    dataset = loader(spec, location)
    if spec.labelled < 1:
        dataset = with_few_labels(dataset, spec.labelled, spec.draw)
    return with_shortcut(dataset) if spec.shortcut else dataset


def from_path(path: Path) -> DataSpec:
    """The spec of the user's own data at `path`: a folder with one subfolder a class, or an .npz file.

    Raises UserError when there is neither, or it cannot be read.
    """
    if path.is_dir():
        return DataSpec(name="folder", digest=digest_of(path))
    if path.is_file() and path.suffix == ".npz":
        return DataSpec(name="npz", digest=digest_of(path))
    found = "is neither" if path.exists() else "does not exist"
    raise UserError(
        f"data: {path} {found}; known names: {', '.join(name for name in DATASETS if name not in OWN_DATA)}; "
        "own data are a folder with one subfolder of images a class, or an .npz file with images and labels."
    )


def digest_of(path: Path) -> str:
    """The sha256 of the user's own data: of the file, or of the names and contents of all images of the folder.

    Raises UserError when it cannot be read.
    """
    return folder.digest(path) if path.is_dir() else sha256_of_file(path)
