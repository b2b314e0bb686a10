"""Likelihoods where they are known: the Gaussian oracle, whose density is exact at every level of noise."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from known_laws import (
    DOUBLE,
    LEVELS,
    MEAN,
    STD,
    blurred,
    every_schedule,
    exact,
    gaussian,
    little_noise,
    near,
    on_levels,
    points,
)
from torch import Tensor
from torch.distributions import Normal

from workbench.diffusion.conversions import PARAMETRISATIONS
from workbench.diffusion.denoiser import Denoiser
from workbench.diffusion.likelihood import (
    cell_term,
    continuous_bound,
    discrete_bound,
    log_snr_range,
    prior_term,
    strata,
)
from workbench.diffusion.objectives import least_variance, step_bound
from workbench.diffusion.oracle import GaussianOracle
from workbench.diffusion.schedule import Discrete, LinearVP, Schedule, Straight, schedule_from
from workbench.levels import rounding_log_prob, spacing
from workbench.models import DiffusionModel, Event, HasLikelihood, build
from workbench.nn import Backbone
from workbench.nn.layers import zeroed
from workbench.rng import stream
from workbench.shapes import over_rows
from workbench.spec import BackboneSpec, DiffusionSpec, ScheduleSpec


def discrete(timesteps: int) -> Discrete:
    schedule = schedule_from(ScheduleSpec(timesteps=timesteps))
    assert isinstance(schedule, Discrete)
    return schedule


@every_schedule
def test_continuous_bound_is_tight_where_the_denoiser_knows_the_images(schedule: Schedule) -> None:
    """The exact denoiser of a law of images: the bound is their probability."""
    oracle = points(schedule)
    for mean, weight in zip(oracle.means, oracle.weights, strict=True):
        x_0 = mean.expand(5000, 3)
        bound = continuous_bound(
            oracle, x_0, None, levels=9, draws=32, generator=stream(0, "bound"), log_snr=little_noise(9)
        )
        near(bound.log_prob, weight.log().expand(5000), tolerance=0.01)


@every_schedule
def test_continuous_bound_is_below_a_smooth_density_by_what_is_known(schedule: Schedule) -> None:
    x_0 = on_levels(4000)
    bound = continuous_bound(
        gaussian(schedule), x_0, None, levels=LEVELS, draws=64, generator=stream(0, "bound")
    )
    _, highest = log_snr_range(schedule, LEVELS)
    near(bound.log_prob, blurred(x_0, math.exp(-0.5 * highest)) - bound.reconstruction.mean(), tolerance=0.01)
    assert float(bound.log_prob.mean()) < float(exact(x_0).mean())


@pytest.mark.parametrize("move", [0.1, -0.2])
def test_a_wrong_denoiser_costs_what_its_error_weighs(move: float) -> None:
    """With D moved by a constant times sigma / alpha, the integrand grows by move^2 d / 2 at each level of noise."""

    class Moved(GaussianOracle):
        def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
            alpha, sigma = (over_rows(c, x_t) for c in self.schedule(t))
            return super().forward(x_t, t) + move * sigma / alpha

    x_0, lost = on_levels(4000), []
    for oracle in (gaussian(LinearVP()), Moved(MEAN, STD, LinearVP())):
        bound = continuous_bound(oracle, x_0, None, levels=LEVELS, draws=16, generator=stream(0, "bound"))
        lost.append(bound.log_prob)
    lowest, highest = log_snr_range(LinearVP(), LEVELS)
    near(lost[0] - lost[1], torch.full((4000,), 0.5 * move**2 * 3 * (highest - lowest), dtype=DOUBLE))


def test_discrete_bound_rises_to_the_exact_value_with_the_timesteps() -> None:
    """Below it by what few steps lose."""
    gaps = []
    for steps in (10, 40, 160, 640):
        oracle = points(discrete(steps))
        x_0 = oracle.means[1].expand(4000, 3)
        bound = discrete_bound(
            oracle, x_0, None, levels=9, draws=32, variance="small", generator=stream(0, "bound")
        )
        gaps.append(float(oracle.weights[1].log() - bound.log_prob.mean()))
    assert gaps[0] > gaps[1] > gaps[2] > gaps[3] > -0.03, gaps
    assert gaps[3] < 0.05 < gaps[0], gaps


@pytest.mark.parametrize("variance", ["small", "large"])
def test_drawn_timesteps_sum_to_all_of_them(variance: str) -> None:
    steps, schedule = 10, discrete(10)
    oracle, x_0 = gaussian(schedule), on_levels(1).expand(20_000, 3)
    fraction, generator = torch.full_like(x_0, float(variance == "large")), stream(0, "all")
    every = torch.zeros(len(x_0), dtype=DOUBLE)
    for step in range(2, steps + 1):
        t = torch.full((len(x_0),), step / steps, dtype=DOUBLE)
        alpha, sigma = (over_rows(c, x_0) for c in schedule(t))
        x_t = alpha * x_0 + sigma * torch.randn(x_0.shape, generator=generator, dtype=DOUBLE)
        every += 3 * step_bound(oracle(x_t, t), fraction, x_0, x_t, t, schedule)
    bound = discrete_bound(
        oracle,
        x_0,
        None,
        levels=LEVELS,
        draws=4,
        variance="large" if variance == "large" else "small",
        generator=stream(0, "some"),
    )
    near(bound.diffusion, every)


def test_strata_hold_one_quantile_each() -> None:
    quantiles = strata(8, 5, stream(0, "t"))
    assert torch.equal((quantiles * 8).floor(), torch.arange(8, dtype=DOUBLE)[:, None].expand(8, 5))
    assert len(((quantiles * 40).floor() % 5).unique()) == 5  # rows fill the cells between them


@every_schedule
def test_prior_term_is_the_divergence_of_two_gaussians(schedule: Schedule) -> None:
    alpha, sigma = schedule(torch.ones((), dtype=DOUBLE))
    x_0 = on_levels(5)
    divergence = torch.distributions.kl_divergence(
        Normal(alpha * x_0, sigma), Normal(torch.zeros_like(x_0), sigma)
    )
    torch.testing.assert_close(prior_term(schedule, x_0), divergence.sum(1))


@pytest.mark.parametrize("deviation", [0.01, 0.4, 5.0])
def test_cells_share_all_probability(deviation: float) -> None:
    """For means inside, at the edge and far outside; and each cell holds what the normal law gives it."""
    levels = torch.linspace(-1, 1, 9, dtype=DOUBLE)[:, None]
    for mean in (-3.0, -1.0, 0.1, 1.0, 2.0):
        terms = cell_term(levels, torch.full_like(levels, mean), torch.full_like(levels, deviation), 9)
        assert bool(torch.isfinite(terms).all())
        torch.testing.assert_close((-terms).exp().sum(), torch.ones((), dtype=DOUBLE))
    law = Normal(torch.tensor(0.1, dtype=DOUBLE), torch.tensor(0.4, dtype=DOUBLE))
    inner = cell_term(levels, torch.full_like(levels, 0.1), torch.full_like(levels, 0.4), 9)[1:-1]
    expected = -(law.cdf(levels[1:-1, 0] + 0.125) - law.cdf(levels[1:-1, 0] - 0.125)).log()
    torch.testing.assert_close(inner, expected)


def test_levels_are_told_apart_by_bayes() -> None:
    levels = torch.linspace(-1, 1, 9, dtype=DOUBLE)
    y = torch.full((9, 1), 0.31, dtype=DOUBLE)
    expected = -Normal(levels, 0.2).log_prob(y[0]).log_softmax(0)
    torch.testing.assert_close(-rounding_log_prob(levels[:, None], y, 0.2, 9), expected)


def test_uniform_images_cost_the_logarithm_of_the_levels() -> None:
    """Where noise drowns all levels, every image is as likely as any other: log2(levels) bits a value."""
    x_0 = on_levels(5)
    term = -rounding_log_prob(x_0, x_0, 1e6, LEVELS)
    torch.testing.assert_close(term, torch.full((5,), 3 * math.log(LEVELS), dtype=DOUBLE))


@pytest.mark.parametrize(
    "spec",
    [
        DiffusionSpec(),
        DiffusionSpec(schedule=ScheduleSpec(name="straight"), prediction="flow"),
        DiffusionSpec(schedule=ScheduleSpec(timesteps=50), prediction="noise"),
        DiffusionSpec(schedule=ScheduleSpec(timesteps=50), prediction="noise", variance="large"),
        DiffusionSpec(schedule=ScheduleSpec(timesteps=50), prediction="noise", variance="learned"),
        DiffusionSpec(schedule=ScheduleSpec(timesteps=1), prediction="noise"),
    ],
    ids=["continuous", "flow", "small", "large", "learned", "one_step"],
)
def test_every_diffusion_model_tells_its_bound(spec: DiffusionSpec) -> None:
    """Where the network says zero the bound is that of the denoiser which its prediction makes of zero."""
    backbone = BackboneSpec(width=32, multipliers=(1,), attention=(False,), patch=2)
    model = build(
        replace(spec, backbone=backbone), Event(shape=(1, 4, 4), classes=2, levels=17, std=0.5)
    ).eval()
    assert isinstance(model, DiffusionModel) and isinstance(model, HasLikelihood)
    assert model.likelihood_kind == "bound"
    network = model.preconditioned.backbone
    assert isinstance(network, Backbone)
    zeroed(network.last)
    schedule, parametrisation = model.preconditioned.schedule, PARAMETRISATIONS[spec.prediction]

    class Silent(Denoiser):
        def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
            alpha, sigma = (over_rows(c, x_t).to(x_t.dtype) for c in self.schedule(t))
            return parametrisation.denoised(torch.zeros_like(x_t), x_t, alpha, sigma, 0.5)

        def moments(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
            return self(x_t, t), torch.full_like(x_t, 0.5)

    silent, x_0 = Silent(), torch.full((64, 1, 4, 4), 0.125)
    silent.schedule = schedule
    draw = stream(0, "bound")
    if isinstance(schedule, Discrete):
        bound = discrete_bound(silent, x_0, None, levels=17, draws=32, variance=spec.variance, generator=draw)
    else:
        bound = continuous_bound(silent, x_0, None, levels=17, draws=32, generator=draw)
    log_prob = model.log_prob(x_0, torch.arange(64) % 2, stream(0, "bound"))
    torch.testing.assert_close(log_prob, bound.log_prob, rtol=1e-4, atol=1e-3)
    assert float(log_prob.mean()) < 0


def test_flow_on_the_straight_path_is_flow_matching() -> None:
    """Its target is dx/dt of the path, noise - x_0 (Lipman et al., 2023), up to the compression of time."""
    x_0, noise, schedule = on_levels(4), on_levels(8)[4:], Straight()
    t = torch.tensor(0.3, dtype=DOUBLE)
    alpha, sigma = schedule(t)
    target = PARAMETRISATIONS["flow"].target(x_0, noise, alpha, sigma, 1.0)
    torch.testing.assert_close(target, noise - x_0)

    def path(t: Tensor) -> Tensor:
        alpha, sigma = schedule(t)
        return alpha * x_0 + sigma * noise

    speed = (path(t + 1e-4) - path(t - 1e-4)) / 2e-4 / schedule.length
    torch.testing.assert_close(target, speed, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(alpha + sigma, torch.ones((), dtype=DOUBLE))


def test_decoder_of_the_first_timestep_has_the_stated_variance() -> None:
    """With one level of the oracle known exactly: x_0 is a point, so the decoder's mean is x_0 itself."""
    schedule = discrete(20)
    oracle = GaussianOracle(torch.zeros(3, dtype=DOUBLE), torch.zeros(3, dtype=DOUBLE), schedule)
    x_0 = torch.zeros(2, 3, dtype=DOUBLE)
    bound = discrete_bound(
        oracle, x_0, None, levels=LEVELS, draws=2, variance="small", generator=stream(0, "bound")
    )
    half = torch.tensor(0.5 * spacing(LEVELS) / least_variance(schedule) ** 0.5, dtype=DOUBLE)
    inside = torch.special.ndtr(half) - torch.special.ndtr(-half)
    torch.testing.assert_close(bound.reconstruction, (-3 * inside.log()).expand(2))
    torch.testing.assert_close(bound.diffusion, torch.zeros(2, dtype=DOUBLE))
