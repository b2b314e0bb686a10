"""Markovian hierarchies: exact where the law is known, and DDPM where they are that."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from small_hierarchies import BACKBONE, EVENT, PLAIN, SPEC, images_of, model_of
from torch import Tensor
from torch.distributions import Normal

from workbench.diffusion.objectives import least_variance, step_bound
from workbench.models import DiffusionModel, Event, HasLikelihood, MarkovHierarchy, build
from workbench.models.markov_hierarchy import RATE
from workbench.rng import Draws, stream
from workbench.spec import (
    DiffusionSpec,
    SamplingSpec,
    ScheduleSpec,
    with_fields,
)

STD, LEVELS = 0.25, 4097  # cells so small that a probability is a density times their width
NORMAL = Event(shape=(1, 4, 4), classes=0, levels=LEVELS, std=STD)
VALUES = 16


def normal_rows(rows: int = 3000) -> Tensor:
    """White normal images, rounded to the levels."""
    half = (LEVELS - 1) / 2
    values = STD * torch.randn(rows, *NORMAL.shape, generator=stream(0, "rows"))
    return (values * half).round().div(half).clamp(-1, 1)


def exact(rows: Tensor) -> float:
    """The mean log-probability of rows under the white normal law, in nats."""
    log_density = float(Normal(0.0, STD).log_prob(rows.double()).flatten(1).sum(1).mean())
    return log_density + VALUES * math.log(2 / (LEVELS - 1))


def mean_bound(model: MarkovHierarchy, rows: Tensor) -> float:
    with torch.no_grad():
        return float(model.log_prob(rows, None, stream(0, "bound")).double().mean())


def steps_of(model: MarkovHierarchy) -> tuple[Tensor, Tensor, Tensor]:
    """By hand, for the stages after the first: SNR_s - SNR_t; for all: the variance of x_0 given x_t; the schedule's
    least variance."""
    schedule = model.fixed
    times = torch.arange(1, schedule.timesteps + 1, dtype=torch.float64) / schedule.timesteps
    alpha, sigma = schedule(times)
    snr = (alpha / sigma).square()
    return snr[:-1] - snr[1:], 1 / (1 / STD**2 + snr), torch.tensor(least_variance(schedule))


# The bound, where all is known: white normal data, for which a network that says zero is the exact denoiser.


@pytest.mark.parametrize("decoder", ["shared", "separate"])
@pytest.mark.parametrize("encoder", ["fixed", "network"])
@pytest.mark.parametrize("stages", [1, 2, 5, 20])
def test_the_bound_is_exact_at_the_optimum_for_any_number_of_stages(
    stages: int, encoder: str, decoder: str
) -> None:
    spec = with_fields(PLAIN, {"stages": stages, "encoder": encoder, "decoder": decoder})
    model, rows = model_of(spec, NORMAL, silent=True), normal_rows()
    assert isinstance(model, HasLikelihood) and model.likelihood_kind == "bound"
    assert mean_bound(model, rows) == pytest.approx(exact(rows), abs=0.2)


def test_an_encoder_starts_as_none_and_a_decoder_does_not() -> None:
    model = build(replace(PLAIN, encoder="network"), NORMAL)
    assert isinstance(model, MarkovHierarchy) and model.encoder is not None
    x, level = torch.ones(2, *NORMAL.shape), torch.zeros(2)
    assert not model.encoder(x, level).any()
    assert all(network(x, level).any() for network in model.networks)


def lost(model: MarkovHierarchy) -> float:
    """By how many nats the bound of a model is below that of the silent one, with the same draws."""
    best = model_of(replace(PLAIN, stages=model.spec.stages), NORMAL, silent=True)
    return mean_bound(best, normal_rows()) - mean_bound(model, normal_rows())


def divergence(ratio: Tensor) -> float:
    """KL of normals whose variances have the given ratios, true over assumed, for all values of a row."""
    return 0.5 * VALUES * float((ratio - 1 - ratio.log()).sum())


def test_a_wrong_variance_costs_its_divergence() -> None:
    model, moved = model_of(PLAIN, NORMAL, silent=True), 1.5
    assert model.log_spread is not None
    torch.nn.init.constant_(model.log_spread, moved / RATE)
    gaps, spread, _ = steps_of(model)
    extra = gaps * spread[1:]
    ratio = torch.cat([(1 + extra) / (1 + extra * math.exp(moved)), spread.new_tensor([math.exp(-moved)])])
    assert lost(model) == pytest.approx(divergence(ratio), rel=0.05)


def test_the_small_variance_costs_what_few_stages_lose() -> None:
    model = model_of(replace(PLAIN, variance="small"), NORMAL, silent=True)
    gaps, spread, least = steps_of(model)
    assert lost(model) == pytest.approx(
        divergence(torch.cat([1 + gaps * spread[1:], spread[:1] / least])), rel=0.05
    )


def test_fewer_dimensions_cost_what_they_cannot_tell() -> None:
    """Three of four directions are not in the latents: x_1 tells nothing of them, and one variance serves them all."""
    model = model_of(replace(PLAIN, stages=20, latent_share=0.25), NORMAL, silent=True)
    assert model.log_spread is not None
    _, spread, _ = steps_of(model)
    told, untold = float(spread[0]), STD**2
    mean = 0.25 * told + 0.75 * untold
    with torch.no_grad():
        model.log_spread[0] = math.log(mean / told) / RATE
    expected = 0.5 * VALUES * (math.log(mean) - 0.25 * math.log(told) - 0.75 * math.log(untold))
    assert expected > 2
    assert lost(model) == pytest.approx(expected, rel=0.1)


def test_a_schedule_is_moved_by_what_it_costs() -> None:
    """Where the variance is wrong the bound depends on the schedule, by divergences whose gradient is known."""
    model, moved = model_of(replace(PLAIN, encoder="schedule"), NORMAL, silent=True), 1.5
    assert model.log_spread is not None and model.learned is not None
    torch.nn.init.constant_(model.log_spread, moved / RATE)
    moves = model.learned.moves
    (found,) = torch.autograd.grad(-model.log_prob(normal_rows(), None, stream(0, "bound")).mean(), moves)
    times = torch.arange(1, 6, dtype=torch.float64) / 5
    snr = model.learned().log_snr(times).exp()
    extra = (snr[:-1] - snr[1:]) / (1 / STD**2 + snr[1:])
    ratio = (1 + extra) / (1 + extra * math.exp(moved))
    (expected,) = torch.autograd.grad(0.5 * VALUES * (ratio - 1 - ratio.log()).sum(), moves)
    assert float(expected.abs().max()) > 0.3
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)


# DDPM, where it is DDPM


def twins(
    stages: int, objective: str = "denoising", prediction: str = "noise"
) -> tuple[DiffusionModel, MarkovHierarchy]:
    """A discrete DDPM and the hierarchy that is the same, with the same weights."""
    schedule = ScheduleSpec(name="cosine", timesteps=stages)
    spec = DiffusionSpec(backbone=BACKBONE, schedule=schedule, label_dropout=0.0)
    ddpm = build(with_fields(spec, {"prediction": prediction}), EVENT)
    fields = {"stages": stages, "variance": "small", "objective": objective, "prediction": prediction}
    hierarchy = model_of(with_fields(SPEC, fields))
    assert isinstance(ddpm, DiffusionModel)
    ddpm.preconditioned.backbone.load_state_dict(hierarchy.networks[0].state_dict())
    return ddpm, hierarchy


@pytest.mark.parametrize("prediction", ["noise", "unit"])
@pytest.mark.parametrize("stages", [1, 4, 16])
def test_the_loss_is_that_of_the_ddpm(stages: int, prediction: str) -> None:
    ddpm, hierarchy = twins(stages, prediction=prediction)
    images, labels = images_of(EVENT, 32), torch.arange(32) % 2
    expected = ddpm.loss(images, labels, stream(0, "loss"))
    torch.testing.assert_close(
        hierarchy.loss(images, labels, stream(0, "loss")), expected, rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize("stages", [1, 4, 16])
def test_rows_are_those_of_the_ddpm(stages: int) -> None:
    ddpm, hierarchy = twins(stages, prediction="unit")
    draws, labels = Draws(seed=3, start=0, stop=8), torch.arange(8) % 2
    sampling = SamplingSpec(sampler="ddpm", nfe=stages, time_grid="uniform_t")
    expected = ddpm.sample(draws, labels, sampling)
    torch.testing.assert_close(hierarchy.sample(draws, labels, sampling), expected, rtol=1e-4, atol=1e-5)


def test_each_term_of_the_bound_is_that_of_the_ddpm() -> None:
    stages, rows = 6, 12
    ddpm, hierarchy = twins(stages, "bound", "unit")
    images, labels = images_of(EVENT, rows), torch.arange(rows) % 2
    t = (torch.arange(rows, dtype=torch.float64) % stages + 1) / stages
    term, _ = hierarchy.costs(images, images, t, labels, stream(0, "noise"))
    noise = torch.randn(images.shape, generator=stream(0, "noise"))
    alpha, sigma = (value.float()[:, None, None, None] for value in hierarchy.fixed(t))
    x_t = alpha * images + sigma * noise
    denoised = ddpm.preconditioned(x_t, t, labels)
    expected = 64 * step_bound(denoised, torch.zeros_like(images), images, x_t, t, hierarchy.fixed)
    later = t > 1.5 / stages
    torch.testing.assert_close(term[later], expected[later], rtol=1e-3, atol=1e-4)
    bounds = [
        model.log_prob(images.repeat(50, 1, 1, 1), labels.repeat(50), stream(0, "bound")).mean()
        for model in (ddpm, hierarchy)
    ]
    torch.testing.assert_close(bounds[0], bounds[1], rtol=1e-2, atol=0)
