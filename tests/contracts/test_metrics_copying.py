"""The neighbour search against brute force, and the copy rate where the number of copies is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from workbench.metrics import Rows, copying, measure, neighbours, with_copy_threshold
from workbench.rng import stream


def images(rows: int, *, seed: int) -> Tensor:
    return torch.rand(rows, 1, 3, 3, generator=stream(seed, "test")) * 2 - 1


def brute_force(query: Tensor, bank: Tensor, k: int) -> Tensor:
    return (query[:, None].double() - bank.double()).norm(dim=-1).sort(dim=1).values[:, :k]


@pytest.mark.parametrize("k", [1, 4, 70])
def test_nearest_agrees_with_brute_force_across_blocks(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_QUERY_BLOCK", 7)
    monkeypatch.setattr(neighbours, "_BANK_BLOCK", 16)  # less than the largest k
    monkeypatch.setattr(neighbours, "_REFINE_BYTES", 4 * k * 5 * 3)
    query, bank = (
        torch.randn(23, 5, generator=stream(0, "q")) + 9,
        torch.randn(90, 5, generator=stream(0, "b")) + 9,
    )
    distances, index = neighbours.nearest(query, bank, k)
    assert torch.allclose(distances, brute_force(query, bank, k), rtol=1e-6)
    assert torch.allclose((query[:, None] - bank[index]).double().norm(dim=-1), distances, rtol=1e-6)


def test_a_row_of_the_bank_is_at_distance_zero_exactly() -> None:
    bank = torch.randn(50, 30, generator=stream(0, "b")) + 100
    distances, index = neighbours.nearest(bank[10:20], bank, 2)
    assert distances[:, 0].tolist() == [0.0] * 10 and index[:, 0].tolist() == list(range(10, 20))


def test_real_unseen_rows_seem_copies_once_in_a_hundred() -> None:
    train, unseen = images(3000, seed=1), images(4000, seed=2)
    threshold = copying.copy_threshold(train, stream(0, "threshold"))
    assert copying.copy_rate(unseen, train, threshold) == pytest.approx(copying.QUANTILE, abs=0.008)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 1.0])
def test_every_copy_is_found_and_little_else(share: float) -> None:
    train, rows = images(1000, seed=1), images(1000, seed=2)
    copies = round(share * len(rows))
    rows[:copies] = train[:copies] + 0.01 * torch.randn(copies, 1, 3, 3, generator=stream(0, "noise"))
    rate = copying.copy_rate(rows, train, copying.copy_threshold(train, stream(0, "threshold")))
    assert share <= rate <= share + 0.03


def test_smooth_rows_are_no_copies() -> None:
    """A row near the mean of the data is nearer to every training row than real rows are, and a copy of none."""
    train = torch.rand(1000, 1, 8, 8, generator=stream(1, "test")) * 2 - 1
    blurred = 0.1 * (torch.rand(500, 1, 8, 8, generator=stream(2, "test")) * 2 - 1)
    threshold = copying.copy_threshold(train, stream(0, "threshold"))
    assert copying.copy_rate(blurred, train, threshold) == 0


def test_the_threshold_leaves_the_row_itself_out_but_not_its_duplicates() -> None:
    train = images(200, seed=1)
    assert copying.copy_threshold(train, stream(0, "threshold")) > 0
    doubled = torch.cat([train, train])
    assert copying.copy_threshold(doubled, stream(0, "threshold")) == 0
    assert copying.copy_rate(train, doubled, 0.0) == 1


def test_a_threshold_computed_once_gives_the_same_rate() -> None:
    train, rows = Rows(images(300, seed=1)), Rows(images(100, seed=2))
    once = with_copy_threshold(train)
    assert once.copy_threshold is not None
    assert measure(("copy_rate",), (), rows, rows, once, 5) == measure(
        ("copy_rate",), (), rows, rows, train, 0
    )
