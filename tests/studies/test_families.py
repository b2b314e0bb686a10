"""The families that are compared: of equal size, for equal seconds, each known to the models and to the vocabulary."""

from __future__ import annotations

import pytest

import studies
from pipelines.vocabulary import LABELS
from workbench.models import Event, GenerativeModel, build
from workbench.presets.families import FIT_SECONDS, family, paces
from workbench.registry import UserError
from workbench.spec import DataSpec, FitSpec, LatentDiffusionSpec, Scale, inner_fits

EVENTS = {
    "digits": Event(shape=(1, 8, 8), classes=10, levels=17, std=0.75),
    "fashion_mnist": Event(shape=(1, 28, 28), classes=10, levels=256, std=0.7),
}
FAMILIES = sorted({dict(one)["family"] for one in studies.study("why_diffusion").arms})


@pytest.mark.parametrize("data", EVENTS)
@pytest.mark.parametrize("name", FAMILIES)
def test_families_are_generative_and_of_equal_size(name: str, data: str) -> None:
    fit = family(DataSpec(name=data), "quick", family=name).source
    assert isinstance(fit, FitSpec)
    model = build(fit.model, EVENTS[data])
    assert isinstance(model, GenerativeModel)
    assert 0.39e6 < sum(p.numel() for p in model.parameters()) < 0.48e6
    assert name in LABELS


@pytest.mark.parametrize("scale", ["quick", "standard", "full"])
@pytest.mark.parametrize("data", EVENTS)
def test_families_have_equal_seconds_at_the_pace_of_their_batches(data: str, scale: Scale) -> None:
    spec = DataSpec(name=data)
    for name in set(FAMILIES) - {"latent_diffusion"}:
        pace = paces(spec, scale)["diffusion" if name in ("flow_matching", "ddpm_1000") else name]
        for budget in (0.25, 1.0):
            fit = family(spec, scale, family=name, budget=budget).source
            assert isinstance(fit, FitSpec) and fit.budget.batch_size == pace.batch_size
            seconds = fit.budget.images_seen / pace.images_per_second
            assert seconds == pytest.approx(budget * FIT_SECONDS[data][scale], rel=1e-3)
    assert FIT_SECONDS[data]["quick"] < FIT_SECONDS[data]["standard"] < FIT_SECONDS[data]["full"]


def test_short_trainings_take_small_batches() -> None:
    def batches(data: str, scale: Scale) -> set[int]:
        sources = [family(DataSpec(name=data), scale, family=name).source for name in FAMILIES]
        fits = [
            fit for source in sources if isinstance(source, FitSpec) for fit in (source, *inner_fits(source))
        ]
        return {fit.budget.batch_size for fit in fits}

    for data in ("fashion_mnist", "cifar10", "path/to/images"):
        assert batches(data, "standard") == batches(data, "quick") == {16, 32}
        assert batches(data, "full") == {64, 128}
    assert batches("digits", "standard") == batches("digits", "quick") == {32, 64}
    assert batches("digits", "full") == {64, 128}


@pytest.mark.parametrize("budget", [1 / 16, 1.0])
@pytest.mark.parametrize("data", EVENTS)
def test_the_autoencoder_and_the_diffusion_of_its_latents_share_the_seconds(data: str, budget: float) -> None:
    scale: Scale = "standard"
    fit = family(DataSpec(name=data), scale, family="latent_diffusion", budget=budget).source
    assert isinstance(fit, FitSpec) and isinstance(fit.model, LatentDiffusionSpec)
    pace, inner = paces(DataSpec(name=data), scale), fit.model.autoencoder
    parts = [
        inner.budget.images_seen / pace["autoencoder"].images_per_second,
        fit.budget.images_seen / pace["latent_diffusion"].images_per_second,
    ]
    assert sum(parts) == pytest.approx(budget * FIT_SECONDS[data][scale], rel=1e-3)
    assert min(parts) > 0.1 * sum(parts) and inner.data == fit.data


def test_an_unknown_family_is_told() -> None:
    with pytest.raises(UserError, match=r"family: unknown name .vaee."):
        family(DataSpec(), "quick", family="vaee")
