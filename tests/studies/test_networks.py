"""The backbones that are compared: one U-Net in all comparisons, equal images or equal seconds, bad names told."""

from __future__ import annotations

import pytest

import studies
from pipelines.vocabulary import LABELS
from workbench.identity import key
from workbench.nn import BACKBONES
from workbench.presets.networks import SPEED, network
from workbench.registry import UserError
from workbench.spec import DataSpec, FitSpec, whole_training

ARMS = studies.study("backbones").arms


def fit(backbone: str, matching: str, data: str = "digits", trained: float = 1.0) -> FitSpec:
    found = network(
        DataSpec(name=data), "quick", backbone=backbone, matching=matching, trained=trained
    ).source
    assert isinstance(found, FitSpec)
    return found


def test_every_backbone_is_compared_and_has_a_name() -> None:
    assert {dict(one)["backbone"] for one in ARMS} == set(BACKBONES) <= set(LABELS)
    assert {dict(one)["matching"] for one in ARMS} <= set(LABELS)


def test_the_u_net_is_one_fit_in_all_comparisons_and_three_trials() -> None:
    trials = [network(DataSpec(), "quick", matching=one) for one in ("parameters", "flops", "seconds")]
    assert len({key(trial.source) for trial in trials}) == 1
    assert len({key(trial) for trial in trials}) == 3


@pytest.mark.parametrize("data", SPEED)
@pytest.mark.parametrize("backbone", sorted(set(BACKBONES) - {"unet"}))
def test_equal_seconds_are_fewer_images_for_a_slower_network_of_equal_flops(backbone: str, data: str) -> None:
    flops, seconds = fit(backbone, "flops", data), fit(backbone, "seconds", data)
    assert flops.model == seconds.model
    assert flops.budget == fit("unet", "flops", data).budget == fit(backbone, "parameters", data).budget
    share = seconds.budget.images_seen / flops.budget.images_seen
    assert share == pytest.approx(SPEED[data][backbone], rel=1e-3)


@pytest.mark.parametrize("share", [0.25, 0.5])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_what_is_looked_at_in_between_is_one_training(backbone: str, share: float) -> None:
    part, whole = fit(backbone, "flops", trained=share), fit(backbone, "flops")
    assert part.budget.images_seen == share * whole.budget.images_seen
    assert whole_training(part) == whole == fit(backbone, "flops", trained=1.0) != part


def test_unknown_names_are_told() -> None:
    with pytest.raises(UserError, match="matching"):
        network(DataSpec(), "quick", matching="watts")
    with pytest.raises(UserError, match="backbone"):
        network(DataSpec(), "quick", backbone="vit")
