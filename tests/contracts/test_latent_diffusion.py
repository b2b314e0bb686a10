"""Latent diffusion: the autoencoder is taken over and stays as it is, latents have unit deviation, rows are images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from toy import halves

from workbench.data import to_float
from workbench.execution import Execution
from workbench.models import VAE, Event, HasLatent, HasLikelihood, LatentDiffusion, Watch, build, restore
from workbench.registry import UserError
from workbench.rng import Draws, stream
from workbench.spec import (
    BackboneSpec,
    BudgetSpec,
    DataSpec,
    DiffusionSpec,
    FitSpec,
    LadderVAESpec,
    LatentDiffusionSpec,
    ModelSpec,
    OptimiserSpec,
    SamplingSpec,
    VAESpec,
    with_fields,
)
from workbench.training import Fitted, fit

CPU = Execution(threads=1)
BACKBONE = BackboneSpec(width=32, multipliers=(1,), attention=(True,))
SAMPLING = SamplingSpec(sampler="dpmpp_2m", nfe=8, time_grid="uniform_log_snr")


DATA = halves(levels=(16, 10))
IMAGES, LABELS = to_float(DATA.train.images, DATA.levels), DATA.train.labels


def training(model: ModelSpec, steps: int, rate: float = 1e-2) -> FitSpec:
    return FitSpec(
        model=model,
        optimiser=OptimiserSpec(learning_rate=rate, warmup_images=32),
        budget=BudgetSpec(images_seen=16 * steps, batch_size=16),
        ema_halflife_images=32,
    )


AUTOENCODER = training(VAESpec(width=8, multipliers=(1, 2), latent="spatial", latent_width=2, beta=0.01), 150)
SPEC = LatentDiffusionSpec(autoencoder=AUTOENCODER, diffusion=DiffusionSpec(backbone=BACKBONE))


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return fit(AUTOENCODER, DATA, execution=CPU).weights


@pytest.fixture(scope="module")
def fitted(weights: dict[str, Tensor]) -> Fitted:
    return fit(training(SPEC, 150, 3e-3), DATA, execution=CPU, inner=[weights])


def restored(state: Mapping[str, Tensor], spec: ModelSpec = SPEC) -> LatentDiffusion:
    model = restore(spec, Event.of(DATA), dict(state))
    assert isinstance(model, LatentDiffusion)
    return model


def test_latents_are_those_of_the_autoencoder_at_unit_deviation(
    weights: dict[str, Tensor], fitted: Fitted
) -> None:
    vae, model = restore(AUTOENCODER.model, Event.of(DATA), weights), restored(fitted.weights)
    assert isinstance(vae, VAE) and isinstance(model, HasLatent)
    means = vae.encode(IMAGES, LABELS)
    assert float(means.std()) > 0.1
    torch.testing.assert_close(model.encode(IMAGES, LABELS) * model.latent_std, means)
    torch.testing.assert_close(
        model.decode(model.encode(IMAGES, LABELS), LABELS), vae.decode(means, LABELS), rtol=1e-4, atol=1e-5
    )
    posterior = vae.posterior(IMAGES, LABELS)
    drawn = posterior.at(torch.randn(posterior.mean.shape, generator=stream(0, "posterior")))
    assert float(drawn.std() / model.latent_std) == pytest.approx(1.0, abs=0.1)


def test_what_is_frozen_does_not_move(weights: dict[str, Tensor], fitted: Fitted) -> None:
    for name, value in weights.items():
        assert torch.equal(fitted.weights[f"autoencoder.{name}"], value), name
    model = build(SPEC, Event.of(DATA))
    assert isinstance(model, LatentDiffusion)
    model.adopt([weights])
    model.train()
    assert model.diffusion.training and not any(module.training for module in model.autoencoder.modules())
    (objective,) = model.objectives()
    objective.loss(IMAGES, LABELS, stream(0, "loss")).sum().backward()
    assert all(parameter.grad is None for parameter in model.autoencoder.parameters())
    assert {id(p) for p in objective.parameters()} == {id(p) for p in model.diffusion.parameters()}
    assert any(parameter.grad is not None for parameter in objective.parameters())


def test_the_deviation_is_that_of_the_first_batch_and_of_training_alone(weights: dict[str, Tensor]) -> None:
    model = build(SPEC, Event.of(DATA))
    assert isinstance(model, LatentDiffusion)
    model.adopt([weights])
    model.eval().loss(IMAGES, LABELS, stream(0, "loss"))
    assert float(model.latent_std) == 1.0
    model.train().loss(IMAGES, LABELS, stream(0, "loss"))
    first = float(model.latent_std)
    model.loss(IMAGES[:2], LABELS[:2], stream(0, "another"))
    assert first == float(model.latent_std) != 1.0


def test_one_batch_is_overfitted_and_labels_tell_the_halves(fitted: Fitted) -> None:
    losses = [record["loss_denoising"] for record in fitted.history]
    assert losses[-1] < 0.7 * losses[0], losses
    model, watch = restored(fitted.weights), Watch()
    labels = torch.arange(70) % 2
    whole = model.sample(Draws(seed=0, start=0, stop=70), labels, SAMPLING, watch)
    assert whole.shape == (70, 1, 8, 8) and float(whole.abs().max()) <= 1
    left = whole[..., :4].mean((1, 2, 3)) - whole[..., 4:].mean((1, 2, 3))
    assert float(left[::2].mean()) > 0.8 and float(left[1::2].mean()) < -0.8
    assert watch.evaluations == 70 * model.evaluations(SAMPLING) == 70 * 8
    part = model.sample(Draws(seed=0, start=60, stop=70), labels[60:], SAMPLING)
    torch.testing.assert_close(part, whole[60:], rtol=0, atol=1e-3)


def test_guidance_reaches_the_latents(fitted: Fitted) -> None:
    model, labels = restored(fitted.weights), torch.arange(8) % 2
    draws = Draws(seed=0, start=0, stop=8)
    plain, guided = (model.sample(draws, labels, replace(SAMPLING, guidance=scale)) for scale in (1.0, 3.0))
    assert not torch.allclose(plain, guided, atol=1e-3)


def test_a_continued_fit_is_the_straight_one(weights: dict[str, Tensor], tmp_path: Path) -> None:
    spec = training(with_fields(SPEC, {"diffusion.backbone.dropout": 0.3}), 6)
    file = tmp_path / "checkpoint.safetensors"
    straight = fit(spec, DATA, execution=CPU, inner=[weights])
    for seconds in (0.0, 1e9):  # the first leaves the file of the last step but one
        continued = fit(
            spec, DATA, execution=CPU, inner=[weights], checkpoint=file, checkpoint_seconds=seconds
        )
    assert all(torch.equal(continued.weights[name], value) for name, value in straight.weights.items())


def test_the_autoencoder_may_know_labels_where_the_diffusion_does_not(weights: dict[str, Tensor]) -> None:
    spec = with_fields(SPEC, {"diffusion.conditional": False})
    model = restored(fit(training(spec, 2), DATA, execution=CPU, inner=[weights]).weights, spec)
    assert model.classes == 2
    with pytest.raises(UserError, match="guidance"):
        model.sample(Draws(seed=0, start=0, stop=2), LABELS[:2], replace(SAMPLING, guidance=2.0))


def test_rows_of_any_rank() -> None:
    event = Event(shape=(2, 12), classes=2, levels=17, std=0.9)
    model = build(SPEC, event)
    assert isinstance(model, LatentDiffusion)
    rows = model.eval().sample(Draws(seed=0, start=0, stop=3), torch.tensor([0, 1, 0]), SAMPLING)
    assert rows.shape == (3, 2, 12)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (VAESpec(), "a VAE with a vector latent given"),
        (LadderVAESpec(), "LadderVAESpec given"),
    ],
    ids=["vector", "ladder"],
)
def test_an_autoencoder_without_a_spatial_latent_is_refused(model: ModelSpec, words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        build(LatentDiffusionSpec(autoencoder=FitSpec(model=model)), Event.of(DATA))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (DataSpec(name="fashion_mnist"), "'fashion_mnist', where the latents of 'digits'"),
        (DataSpec(labelled=0.1), "'digits' with labelled 0.1, where the latents of 'digits'"),
    ],
    ids=["name", "rows"],
)
def test_an_autoencoder_of_other_data_is_refused(data: DataSpec, words: str) -> None:
    other = replace(SPEC, autoencoder=replace(AUTOENCODER, data=data))
    with pytest.raises(UserError, match=words) as error:
        fit(training(other, 1), DATA, execution=CPU)
    assert "\n" not in str(error.value)


def test_wrong_use_is_told(fitted: Fitted) -> None:
    model = restored(fitted.weights)
    assert not isinstance(model, HasLikelihood)
    with pytest.raises(UserError, match=r"sampling\.clip: True"):
        model.sample(Draws(seed=0, start=0, stop=2), LABELS[:2], replace(SAMPLING, clip=True))
    with pytest.raises(UserError, match=r"model\.autoencoder: weights of 0 fits"):
        fit(training(SPEC, 1), DATA, execution=CPU)
