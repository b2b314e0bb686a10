"""Pictures of latents: of a flow they are exact, of each family with an encoder there are some, of others none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines import latent, names, pictures
from workbench.data import load, to_display
from workbench.execution import Execution
from workbench.models import Event, GenerativeModel, build
from workbench.spec import (
    BackboneSpec,
    CouplingFlowSpec,
    DataSpec,
    DiffusionSpec,
    FitSpec,
    LadderVAESpec,
    LatentDiffusionSpec,
    ModelSpec,
    VAESpec,
)

DATA = load(DataSpec())
SMALL = DiffusionSpec(backbone=BackboneSpec(multipliers=(1,), attention=(False,)))
SPATIAL = VAESpec(width=8, multipliers=(1, 1), latent="spatial", latent_width=2)
WITH_ENCODER: dict[str, tuple[ModelSpec, str]] = {
    "vae": (VAESpec(width=8, multipliers=(1, 1), latent_width=4), "spherical"),
    "ladder": (LadderVAESpec(width=8, multipliers=(1,), layers=(2,), latent_width=2), "spherical"),
    "flow": (CouplingFlowSpec(scales=1, steps=2, width=8), "spherical"),
    "latent diffusion": (
        LatentDiffusionSpec(autoencoder=FitSpec(model=SPATIAL), diffusion=SMALL),
        "linear",
    ),
}


def model_of(spec: ModelSpec) -> GenerativeModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(spec, Event.of(DATA)).eval()
        for parameter in model.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
    assert isinstance(model, GenerativeModel)
    return model


@pytest.mark.parametrize("name", WITH_ENCODER)
def test_a_family_with_an_encoder_has_pictures_and_says_how_latents_were_joined(
    name: str, tmp_path: Path
) -> None:
    spec, how = WITH_ENCODER[name]
    shown, tags = latent.take(model_of(spec), DATA, Execution(), tmp_path)
    assert set(shown) == {"reconstructions", "interpolations"}
    assert tags == {names.TAG_INTERPOLATION: how}
    found = pictures.read_latent(tmp_path / latent.LATENT)
    assert np.array_equal(found.images, to_display(DATA.test.images[:30], DATA.levels).numpy())
    assert found.interpolations.shape == (6, 10, 1, 8, 8)
    first, last = latent.pairs(DATA.test.labels)
    assert torch.equal(DATA.test.labels[first], DATA.test.labels[last]) and not bool((first == last).any())
    for rows, frame in ((first, 0), (last, -1)):
        real = to_display(DATA.test.images[rows], DATA.levels).numpy()
        assert np.array_equal(found.interpolations[:, frame], real)


def test_a_flow_gives_images_back_and_its_way_leads_from_one_to_the_other(tmp_path: Path) -> None:
    latent.take(model_of(WITH_ENCODER["flow"][0]), DATA, Execution(), tmp_path)
    found = pictures.read_latent(tmp_path / latent.LATENT)
    assert np.array_equal(found.reconstructions, found.images)
    way = found.interpolations
    assert np.array_equal(way[:, 1], way[:, 0]) and np.array_equal(way[:, -2], way[:, -1])
    assert all(not np.array_equal(way[:, frame], way[:, frame + 1]) for frame in range(1, 8))


def test_a_family_without_an_encoder_has_none(tmp_path: Path) -> None:
    assert latent.take(model_of(SMALL), DATA, Execution(), tmp_path) == ({}, {})
    assert not list(tmp_path.iterdir())


def test_a_class_of_one_row_makes_a_pair_with_itself() -> None:
    first, last = latent.pairs(torch.tensor([3, 1, 3, 3]))
    assert first.tolist() == [1, 0] and last.tolist() == [1, 2]
