"""Data that cannot be used: told in one line, before anything is started."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from data_files import cifar_archive, idx_bytes, numbered, one_line, own, write_folder, write_npz
from PIL import Image

from workbench import data
from workbench.data import cifar10, fashion_mnist, files, idx
from workbench.registry import UserError
from workbench.spec import DataSpec


def test_unknown_name_and_path(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        data.load(DataSpec(name="fashion_mnst"))
    assert "Did you mean 'fashion_mnist'" in one_line(error)
    with pytest.raises(UserError) as error:
        data.from_path(tmp_path / "nowhere")
    assert "does not exist" in one_line(error) and "digits" in one_line(error)
    for name in data.OWN_DATA:
        with pytest.raises(UserError) as error:
            data.load(DataSpec(name=name))
        assert "needs the path" in one_line(error)


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    mixed = write_folder(tmp_path / "mixed")
    Image.new("L", (7, 6)).save(mixed / "class 1" / "5.png")
    unreadable = write_folder(tmp_path / "unreadable")
    (unreadable / "class 0" / "3.png").write_bytes(b"no image at all")
    cut = write_folder(tmp_path / "cut", side=40)
    whole = (cut / "class 0" / "3.png").read_bytes()
    (cut / "class 0" / "3.png").write_bytes(whole[: len(whole) // 2])
    few = write_folder(tmp_path / "few", images=9)
    lonely = write_folder(tmp_path / "lonely", classes=1)
    deep = write_folder(tmp_path / "deep")
    Image.new("I;16", (6, 6), 300).save(deep / "class 0" / "3.png")
    hollow = write_folder(tmp_path / "hollow")
    (hollow / "class 9").mkdir()
    for path, said in [
        (empty, "empty"),
        (mixed, "6 x 6, "),
        (unreadable, "3.png cannot be read"),
        (cut, "3.png cannot be read"),
        (deep, "3.png has values of more than 8 bits"),
        (few, "'class 0' has 9 images; at least 10"),
        (lonely, "at least 2 classes"),
        (hollow, "class 9 holds no images"),
    ]:
        with pytest.raises(UserError) as error:
            own(path)
        assert said in one_line(error)


def test_a_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", refuse)  # the file mode would not stop a test that runs as root
    with pytest.raises(UserError) as error:
        data.from_path(tmp_path)
    assert "Permission denied" in one_line(error)


def test_npz_files_that_cannot_be_used(tmp_path: Path) -> None:
    good_images, good_labels = numbered(40, 5, 4), np.arange(40) % 2
    np.savez(tmp_path / "names.npz", pictures=good_images, labels=good_labels)
    np.savez(tmp_path / "objects.npz", images=np.array([{}, {}]), labels=np.arange(2))
    (tmp_path / "noise.npz").write_bytes(b"not a zip file")
    whole = write_npz(tmp_path / "whole.npz", good_images, good_labels).read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as archive:
        archive.writestr("images.npy", "text")
        archive.writestr("labels.npy", "text")
    np.save(tmp_path / "array.npy", good_images)
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    write_npz(tmp_path / "floats.npz", good_images / 255, good_labels)
    write_npz(tmp_path / "five channels.npz", numbered(40, 5, 4, 5), good_labels)
    write_npz(tmp_path / "short.npz", good_images, good_labels[:-1])
    write_npz(tmp_path / "names of labels.npz", good_images, good_labels.astype(str))
    write_npz(tmp_path / "none.npz", good_images[:0], good_labels[:0])
    for name, said in [
        ("names", "lacks images"),
        ("objects", "cannot be read"),
        ("noise", "cannot be read"),
        ("cut", "cannot be read"),
        ("text", "|S4 []"),
        ("array", "cannot be read"),
        ("floats", "uint8"),
        ("five channels", "[40, 5, 4, 5]"),
        ("short", "integers [40]"),
        ("names of labels", "integers [40]"),
        ("none", "[0, 5, 4]"),
    ]:
        with pytest.raises(UserError) as error:
            own(tmp_path / f"{name}.npz")
        assert said in one_line(error)


def test_idx_files_that_cannot_be_used(tmp_path: Path) -> None:
    content = idx_bytes(torch.zeros(2, 3, 4, dtype=torch.uint8))
    packed = gzip.compress(content)
    for name, written, said in [
        ("short", content[:-1], "truncated: 39 bytes where its header promises 40"),
        ("long", content + b"x", "41 bytes where its header promises 40"),
        ("header", content[:9], "truncated"),
        ("text", b"hello", "not an IDX file"),
        ("floats", bytes([0, 0, 13, 1]) + bytes(8), "0x0d"),
        ("cut.gz", packed[: len(packed) // 2], "truncated"),
        ("text.gz", b"hello", "not a whole gzip file"),
        ("flipped.gz", packed[:12] + b"\xff\xff" + packed[14:], "not a whole gzip file"),
    ]:
        (tmp_path / name).write_bytes(written)
        with pytest.raises(UserError) as error:
            idx.read_idx(tmp_path / name)
        assert said in one_line(error)
    with pytest.raises(UserError) as error:
        idx.read_idx(tmp_path / "absent")
    assert "No such file" in one_line(error)


def test_fashion_mnist_missing_damaged_and_of_another_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = DataSpec(name="fashion_mnist")
    with pytest.raises(UserError) as error:
        data.load(spec, location=tmp_path)
    assert "does not hold train-images-idx3-ubyte.gz" in one_line(error)
    for name in fashion_mnist.SHA256_UNPACKED:
        (tmp_path / name).write_bytes(gzip.compress(idx_bytes(torch.zeros(2, 3, dtype=torch.uint8))))
    with pytest.raises(UserError) as error:
        data.load(spec, location=tmp_path)
    assert "sha256" in one_line(error) and "publisher's" in one_line(error)

    monkeypatch.setenv("WORKBENCH_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path / "not installed")
    monkeypatch.setattr(fashion_mnist, "PUBLISHER", (tmp_path / "offline").as_uri() + "/")
    with pytest.raises(UserError) as error:
        data.load(spec)
    said = one_line(error)
    assert (
        "dataset-fashion-mnist" in said and "offline/train-images" in said and str(tmp_path / "cache") in said
    )


def test_a_download_is_whole_or_absent(tmp_path: Path) -> None:
    (tmp_path / "published").write_bytes(b"content")
    target = tmp_path / "cache" / "file"
    files.download((tmp_path / "published").as_uri(), target, other_way="none")
    assert target.read_bytes() == b"content"
    with pytest.raises(UserError):
        files.download((tmp_path / "absent").as_uri(), tmp_path / "cache" / "other", other_way="none")
    assert [path.name for path in target.parent.iterdir()] == ["file"]


def test_cifar10_missing_damaged_and_of_another_content(tmp_path: Path) -> None:
    spec = DataSpec(name="cifar10")
    with pytest.raises(UserError) as error:
        data.load(spec, location=tmp_path)
    assert "is missing; get it from" in one_line(error)
    archive = cifar_archive(tmp_path / cifar10.ARCHIVE)
    with pytest.raises(UserError) as error:
        data.load(spec, location=tmp_path)
    assert "sha256" in one_line(error)
    (tmp_path / "cut.tar.gz").write_bytes(archive.read_bytes()[:500])
    cifar_archive(tmp_path / "short.tar.gz", cut=1)
    cifar_archive(tmp_path / "lacking.tar.gz", drop=cifar10.TRAIN_MEMBERS[2])
    for name, said in [
        ("cut", "not a whole .tar.gz"),
        ("short", "not a whole number of records"),
        ("lacking", "lacks cifar-10-batches-bin/data_batch_3.bin"),
    ]:
        with pytest.raises(UserError) as error:
            cifar10.read_archive(tmp_path / f"{name}.tar.gz")
        assert said in one_line(error)
    with pytest.raises(UserError) as error:
        cifar10.parse_batch(bytes([10]) + bytes(3072), "batch")
    assert "label 10" in one_line(error)
