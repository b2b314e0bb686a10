"""Data sets with few labels and with a shortcut: what is changed, and what is not."""

from __future__ import annotations

import pytest
import torch

from workbench.data import Dataset, load, marked_classes
from workbench.data.few import LEAST_LABELLED
from workbench.registry import UserError
from workbench.spec import DataSpec

WHOLE = load(DataSpec())


def rows_of(dataset: Dataset) -> set[bytes]:
    return {image.numpy().tobytes() for image in dataset.train.images}


@pytest.mark.parametrize(("share", "each"), [(0.001, LEAST_LABELLED), (0.1, 12), (0.5, 58)])
def test_few_labels_are_the_same_number_of_each_class_and_training_rows(share: float, each: int) -> None:
    few = load(DataSpec(labelled=share))
    assert torch.bincount(few.train.labels).tolist() == [each] * 10
    assert rows_of(few) <= rows_of(WHOLE)
    assert torch.equal(few.test.images, WHOLE.test.images)
    assert torch.equal(few.validation.labels, WHOLE.validation.labels)
    assert torch.bincount(few.train.labels[:10]).max() <= 2  # a prefix is a fair sample


def test_a_draw_is_repeatable_and_another_draw_differs() -> None:
    one, again, other = (load(DataSpec(labelled=0.1, draw=draw)) for draw in (0, 0, 1))
    assert torch.equal(one.train.images, again.train.images)
    assert rows_of(one) != rows_of(other)


@pytest.mark.parametrize("share", [0.0, -0.1, 1.5])
def test_a_share_outside_its_range_is_told(share: float) -> None:
    with pytest.raises(UserError, match=r"data\.labelled: .* given; a share above 0"):
        load(DataSpec(labelled=share))


def test_the_shortcut_tells_the_class_in_training_and_a_wrong_one_in_the_test() -> None:
    data = load(DataSpec(shortcut=True))

    def told(images: torch.Tensor) -> torch.Tensor:
        marks = images[:, 0, :2].flatten(1)  # ten classes need two rows of eight pixels
        assert ((marks > 0).sum(1) == 1).all()
        return marks.argmax(1)

    assert torch.equal(told(data.train.images), data.train.labels)
    assert torch.equal(told(data.validation.images), data.validation.labels)
    wrong = told(data.test.images)
    assert (wrong != data.test.labels).all()
    counts = torch.bincount(wrong, minlength=10)
    assert counts.min() > 25  # of 500: no wrong class is preferred
    assert torch.equal(data.test.images[:, :, 2:], WHOLE.test.images[:, :, 2:])


def test_the_mark_can_be_read_again() -> None:
    data = load(DataSpec(shortcut=True))
    assert torch.equal(marked_classes(data.train.images, 10), data.train.labels)
    assert (marked_classes(data.test.images, 10) != data.test.labels).all()
