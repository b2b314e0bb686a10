"""What tells Markovian hierarchies apart: schedule, dimension, networks a stage, each what it claims to be."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small_hierarchies import EVENT, SPEC, VARIANTS, images_of, model_of
from torch import Tensor

from workbench.diffusion.learned_schedule import LearnedSchedule
from workbench.diffusion.schedule import Discrete, schedule_from
from workbench.models import Watch
from workbench.models.stages import Subspace
from workbench.rng import Draws, stream
from workbench.sampling import Node
from workbench.spec import (
    SamplingSpec,
    ScheduleSpec,
    with_fields,
)


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


def test_a_quarter_of_the_dimensions_are_the_means_of_cells_to_single_precision() -> None:
    images = images_of(EVENT, 3)
    means = torch.nn.functional.avg_pool2d(images, 2)
    expected = torch.nn.functional.interpolate(means, scale_factor=2)
    torch.testing.assert_close(Subspace(0.25, (8, 8))(images), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
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
