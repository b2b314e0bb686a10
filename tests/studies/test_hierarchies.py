"""The variants of a hierarchy: one difference each, of equal parameters where they say so, seeing the same images."""

from __future__ import annotations

import math

import pytest

import studies
from pipelines.vocabulary import LABELS
from workbench.models import Event, GenerativeModel, build
from workbench.presets.families import family
from workbench.presets.hierarchies import VARIANTS, hierarchy
from workbench.registry import UserError
from workbench.spec import DataSpec, FitSpec, Scale

EVENTS = {
    "digits": Event(shape=(1, 8, 8), classes=10, levels=17, std=0.75),
    "fashion_mnist": Event(shape=(1, 28, 28), classes=10, levels=256, std=0.7),
}
ARMS = [dict(one) for one in studies.study("hierarchy").arms]


def fit(data: str, variant: str, stages: int, scale: Scale = "quick") -> FitSpec:
    found = hierarchy(DataSpec(name=data), scale, variant=variant, stages=stages).source
    assert isinstance(found, FitSpec)
    return found


def parameters(data: str, variant: str, stages: int, scale: Scale = "quick") -> int:
    model = build(fit(data, variant, stages, scale).model, EVENTS[data])
    assert isinstance(model, GenerativeModel)
    return sum(p.numel() for p in model.parameters())


def test_every_variant_is_compared_and_has_a_name() -> None:
    assert {one["variant"] for one in ARMS} == {*VARIANTS, "ladder_vae"} <= set(LABELS)


@pytest.mark.parametrize("scale", ["quick", "standard"])
@pytest.mark.parametrize("data", EVENTS)
@pytest.mark.parametrize("arm", [one for one in ARMS if "learned" not in one["variant"]], ids=str)
def test_parameters_are_equal_or_equal_a_stage(arm: dict[str, str | int], data: str, scale: Scale) -> None:
    variant, stages = str(arm["variant"]), int(arm["stages"])
    shared = parameters(data, "diffusion_bound", 1, scale)
    expected = shared * stages if variant == "networks_equal_each" else shared
    assert parameters(data, variant, stages, scale) == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize("data", EVENTS)
def test_all_see_the_same_images_in_the_same_batches(data: str) -> None:
    assert len({fit(data, str(one["variant"]), int(one["stages"])).budget for one in ARMS}) == 1


@pytest.mark.parametrize("data", EVENTS)
def test_the_ladder_vae_learns_at_the_rate_of_its_family(data: str) -> None:
    alike = family(DataSpec(name=data), "quick", family="ladder_vae").source
    assert isinstance(alike, FitSpec)
    assert fit(data, "ladder_vae", 4).optimiser.learning_rate == alike.optimiser.learning_rate


def test_a_learned_schedule_costs_a_number_a_stage_and_an_encoder_a_network() -> None:
    shared, schedule = (
        parameters("digits", "diffusion_bound", 16),
        parameters("digits", "learned_schedule", 16),
    )
    assert schedule == shared + 17
    encoded = parameters("digits", "quarter_latents_learned", 16) - schedule
    assert math.isclose(encoded, shared, rel_tol=0.01)


def test_unknown_names_are_told() -> None:
    with pytest.raises(UserError, match=r"variant: unknown name .leraned_schedule.*learned_schedule"):
        hierarchy(DataSpec(), "quick", variant="leraned_schedule")
    with pytest.raises(UserError, match="stages: 5 given; a ladder VAE is here with 4"):
        hierarchy(DataSpec(), "quick", variant="ladder_vae", stages=5)
    with pytest.raises(UserError, match=r"model\.stages: 0 given"):
        build(fit("digits", "networks_equal_total", 0).model, EVENTS["digits"])
