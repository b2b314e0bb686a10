"""Parameters as one vector: the same network, gradients, clipping and update as parameter by parameter."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from workbench.execution import Execution
from workbench.flat import FlatParameters
from workbench.rng import stream


def network() -> nn.Module:
    """Parameters of odd sizes, one of them in channels_last memory."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Flatten(), nn.LayerNorm(20), nn.Linear(20, 7))
    return Execution().place(made)


def loss(of: nn.Module) -> Tensor:
    rows: Tensor = of(torch.randn(6, 3, 4, 4, generator=stream(0, "rows")))
    return rows.square().sum()


@pytest.mark.parametrize("most", [1e-3, 1e9], ids=["clipped", "not clipped"])
def test_an_update_is_that_of_single_parameters(most: float) -> None:
    single, whole = network(), network()
    flat = FlatParameters(whole.parameters())
    one = torch.optim.AdamW(single.parameters(), 0.1, fused=True)
    other = torch.optim.AdamW([flat.values], 0.1, fused=True)
    for _ in range(3):
        one.zero_grad()
        flat.gradient.zero_()
        loss(single).backward()
        loss(whole).backward()
        norm = nn.utils.clip_grad_norm_(single.parameters(), most)
        torch.testing.assert_close(flat.clip(most), norm)
        one.step()
        other.step()
        for expected, found in zip(single.parameters(), whole.parameters(), strict=True):
            torch.testing.assert_close(found.grad, expected.grad)
            torch.testing.assert_close(found, expected)
            assert found.stride() == expected.stride()


def test_parts_are_aligned_and_gaps_stay_zero() -> None:
    made = network()
    before = copy.deepcopy(made.state_dict())
    flat = FlatParameters(made.parameters())
    assert all(torch.equal(made.state_dict()[name], value) for name, value in before.items())
    loss(made).backward()
    flat.values.data.add_(flat.gradient)
    total = sum(float(p.detach().double().square().sum()) for p in made.parameters())
    assert float(flat.values.detach().double().square().sum()) == pytest.approx(total)
    starts = {p.data_ptr() - flat.values.data_ptr() for p in made.parameters()}
    assert all(start % 64 == 0 for start in starts)
    assert len(starts) == len(list(made.parameters()))
