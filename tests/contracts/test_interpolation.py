"""The way between two latents: its ends, its length, its angle."""

from __future__ import annotations

import math

import pytest
import torch

from workbench.models.base import Interpolation
from workbench.models.interpolation import interpolated
from workbench.rng import stream

START, END = torch.randn(2, 5, 3, 4, generator=stream(0, "ends"))


@pytest.mark.parametrize("how", ["spherical", "linear"])
def test_a_way_has_its_ends(how: Interpolation) -> None:
    torch.testing.assert_close(interpolated(START, END, 0.0, how), START)
    torch.testing.assert_close(interpolated(START, END, 1.0, how), END)


def test_the_arc_keeps_length_and_divides_the_angle() -> None:
    start, end = (3 * z / z.flatten(1).norm(dim=1)[:, None, None] for z in (START, END))
    third = interpolated(start, end, 1 / 3, "spherical")
    torch.testing.assert_close(third.flatten(1).norm(dim=1), torch.full((5,), 3.0))
    angles = [((a * b).flatten(1).sum(1) / 9).acos() for a, b in ((start, third), (start, end))]
    torch.testing.assert_close(3 * angles[0], angles[1], rtol=1e-4, atol=1e-4)


def test_the_line_is_shorter_in_the_middle() -> None:
    start, end = torch.randn(2, 3, 4_000, generator=stream(0, "many"))
    shrunk = interpolated(start, end, 0.5, "linear").norm(dim=1) / math.sqrt(4_000)
    kept = interpolated(start, end, 0.5, "spherical").norm(dim=1) / math.sqrt(4_000)
    torch.testing.assert_close(shrunk, torch.full((3,), math.sqrt(0.5)), rtol=0.05, atol=0)
    torch.testing.assert_close(kept, torch.ones(3), rtol=0.05, atol=0)


def test_latents_of_one_direction_have_a_line_between_them() -> None:
    torch.testing.assert_close(interpolated(START, START, 0.3, "spherical"), START)
    torch.testing.assert_close(interpolated(START, 2 * START, 0.5, "spherical"), 1.5 * START)
