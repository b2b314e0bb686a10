"""Every sampler on a Gaussian, whose probability flow and marginals are known in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from workbench.diffusion.denoiser import Counting
from workbench.diffusion.oracle import GaussianOracle, mixture_from
from workbench.diffusion.schedule import LinearVP, Schedule, Straight, schedule_from
from workbench.registry import UserError
from workbench.rng import stream
from workbench.sampling import SAMPLERS, TIME_GRIDS, BrownianPath, sample, sampler_from, time_grid
from workbench.spec import OracleSpec, SamplingSpec, ScheduleSpec

MEAN, STD = 0.3, 0.5
DETERMINISTIC = [name for name in SAMPLERS if not sampler_from(SamplingSpec(sampler=name)).stochastic]
STOCHASTIC = [name for name in SAMPLERS if name not in DETERMINISTIC]
DOUBLE = torch.float64


def gaussian(schedule: Schedule, size: int = 1) -> GaussianOracle:
    return GaussianOracle(
        torch.full((size,), MEAN, dtype=DOUBLE), torch.full((size,), STD, dtype=DOUBLE), schedule
    )


def exact_flow(schedule: Schedule, x_1: Tensor, end: float) -> Tensor:
    """The probability flow of a Gaussian keeps the standardised value."""
    (a_1, a_end), (s_1, s_end) = schedule(torch.tensor([1.0, end], dtype=DOUBLE))
    spread = [(a**2 * STD**2 + s**2).sqrt() for a, s in ((a_1, s_1), (a_end, s_end))]
    return a_end * MEAN + spread[1] / spread[0] * (x_1 - a_1 * MEAN)


def draw(name: str, schedule: Schedule, x_1: Tensor, grid: Tensor) -> Tensor:
    path = BrownianPath(0, start=0, stop=len(x_1), shape=tuple(x_1.shape[1:]), dtype=x_1.dtype)
    return sample(
        gaussian(schedule, x_1.shape[1]), sampler_from(SamplingSpec(sampler=name)), x_1, grid, noise=path
    )


def started_softly(schedule: Schedule, end: float, steps: int) -> Tensor:
    """Equal steps h of the log-SNR after two short ones, h^2 and h^1.5.

    A multistep rule begins with steps of lower order; made that short, they do not hide the order of the rule.
    """
    first, last = schedule.log_snr(torch.tensor([1.0, end], dtype=DOUBLE)).tolist()
    h = (last - first) / steps
    begin = [first, first + h**2, first + h**2 + h**1.5]
    return schedule.inverse(
        torch.tensor(
            [*begin[:2], *torch.linspace(begin[2], last, steps - 1, dtype=DOUBLE).tolist()], dtype=DOUBLE
        )
    )


@pytest.mark.parametrize("schedule", [LinearVP(), Straight()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_order_of_convergence_is_the_declared_one(name: str, schedule: Schedule) -> None:
    x_1 = torch.tensor([[-1.0], [0.5], [2.0]], dtype=DOUBLE)
    end, steps, errors = 0.05, (128, 256, 512), []
    for count in steps:
        grid = started_softly(schedule, end, count)
        errors.append(float((draw(name, schedule, x_1, grid) - exact_flow(schedule, x_1, end)).abs().max()))
    fitted = math.log2(errors[0] / errors[-1]) / math.log2(steps[-1] / steps[0])
    declared = sampler_from(SamplingSpec(sampler=name)).order
    assert declared - 0.25 <= fitted <= declared + 0.6, errors


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_the_map_is_affine_and_gives_the_law(name: str) -> None:
    """Pushing 0, 1 and 2 through a map that is affine tells all about it: the output law is exactly Gaussian."""
    out = draw(
        name,
        LinearVP(),
        torch.tensor([[0.0], [1.0], [2.0]], dtype=DOUBLE),
        time_grid("edm_rho", LinearVP(), 64),
    )
    slope, mean = float(out[1] - out[0]), float(out[0])
    assert float(out[2] - out[1]) == pytest.approx(slope, abs=1e-12)
    assert slope == pytest.approx(STD, abs=0.03)
    assert mean == pytest.approx(MEAN, abs=0.03)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("grid", TIME_GRIDS)
@pytest.mark.parametrize(
    "schedule", [LinearVP(), Straight(), schedule_from(ScheduleSpec(timesteps=10))], ids=str
)
def test_every_sampler_ends_at_data_on_every_grid(name: str, grid: str, schedule: Schedule) -> None:
    for steps in (1, 2, 5):
        times = time_grid(grid, schedule, steps)
        assert times[0] == 1
        assert times[-1] == 0
        assert (times.diff() < 0).all()
        assert (
            draw(name, schedule, torch.randn(8, 1, generator=stream(0, "x"), dtype=DOUBLE), times)
            .isfinite()
            .all()
        )


@pytest.mark.parametrize("name", SAMPLERS)
def test_evaluations_are_as_declared(name: str) -> None:
    sampler = sampler_from(SamplingSpec(sampler=name))
    for nfe in (1, 2, 7, 10):
        steps = sampler.steps_for(nfe)
        assert sampler.nfe(steps) <= nfe < sampler.nfe(steps + 1)
        counting = Counting(gaussian(LinearVP()))
        path = BrownianPath(0, start=0, stop=3, shape=(1,), dtype=DOUBLE)
        sample(
            counting,
            sampler,
            torch.zeros(3, 1, dtype=DOUBLE),
            time_grid("edm_rho", LinearVP(), steps),
            noise=path,
        )
        assert counting.rows == 3 * sampler.nfe(steps)
    with pytest.raises(UserError, match="nfe: 0"):
        sampler.steps_for(0)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_stochastic_samplers_reach_the_law(name: str) -> None:
    """Mean and deviation over 8,192 values, against four standard errors and the error of discretisation."""
    x_1 = torch.randn(512, 16, generator=stream(3, "x_1"), dtype=DOUBLE)
    out = draw(name, LinearVP(), x_1, time_grid("uniform_log_snr", LinearVP(), 200))
    assert float(out.mean()) == pytest.approx(MEAN, abs=4 * STD / out.numel() ** 0.5 + 0.005)
    assert float(out.std()) == pytest.approx(STD, abs=4 * STD / (2 * out.numel()) ** 0.5 + 0.01)


@pytest.mark.parametrize("variance", ["small", "large"])
def test_ancestral_step_has_the_posterior_variance(variance: str) -> None:
    """For data at one point the small variance is exact at any step; for standard normal data the large one."""
    schedule, known = LinearVP(), variance == "small"
    oracle = GaussianOracle(
        torch.zeros(1, dtype=DOUBLE), torch.full((1,), 0.0 if known else 1.0, dtype=DOUBLE), schedule
    )
    sampler = sampler_from(SamplingSpec(sampler="ddpm", variance=variance))  # type: ignore[arg-type]
    start = torch.randn(40_000, 1, generator=stream(0, "start"), dtype=DOUBLE)
    grid = torch.tensor([1.0, 0.5, 0.2], dtype=DOUBLE)
    path = BrownianPath(1, start=0, stop=40_000, shape=(1,), dtype=DOUBLE)
    alpha, sigma = (c.tolist() for c in schedule(grid))
    x_1 = start * (sigma[0] if known else 1.0)
    out = sample(oracle, sampler, x_1, grid, noise=path)
    expected = sigma[2] if known else 1.0
    # With standard normal data the mean of the step is exact and its variance, beta, is the whole remaining one.
    assert float(out.std()) == pytest.approx(expected, rel=0.02)
    assert alpha[0] < 0.01


def test_ddim_with_full_noise_is_ddpm() -> None:
    oracle, grid = gaussian(LinearVP()), time_grid("uniform_t", LinearVP(), 20)
    x_1 = torch.randn(16, 1, generator=stream(0, "x_1"), dtype=DOUBLE)
    outs = [
        sample(
            oracle,
            sampler_from(spec),
            x_1,
            grid,
            noise=BrownianPath(5, start=0, stop=16, shape=(1,), dtype=DOUBLE),
        )
        for spec in (SamplingSpec(sampler="ddpm"), SamplingSpec(sampler="ddim", eta=1.0))
    ]
    torch.testing.assert_close(outs[0], outs[1])


def test_euler_is_ddim_without_noise() -> None:
    x_1, grid = torch.tensor([[-1.0], [2.0]], dtype=DOUBLE), time_grid("edm_rho", LinearVP(), 9)
    torch.testing.assert_close(draw("euler", LinearVP(), x_1, grid), draw("ddim", LinearVP(), x_1, grid))


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_row_does_not_depend_on_others(name: str) -> None:
    oracle = mixture_from(OracleSpec(dimensions=4))
    grid, sampler = time_grid("edm_rho", oracle.schedule, 6), sampler_from(SamplingSpec(sampler=name))
    x_1 = torch.randn(70, 4, generator=stream(0, "x_1"), dtype=DOUBLE)

    def run(start: int, stop: int) -> Tensor:
        path = BrownianPath(2, start=start, stop=stop, shape=(4,), dtype=DOUBLE)
        return sample(oracle, sampler, x_1[start:stop], grid, noise=path)

    torch.testing.assert_close(torch.cat([run(0, 10), run(10, 70)]), run(0, 70))


def test_a_stochastic_sampler_without_noise_is_refused() -> None:
    with pytest.raises(ValueError, match="source of noise"):
        sample(
            gaussian(LinearVP()),
            sampler_from(SamplingSpec(sampler="ddpm")),
            torch.zeros(1, 1, dtype=DOUBLE),
            time_grid("uniform_t", LinearVP(), 2),
        )
