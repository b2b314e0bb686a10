"""Every data set: splits fixed, disjoint and stratified; exact bytes; one clear line for each kind of bad input."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from data_files import cifar_archive, idx_bytes, numbered, one_line, own, write_folder, write_npz
from PIL import Image

from workbench import data
from workbench.data import cifar10, fashion_mnist, idx, splits
from workbench.data.dataset import Dataset
from workbench.registry import UserError
from workbench.spec import DataSpec

# No Python package brings the images, and a machine without Debian's still checks all other data sets. The gate
# installs it, so nothing is skipped there; elsewhere the test run lists what is, with this reason.
of_fashion_mnist = pytest.mark.skipif(
    not fashion_mnist.DEBIAN_FOLDER.is_dir(),
    reason="needs Debian's package dataset-fashion-mnist, which .ci/run installs",
)


@pytest.fixture(
    scope="module",
    params=["digits", pytest.param("fashion_mnist", marks=of_fashion_mnist), "cifar10", "folder", "npz"],
)
def dataset(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    path: Path = tmp_path_factory.mktemp("data")
    if request.param == "cifar10":
        return cifar10.read_archive(cifar_archive(path / cifar10.ARCHIVE))
    if request.param == "folder":
        return own(write_folder(path / "own", classes=3, images=23))
    if request.param == "npz":
        labels = np.arange(200) % 4
        return own(write_npz(path / "own.npz", numbered(200, 5, 4), labels))
    return data.load(DataSpec(name=request.param))


def test_types_and_ranges(dataset: Dataset) -> None:
    for split in (dataset.train, dataset.validation, dataset.test):
        assert split.images.dtype == torch.uint8 and split.labels.dtype == torch.int64
        assert split.images.shape == (len(split.labels), *dataset.shape)
        assert int(split.images.max()) < dataset.levels
        assert split.labels.unique().tolist() == list(range(len(dataset.classes)))


def test_a_prefix_of_a_split_is_stratified(dataset: Dataset) -> None:
    for split in (dataset.train, dataset.validation, dataset.test):
        share = split.labels.bincount() / len(split)
        for rows in (len(split) // 4, len(split) // 2):
            counts = split.labels[:rows].bincount(minlength=len(dataset.classes))
            assert (counts - share * rows).abs().max() <= 2


@pytest.mark.parametrize("sizes", [(30, 30, 30), (100, 7, 41)])
def test_slices_of_the_stratified_order_are_disjoint_fixed_and_stratified(sizes: tuple[int, ...]) -> None:
    labels = torch.cat([torch.full((size,), label) for label, size in enumerate(sizes)])
    torch.manual_seed(1)
    first, second, rest = splits.by_counts(labels, 20, 11)
    torch.manual_seed(2)
    np.random.seed(3)
    again = splits.by_counts(labels, 20, 11)
    assert all(torch.equal(a, b) for a, b in zip((first, second, rest), again, strict=True))
    assert (len(first), len(second)) == (20, 11)
    assert torch.cat([first, second, rest]).sort().values.tolist() == list(range(sum(sizes)))
    for rows in (first, second, rest):
        expected = torch.tensor(sizes) * len(rows) / sum(sizes)
        assert (labels[rows].bincount(minlength=3) - expected).abs().max() <= 2


def test_the_order_is_the_one_that_stored_results_were_made_with() -> None:
    # Not a number to be explained but one that may not change: results in the store name rows of these splits.
    order = splits.stratified_order(torch.arange(40) % 4)
    assert order[:8].tolist() == [27, 8, 17, 14, 35, 34, 5, 32]


def test_own_data_are_split_seventy_ten_twenty_within_each_class() -> None:
    labels = torch.tensor([0] * 10 + [1] * 50 + [2] * 33)
    train, validation, test = splits.by_class_shares(labels, ("a", "b", "c"))
    assert labels[test].bincount().tolist() == [2, 10, 6]
    assert labels[validation].bincount().tolist() == [1, 5, 3]
    assert torch.cat([train, validation, test]).sort().values.tolist() == list(range(93))


def test_digits_splits() -> None:
    digits = data.load(DataSpec(name="digits"))
    assert (len(digits.train), len(digits.validation), len(digits.test)) == (1150, 147, 500)
    assert digits.shape == (1, 8, 8) and digits.levels == 17
    everything = torch.cat([digits.train.images, digits.validation.images, digits.test.images]).flatten(1)
    assert len(everything.unique(dim=0)) == 1797  # no scan occurs twice, so none is in two splits


@of_fashion_mnist
def test_fashion_mnist_keeps_the_publishers_test_part() -> None:
    fashion = data.load(DataSpec(name="fashion_mnist"))
    assert (len(fashion.train), len(fashion.validation), len(fashion.test)) == (55_000, 5_000, 10_000)
    raw = idx.read_idx(fashion_mnist.DEBIAN_FOLDER / "t10k-images-idx3-ubyte.gz")
    assert fashion.test.images.long().sum() == raw.long().sum()
    assert fashion.test.labels.bincount().tolist() == [1000] * 10
    assert fashion.train.labels.bincount().tolist() == [5500] * 10


def test_cifar10_reads_the_publishers_records_exactly(tmp_path: Path) -> None:
    dataset = cifar10.read_archive(cifar_archive(tmp_path / "tiny.tar.gz"))
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (90, 10, 20)
    assert sorted(dataset.test.images[:, 0, 0, 0].tolist()) == list(range(20))
    for split in (dataset.train, dataset.validation, dataset.test):
        number = split.images[:, 0, 0, 0]
        assert torch.equal(split.labels, number.long() % 10)
        planes = torch.stack([number, number + 1, number + 2], 1)  # [N] -> [N, 3]
        assert torch.equal(split.images, planes[:, :, None, None].expand(-1, 3, 32, 32))


def test_idx_round_trip(tmp_path: Path) -> None:
    array = torch.arange(24, dtype=torch.uint8).reshape(2, 3, 4)
    content = idx_bytes(array)
    (tmp_path / "plain").write_bytes(content)
    (tmp_path / "packed.gz").write_bytes(gzip.compress(content))
    assert torch.equal(idx.read_idx(tmp_path / "plain"), array)
    assert torch.equal(idx.read_idx(tmp_path / "packed.gz"), array)


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_every_byte_survives_the_ways_there_and_back(levels: int) -> None:
    images = torch.arange(levels, dtype=torch.uint8).reshape(1, 1, 1, levels)
    values = data.to_float(images, levels)
    assert values.min() == -1 and values.max() == 1 and values.dtype == torch.float32
    assert torch.equal(data.to_bytes(values, levels), images)
    assert torch.equal(data.from_display(data.to_display(images, levels), levels), images)
    assert int(data.to_display(images, levels).max()) == 255


def test_floats_become_the_nearest_byte_and_are_clamped() -> None:
    step = 2 / 16
    values = torch.tensor([-9.0, -1 + 0.49 * step, -1 + 0.51 * step, 1 - 0.51 * step, 9.0])
    assert data.to_bytes(values, 17).tolist() == [0, 0, 1, 15, 16]
    with pytest.raises(UserError, match="1 of 2 values are not finite"):
        data.to_bytes(torch.tensor([0.0, torch.nan]), 17)


@pytest.mark.parametrize("layout", [(5, 4), (5, 4, 1), (5, 4, 3), (3, 5, 4)])
def test_npz_layouts_mean_the_same_images(tmp_path: Path, layout: tuple[int, ...]) -> None:
    path = write_npz(tmp_path / "own.npz", numbered(40, *layout), np.arange(40) % 2 + 7)
    dataset = own(path)
    assert dataset.shape == (3 if 3 in layout else 1, 5, 4)
    assert dataset.classes == ("7", "8")
    assert torch.equal(dataset.train.labels, dataset.train.images[:, 0, 0, 0].long() % 2)


def test_folder_pixels_classes_and_colours(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "own", classes=2, images=10)
    (root / "class 1" / "notes.txt").write_text("passed over")
    (root / ".hidden").mkdir()
    dataset = own(root)
    assert dataset.classes == ("class 0", "class 1") and dataset.shape == (1, 6, 6)
    expected = np.sort([np.asarray(Image.open(path)).astype(int).sum() for path in root.glob("*/*.png")])
    found = [
        split.images.long().sum((1, 2, 3)) for split in (dataset.train, dataset.validation, dataset.test)
    ]
    assert torch.cat(found).sort().values.tolist() == expected.tolist()
    colour = np.zeros((6, 6, 3), dtype=np.uint8)
    colour[..., 2] = 200
    Image.fromarray(colour).save(root / "class 0" / "0.png")
    coloured = own(root)
    assert coloured.shape == (3, 6, 6)  # one image in colour makes all of them so
    blue = torch.cat([split.images for split in (coloured.train, coloured.validation, coloured.test)])
    assert ((blue[:, 2] == 200) & (blue[:, 0] == 0)).all((1, 2)).sum() == 1


def test_the_digest_follows_the_images_and_nothing_else(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "own")
    twin = write_folder(tmp_path / "elsewhere" / "renamed")
    spec = data.from_path(root)
    assert spec == data.from_path(twin)
    (root / "read me.txt").write_text("not an image")
    assert data.from_path(root) == spec
    (root / "class 0" / "0.png").rename(root / "class 0" / "other name.png")
    assert data.from_path(root) != spec
    with pytest.raises(UserError) as error:
        data.load(spec, location=root)
    assert "changed" in one_line(error)
