"""Costs: counted as by hand for one block of each kind, matched within 10 % in the table of sizes."""

from __future__ import annotations

import math

import pytest

from workbench.nn import BACKBONES
from workbench.nn.cost import cost_of, matched
from workbench.presets.sizes import SIZES_OF_BACKBONES, backbone_spec
from workbench.registry import UserError
from workbench.spec import BackboneSpec, with_fields

W, P = 64, 16  # width; patches of 2 in rows of 8 x 8
EVENT = {"digits": (1, 8, 8), "fashion_mnist": (1, 28, 28)}
LINEAR = P * W * W  # products of a linear layer on all patches
ATTENTION = 4 * LINEAR + 2 * P * P * W  # to queries, keys, values, out; logits and mixtures
MLP = 8 * LINEAR
MODULATION = 6 * W * W  # scale, shift and gate of both branches, once a row
# Multiplications and additions of one more block.
BLOCKS = {
    "dit": ATTENTION + MLP + MODULATION,
    "convnext": 25 * P * W + MLP + MODULATION,
    "mixer": 2 * W * P * (W // 2) + MLP + MODULATION,
    # Two blocks and a join, with 2 more tokens for the condition.
    "uvit": 2 * (12 * 18 * W * W + 2 * 18 * 18 * W) + 2 * 18 * W * W,
    # Two more residual blocks, down and up, one with skips: 2 convolutions, modulation and a projection.
    "unet": (9 * (1 + 1) + 9 * (2 + 1) + 2) * P * W * W + 2 * 2 * 4 * W * W,
}
BLOCKS["unet_transformer"] = BLOCKS["unet"] + 2 * (
    ATTENTION + MLP + (2 * LINEAR + 2 * 2 * (2 * W) * W + 2 * P * 2 * W)
)


@pytest.mark.parametrize("name", BACKBONES)
def test_flops_of_a_block_are_those_by_hand(name: str) -> None:
    spec = BackboneSpec(
        name=name, width=W, patch=2, multipliers=(1,), attention=(name == "unet_transformer",)
    )
    more = 2 if name == "uvit" else 1
    cost = [
        cost_of(with_fields(spec, {"blocks": n}), event_shape=(1, 8, 8), outputs=1, classes=10)
        for n in (2, 2 + more)
    ]
    assert cost[1].flops - cost[0].flops == 2 * BLOCKS[name]


def test_parameters_are_those_by_hand() -> None:
    spec = BackboneSpec(name="dit", width=W, patch=2, blocks=1)
    one, two = (
        cost_of(with_fields(spec, {"blocks": n}), event_shape=(1, 8, 8), outputs=1, classes=10).parameters
        for n in (1, 2)
    )
    assert two - one == (4 + 8 + 6) * W * W + (4 + 5 + 6) * W  # weights; biases


@pytest.mark.parametrize("data", SIZES_OF_BACKBONES)
def test_the_table_is_matched(data: str) -> None:
    for matching, sizes in SIZES_OF_BACKBONES[data].items():
        assert set(sizes) == set(BACKBONES)
        measure = matching.split("_")[0]
        costs = {
            name: getattr(
                cost_of(backbone_spec(name, data, matching), event_shape=EVENT[data], outputs=1, classes=10),
                measure,
            )
            for name in BACKBONES
        }
        within = 0.15 if matching == "flops_half" else 0.1
        assert all(abs(cost / costs["unet"] - 1) < within for cost in costs.values()), (matching, costs)


@pytest.mark.parametrize("data", SIZES_OF_BACKBONES)
def test_sizes_are_about_half_and_double(data: str) -> None:
    half, whole, double = (
        cost_of(backbone_spec("unet", data, matching), event_shape=EVENT[data], outputs=1, classes=10).flops
        for matching in ("flops_half", "flops", "flops_double")
    )
    assert 0.4 < half / whole < 0.6 and 1.6 < double / whole < 2.4


@pytest.mark.parametrize("matching", ["parameters", "flops"])
def test_matched_finds_the_width_again(matching: str) -> None:
    spec = BackboneSpec(name="mixer", width=96, patch=2, blocks=3)
    target = getattr(cost_of(spec, event_shape=(1, 8, 8), outputs=1, classes=10), matching)
    found = matched(
        with_fields(spec, {"width": 32}),
        event_shape=(1, 8, 8),
        outputs=1,
        classes=10,
        blocks=(2, 3, 4),
        **{matching: math.ceil(1.01 * target)},
    )
    assert found == spec


def test_a_target_that_cannot_be_met_is_told() -> None:
    event = {"event_shape": (1, 8, 8), "outputs": 1, "classes": 10}
    with pytest.raises(UserError, match="one of the two"):
        matched(BackboneSpec(), **event)
    with pytest.raises(UserError, match="4096"):
        matched(BackboneSpec(name="mixer"), **event, parameters=10**15, step=1024)


def test_a_wrong_name_is_told() -> None:
    for names in (
        ("dot", "digits", "flops"),
        ("dit", "digit", "flops"),
        ("dit", "digits", "flop"),
    ):
        with pytest.raises(UserError, match="Did you mean"):
            backbone_spec(*names)
