"""Markovian hierarchies: exact where the law is known, DDPM where they are that, each difference what it claims."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from workbench.data import Dataset, Split, to_float
from workbench.diffusion.learned_schedule import LearnedSchedule
from workbench.diffusion.objectives import least_variance, step_bound
from workbench.diffusion.schedule import Discrete, schedule_from
from workbench.execution import Execution
from workbench.models import DiffusionModel, Event, HasLikelihood, MarkovHierarchy, Watch, build, restore
from workbench.models.markov_hierarchy import RATE
from workbench.models.stages import Subspace
from workbench.registry import UserError
from workbench.rng import Draws, stream
from workbench.sampling import Node
from workbench.spec import (
    BackboneSpec,
    BudgetSpec,
    DiffusionSpec,
    FitSpec,
    MarkovHierarchySpec,
    OptimiserSpec,
    SamplingSpec,
    ScheduleSpec,
    with_fields,
)
from workbench.training import Fitted, fit

BACKBONE = BackboneSpec(width=16, multipliers=(1,), attention=(False,), patch=2)
SPEC = MarkovHierarchySpec(backbone=BACKBONE, stages=5)
PLAIN = replace(SPEC, conditional=False)
VARIANTS: dict[str, MarkovHierarchySpec] = {
    "diffusion": SPEC,
    "denoising": replace(SPEC, objective="denoising"),
    "schedule": replace(SPEC, encoder="schedule"),
    "network": replace(SPEC, encoder="network"),
    "quarter": replace(SPEC, latent_share=0.25, encoder="network"),
    "separate": replace(SPEC, decoder="separate"),
    "one_stage": replace(SPEC, stages=1),
}
STD, LEVELS = 0.25, 4097  # cells so small that a probability is a density times their width
NORMAL = Event(shape=(1, 4, 4), classes=0, levels=LEVELS, std=STD)
EVENT = Event(shape=(1, 8, 8), classes=2, levels=17, std=0.9)
VALUES = 16


def model_of(spec: MarkovHierarchySpec, event: Event = EVENT, *, fresh: bool = False) -> MarkovHierarchy:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(spec, event)
        assert isinstance(model, MarkovHierarchy)
        for name, parameter in model.named_parameters():
            if not fresh and name.startswith(("networks.", "encoder.")):  # leave the zeros of the start
                torch.nn.init.normal_(parameter, std=0.2)
    return model


def images_of(event: Event, rows: int) -> Tensor:
    levels = torch.randint(0, event.levels, (rows, *event.shape), generator=stream(0, "images"))
    return to_float(levels, event.levels)


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


# The bound, where all is known: white normal data, for which a fresh network is the exact denoiser.


@pytest.mark.parametrize("decoder", ["shared", "separate"])
@pytest.mark.parametrize("encoder", ["fixed", "network"])
@pytest.mark.parametrize("stages", [1, 2, 5, 20])
def test_the_bound_is_exact_at_the_optimum_for_any_number_of_stages(
    stages: int, encoder: str, decoder: str
) -> None:
    spec = with_fields(PLAIN, {"stages": stages, "encoder": encoder, "decoder": decoder})
    model, rows = model_of(spec, NORMAL, fresh=True), normal_rows()
    assert isinstance(model, HasLikelihood) and model.likelihood_kind == "bound"
    assert mean_bound(model, rows) == pytest.approx(exact(rows), abs=0.2)


def lost(model: MarkovHierarchy) -> float:
    """By how many nats the bound of a model is below that of the fresh one, with the same draws."""
    best = model_of(replace(PLAIN, stages=model.spec.stages), NORMAL, fresh=True)
    return mean_bound(best, normal_rows()) - mean_bound(model, normal_rows())


def divergence(ratio: Tensor) -> float:
    """KL of normals whose variances have the given ratios, true over assumed, for all values of a row."""
    return 0.5 * VALUES * float((ratio - 1 - ratio.log()).sum())


def test_a_wrong_variance_costs_its_divergence() -> None:
    model, moved = model_of(PLAIN, NORMAL, fresh=True), 1.5
    assert model.log_spread is not None
    torch.nn.init.constant_(model.log_spread, moved / RATE)
    gaps, spread, _ = steps_of(model)
    extra = gaps * spread[1:]
    ratio = torch.cat([(1 + extra) / (1 + extra * math.exp(moved)), spread.new_tensor([math.exp(-moved)])])
    assert lost(model) == pytest.approx(divergence(ratio), rel=0.05)


def test_the_small_variance_costs_what_few_stages_lose() -> None:
    model = model_of(replace(PLAIN, variance="small"), NORMAL, fresh=True)
    gaps, spread, least = steps_of(model)
    assert lost(model) == pytest.approx(
        divergence(torch.cat([1 + gaps * spread[1:], spread[:1] / least])), rel=0.05
    )


def test_fewer_dimensions_cost_what_they_cannot_tell() -> None:
    """Three of four directions are not in the latents: x_1 tells nothing of them, and one variance serves them all."""
    model = model_of(replace(PLAIN, stages=20, latent_share=0.25), NORMAL, fresh=True)
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
    model, moved = model_of(replace(PLAIN, encoder="schedule"), NORMAL, fresh=True), 1.5
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


# The differences, one by one


@pytest.mark.parametrize("stages", [1, 4, 64])
def test_a_learned_schedule_starts_as_the_fixed_one_and_never_rises(stages: int) -> None:
    start = schedule_from(ScheduleSpec(name="cosine", timesteps=stages))
    assert isinstance(start, Discrete)
    learned = LearnedSchedule(start)
    times = torch.arange(1, stages + 1, dtype=torch.float64) / stages
    torch.testing.assert_close(learned().log_snr(times), start.log_snr(times), rtol=1e-6, atol=1e-6)
    for spread in (1.0, 10.0, 100.0):
        torch.nn.init.normal_(learned.moves, std=spread, generator=stream(0, "moves"))
        log_snr = learned().log_snr(times)
        assert bool((log_snr.diff() < 0).all()) and bool((log_snr.abs() < learned.reach).all())


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75, 1.0])
def test_latents_lie_in_a_subspace_of_their_share(share: float) -> None:
    project = Subspace(share, (4, 4))
    unit = torch.eye(16).reshape(16, 1, 4, 4)
    matrix = project(unit).reshape(16, 16)
    torch.testing.assert_close(matrix @ matrix, matrix)
    torch.testing.assert_close(matrix, matrix.T)
    assert float(matrix.trace()) == pytest.approx(16 * share)


def test_a_quarter_of_the_dimensions_are_the_means_of_cells() -> None:
    images = images_of(EVENT, 3)
    means = torch.nn.functional.avg_pool2d(images, 2)
    expected = torch.nn.functional.interpolate(means, scale_factor=2)
    torch.testing.assert_close(Subspace(0.25, (8, 8))(images), expected)


@pytest.mark.parametrize("encoder", ["fixed", "network"])
def test_the_chain_runs_in_the_subspace_and_ends_outside_it(encoder: str) -> None:
    model = model_of(with_fields(SPEC, {"latent_share": 0.25, "encoder": encoder}))
    seen: list[Tensor] = []

    def look(node: Node, x_t: Tensor, denoised: Tensor) -> None:
        seen.append(x_t)

    rows = model.sample(
        Draws(seed=0, start=0, stop=4), torch.arange(4) % 2, SamplingSpec(), Watch(on_step=look)
    )
    assert len(seen) == 5
    for x_t in seen:
        torch.testing.assert_close(model.project(x_t), x_t)
    assert float((model.project(rows) - rows).abs().mean()) > 1e-2
    clean = model.clean(images_of(EVENT, 4), torch.zeros(4, dtype=torch.int64))
    torch.testing.assert_close(model.project(clean), clean)


def test_equal_networks_a_stage_are_one_network() -> None:
    one, many = model_of(SPEC), model_of(VARIANTS["separate"])
    for network in many.networks:
        network.load_state_dict(one.networks[0].state_dict())
    images, labels = images_of(EVENT, 13), torch.arange(13) % 2
    torch.testing.assert_close(
        many.loss(images, labels, stream(0, "loss")), one.loss(images, labels, stream(0, "loss"))
    )
    draws = Draws(seed=3, start=0, stop=4)
    torch.testing.assert_close(
        many.sample(draws, labels[:4], SamplingSpec()), one.sample(draws, labels[:4], SamplingSpec())
    )


@pytest.mark.parametrize("stage", [1, 3, 5])
def test_the_loss_of_a_stage_reaches_its_network_alone(stage: int) -> None:
    model, images = model_of(VARIANTS["separate"]), images_of(EVENT, 4)
    t = torch.full((4,), stage / 5, dtype=torch.float64)
    term, _ = model.costs(images, images, t, torch.arange(4) % 2, stream(0, "noise"))
    term.sum().backward()
    reached = [any(p.grad is not None for p in network.parameters()) for network in model.networks]
    assert reached == [number == stage for number in range(1, 6)]
    assert model.log_spread is not None and model.log_spread.grad is not None
    assert (model.log_spread.grad != 0).tolist() == reached


@pytest.mark.parametrize("name", VARIANTS)
def test_every_parameter_gets_a_gradient_for_rows_of_any_rank(name: str) -> None:
    for shape in ((1, 8, 6), (2, 8), (1, 4, 4, 2)):
        share = 0.5 if VARIANTS[name].latent_share < 1 else 1.0  # a half exists in any rank
        model = model_of(replace(VARIANTS[name], latent_share=share), replace(EVENT, shape=shape))
        images, labels = images_of(model.event, 20), torch.arange(20) % 2
        loss = model.loss(images, labels, stream(0, "loss"))
        assert loss.shape == (20,)
        loss.sum().backward()
        for label, parameter in model.named_parameters():
            assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), label
            assert float(parameter.grad.abs().sum()) > 0, label


@pytest.mark.parametrize("name", VARIANTS)
def test_a_row_takes_an_evaluation_a_stage_whatever_the_batch(name: str) -> None:
    model, watch, labels = model_of(VARIANTS[name]), Watch(), torch.arange(70) % 2
    whole = model.sample(Draws(seed=3, start=0, stop=70), labels, SamplingSpec(), watch)
    assert watch.evaluations == 70 * model.spec.stages
    assert model.evaluations(SamplingSpec()) == model.spec.stages
    part = model.sample(Draws(seed=3, start=60, stop=70), labels[60:], SamplingSpec())
    torch.testing.assert_close(whole[60:], part, rtol=1e-4, atol=1e-5)
    other = model.sample(Draws(seed=3, start=60, stop=70), 1 - labels[60:], SamplingSpec())
    assert float((other - part).abs().mean()) > 1e-3


# The fit


def dataset() -> Dataset:
    """Two kinds of images: the left or the right half is bright."""
    labels = torch.arange(16) % 2
    images = torch.zeros(16, 1, 8, 8, dtype=torch.uint8)
    images[labels == 0, :, :, :4] = 16
    images[labels == 1, :, :, 4:] = 16
    split = Split(images, labels)
    return Dataset("toy", 17, ("a", "b"), split, split, split)


def run(
    model: MarkovHierarchySpec, *, steps: int, checkpoint: Path | None = None, seconds: float = 1e9
) -> Fitted:
    spec = FitSpec(
        model=model,
        optimiser=OptimiserSpec(learning_rate=3e-3, warmup_images=32),
        budget=BudgetSpec(images_seen=16 * steps, batch_size=16),
        ema_halflife_images=32,
    )
    return fit(
        spec,
        dataset(),
        execution=Execution(threads=1),
        checkpoint=checkpoint,
        checkpoint_seconds=seconds,
    )


@pytest.mark.parametrize("name", VARIANTS)
def test_one_batch_is_overfitted_and_labels_tell_the_halves(name: str) -> None:
    fitted = run(VARIANTS[name], steps=80)
    objective = VARIANTS[name].objective
    losses = [record[f"loss_{objective}"] for record in fitted.history]
    assert losses[-1] < 0.6 * losses[0], losses
    model = restore(VARIANTS[name], Event.of(dataset()), fitted.weights)
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
