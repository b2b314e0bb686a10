"""Markovian hierarchies are trained as any family is; wrong ones are told in one line."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from small_hierarchies import EVENT, SPEC, VARIANTS, model_of
from toy import halves, trained

from workbench.models import Event, MarkovHierarchy, build, restore
from workbench.registry import UserError
from workbench.rng import Draws
from workbench.spec import (
    SamplingSpec,
    with_fields,
)

run = partial(trained, learning_rate=3e-3)


@pytest.mark.parametrize("name", VARIANTS)
def test_one_batch_is_overfitted_and_labels_tell_the_halves(name: str) -> None:
    fitted = run(VARIANTS[name], steps=80)
    objective = VARIANTS[name].objective
    losses = [record[f"loss_{objective}"] for record in fitted.history]
    assert losses[-1] < 0.6 * losses[0], losses
    model = restore(VARIANTS[name], Event.of(halves()), fitted.weights)
    assert isinstance(model, MarkovHierarchy)
    for label, bright, dark in ((0, slice(0, 4), slice(4, 8)), (1, slice(4, 8), slice(0, 4))):
        drawn = model.sample(Draws(seed=0, start=0, stop=8), torch.full((8,), label), SamplingSpec())
        assert float(drawn[..., dark].mean()) < -0.3 and float(drawn[..., bright].mean()) > 0.3


@pytest.mark.parametrize("name", ["quarter", "separate"])
def test_a_continued_fit_is_the_straight_one(name: str, tmp_path: Path) -> None:
    model, file = with_fields(VARIANTS[name], {"backbone.dropout": 0.3}), tmp_path / "checkpoint.safetensors"
    straight = run(model, steps=4)
    run(model, steps=4, checkpoint=file, seconds=0.0)  # leaves the file of the last step but one
    continued = run(model, steps=4, checkpoint=file)
    assert len(continued.history) == len(straight.history)
    assert all(torch.equal(continued.weights[name], value) for name, value in straight.weights.items())


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"stages": 0}, "model.stages: 0 given; a whole number from 1"),
        ({"latent_share": 0.3}, "model.latent_share: 0.3 given; a multiple of 0.25"),
        ({"latent_share": 1.25}, "model.latent_share: 1.25"),
        ({"latent_share": 0.0}, "model.latent_share: 0.0"),
        ({"encoder": "fixt"}, "Did you mean 'fixed'"),
        ({"decoder": "separated"}, "Did you mean 'separate'"),
        ({"objective": "elbo"}, "Known: bound, denoising"),
        ({"variance": "large"}, "Known: learned, small"),
        ({"schedule": "cosin"}, "Did you mean 'cosine'"),
        ({"schedule": "straight"}, "continuous time"),
        ({"prediction": "noize"}, "Did you mean 'noise'"),
        ({"objective": "denoising", "encoder": "schedule"}, "model.objective: 'denoising' given with"),
        ({"variance": "small", "encoder": "network"}, "model.variance: 'small' given with"),
    ],
    ids=str,
)
def test_a_wrong_spec_is_told_in_one_line(fields: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        build(with_fields(SPEC, fields), EVENT)
    assert "\n" not in str(error.value)


def test_what_a_model_cannot_do_is_told() -> None:
    model, draws = model_of(SPEC), Draws(seed=0, start=0, stop=2)
    with pytest.raises(UserError, match="guidance: 2"):
        model.sample(draws, torch.zeros(2, dtype=torch.int64), SamplingSpec(guidance=2.0))
    with pytest.raises(UserError, match="labels: none given"):
        model.sample(draws, None, SamplingSpec())
    with pytest.raises(UserError, match="sides must be even"):
        build(replace(SPEC, latent_share=0.25), replace(EVENT, shape=(1, 8, 7)))
