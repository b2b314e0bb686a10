"""Targets against patches: arms differ in these alone, under one loss, and whole patches fill an image."""

from __future__ import annotations

import pytest
import torch

import studies
from pipelines.vocabulary import LABELS
from workbench.diffusion.conversions import PARAMETRISATIONS
from workbench.diffusion.objectives import WEIGHTINGS
from workbench.diffusion.schedule import schedule_from
from workbench.presets.patches import SIDES, patch_of, patched
from workbench.registry import UserError
from workbench.spec import DataSpec, DiffusionSpec, FitSpec, with_fields

ARMS = [dict(one) for one in studies.study("patches").arms]
SHARES = sorted({one["patch_share"] for one in ARMS})
PREDICTIONS = sorted({one["prediction"] for one in ARMS})


def fit(data: str, **arm: object) -> FitSpec:
    found = patched(DataSpec(name=data), "quick", **arm).source
    assert isinstance(found, FitSpec) and isinstance(found.model, DiffusionSpec)
    return found


@pytest.mark.parametrize("data", SIDES)
def test_arms_differ_in_target_and_patch_alone(data: str) -> None:
    plain = {"model.prediction": "clean", "model.backbone.patch": 1}
    assert len({with_fields(fit(data, **one), plain) for one in ARMS}) == 1
    assert len({fit(data, **one) for one in ARMS}) == len(ARMS) == len(SHARES) * len(PREDICTIONS)


@pytest.mark.parametrize("data", SIDES)
def test_patches_are_their_share_of_the_side(data: str) -> None:
    side = SIDES[data]
    for share in SHARES:
        patch = fit(data, patch_share=share).model.backbone.patch
        assert side % patch == 0 and patch / side == pytest.approx(share, rel=0.15)
    assert fit(data, patch_share=max(SHARES)).model.backbone.patch == side


def test_a_patch_is_the_divisor_nearest_to_its_share() -> None:
    assert [patch_of(28, share) for share in (1 / 28, 1 / 14, 0.1, 1 / 8, 1 / 4, 1 / 2, 1.0)] == [
        1,
        2,
        2,
        4,
        7,
        14,
        28,
    ]
    assert [patch_of(8, patch / 8) for patch in (1, 2, 4, 8)] == [1, 2, 4, 8]
    assert patch_of(7, 0.4) == 7  # nearer to 1 than to 1/7, by their ratio


def test_the_loss_is_one_function_of_the_clean_image() -> None:
    spec = fit("digits").model
    t = torch.linspace(0.01, 1.0, 50, dtype=torch.float64)
    schedule = schedule_from(spec.schedule)
    weight = WEIGHTINGS[spec.weighting]
    # The error of the clean image is the gain times that of the output.
    losses = []
    for name in PREDICTIONS:
        gain = PARAMETRISATIONS[name].gain(*schedule(t), 0.75)
        losses.append(weight(schedule.log_snr(t), gain) / gain.square())
    for one in losses[1:]:
        assert torch.allclose(one, losses[0], rtol=1e-9)


def test_every_target_has_a_name() -> None:
    assert set(PREDICTIONS) <= set(LABELS)


@pytest.mark.parametrize("share", [-0.5, 0.0, 2.0, 0.01])
def test_a_share_of_no_pixel_or_more_than_all_is_told(share: float) -> None:
    with pytest.raises(UserError, match=f"patch_share: {share:g} given; a share from 1/28"):
        patched(DataSpec(name="fashion_mnist"), "quick", patch_share=share)
