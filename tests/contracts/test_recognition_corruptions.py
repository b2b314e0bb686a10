"""Damaged images: still images, worse with severity, a row the same in whatever batch, of known size."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from workbench.recognition.corruptions import CORRUPTIONS, SEVERITIES, blur, contrast, noise, shift
from workbench.registry import UserError
from workbench.rng import normal_rows


def images(side: int, rows: int = 70) -> Tensor:
    """Smooth random pictures: a few waves, which every kind of damage changes."""
    place = torch.linspace(0, 1, side)
    phase = normal_rows(0, "pictures", start=0, stop=rows, shape=(2,))
    return (
        torch.sin(3 * place + phase[:, :1])[:, None, :, None]
        * torch.sin(2 * place + phase[:, 1:])[:, None, None]
    )


@pytest.mark.parametrize("side", [8, 28])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_damage_grows_with_severity_and_leaves_images(name: str, side: int) -> None:
    x = images(side)
    damaged = [CORRUPTIONS[name](x, severity, 0) for severity in SEVERITIES]
    errors = [float((y - x).square().mean()) for y in damaged]
    assert 0 < errors[0] < errors[1] < errors[2]
    for y in damaged:
        assert y.shape == x.shape and y.abs().max() <= 1


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_row_is_damaged_alike_in_any_batch(name: str) -> None:
    x = images(8)
    torch.testing.assert_close(CORRUPTIONS[name](x, 2, 5)[:3], CORRUPTIONS[name](x[:3], 2, 5))


def test_a_blur_leaves_a_constant_and_keeps_the_sum_of_a_point() -> None:
    flat = torch.full((1, 1, 28, 28), 0.3)
    torch.testing.assert_close(blur(flat, 3, 0), flat)
    point = torch.zeros(1, 1, 29, 29)
    point[..., 14, 14] = 1
    spread = blur(point, 1, 0)
    assert float(spread.sum()) == pytest.approx(1, abs=1e-5)
    offsets = torch.arange(29.0) - 14
    variance = (spread.sum((0, 1, 2)) * offsets.square()).sum()
    assert float(variance) == pytest.approx((29 / 24) ** 2, rel=0.08)  # the kernel ends at 2.5 deviations


def test_a_shift_moves_every_pixel_by_one_diagonal_step() -> None:
    x = images(28)
    pixels = round(28 / 8)
    moved = shift(x, 1, 0)
    directions = set()
    for row, one in zip(x, moved, strict=True):
        for dy in (-1, 1):
            for dx in (-1, 1):
                inner = one[:, 4:-4, 4:-4]
                from_ = row[:, 4 + dy * pixels : 24 + dy * pixels, 4 + dx * pixels : 24 + dx * pixels]
                if torch.equal(inner, from_):
                    directions.add((dy, dx))
    assert len(directions) == 4


def test_contrast_and_noise_are_what_they_say() -> None:
    x = images(28)
    less = contrast(x, 2, 0)
    torch.testing.assert_close(less.mean((1, 2, 3)), x.mean((1, 2, 3)))
    torch.testing.assert_close(less.std((1, 2, 3)), 0.35 * x.std((1, 2, 3)))
    grey = torch.zeros(70, 1, 28, 28)
    assert float(noise(grey, 1, 0).std()) == pytest.approx(0.2, rel=0.02)
    assert not torch.equal(noise(grey, 1, 0), noise(grey, 1, 1))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_severity_that_is_not_there_is_told(name: str) -> None:
    with pytest.raises(UserError, match="severity: 0 given; one of 1, 2, 3"):
        CORRUPTIONS[name](images(8), 0, 0)
