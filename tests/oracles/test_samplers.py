"""Every sampler on exact denoisers: order, cost, end, rows, units, rounding. Its law is the matter of `test_laws`."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from workbench.diffusion.denoiser import Counting
from workbench.diffusion.oracle import GaussianOracle, MixtureOracle, mixture_from
from workbench.diffusion.schedule import Cosine, LinearVP, Schedule, Straight, schedule_from
from workbench.registry import UserError
from workbench.rng import stream
from workbench.sampling import SAMPLERS, TIME_GRIDS, BrownianPath, sample, sampler_from, time_grid
from workbench.spec import OracleSpec, SamplingSpec, ScheduleSpec

MEAN, STD = 0.3, 0.5
DETERMINISTIC = [name for name in SAMPLERS if not sampler_from(SamplingSpec(sampler=name)).stochastic]
DOUBLE = torch.float64


def gaussian(schedule: Schedule, size: int = 1) -> GaussianOracle:
    return GaussianOracle(
        torch.full((size,), MEAN, dtype=DOUBLE), torch.full((size,), STD, dtype=DOUBLE), schedule
    )


def draw(name: str, schedule: Schedule, x_1: Tensor, grid: Tensor) -> Tensor:
    path = BrownianPath(0, start=0, stop=len(x_1), shape=tuple(x_1.shape[1:]), dtype=x_1.dtype)
    return sample(
        gaussian(schedule, x_1.shape[1]), sampler_from(SamplingSpec(sampler=name)), x_1, grid, noise=path
    )


def equal_steps(schedule: Schedule, end: float, steps: int) -> Tensor:
    """Equal steps of the log-SNR from t = 1 to `end`."""
    first, last = schedule.log_snr(torch.tensor([1.0, end], dtype=DOUBLE)).tolist()
    grid = schedule.inverse(torch.linspace(first, last, steps + 1, dtype=DOUBLE))
    grid[0] = 1.0
    return grid


@pytest.mark.parametrize("schedule", [LinearVP(), Cosine(), Straight()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_rows_follow_the_exact_flow_in_the_declared_order(name: str, schedule: Schedule) -> None:
    x_1, end = torch.tensor([[-1.0], [0.5], [2.0]], dtype=DOUBLE), torch.tensor(0.05, dtype=DOUBLE)
    flow = gaussian(schedule).flow(x_1, torch.tensor(1.0, dtype=DOUBLE), end)
    steps = (128, 256, 512)
    errors = [
        float((draw(name, schedule, x_1, equal_steps(schedule, 0.05, count)) - flow).norm())
        for count in steps
    ]
    fitted = math.log(errors[0] / errors[-1]) / math.log(steps[-1] / steps[0])
    declared = sampler_from(SamplingSpec(sampler=name)).order
    assert declared - 0.25 <= fitted <= declared + 0.5, errors


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_a_denoiser_that_is_not_linear_keeps_the_order(name: str) -> None:
    """On a mixture: each doubling of the steps moves the rows 2^order times less than the one before."""
    means = torch.tensor([[-1.0, 0.4], [0.8, 0.9], [0.3, -1.0]], dtype=DOUBLE)
    oracle = MixtureOracle(torch.tensor([0.2, 0.3, 0.5], dtype=DOUBLE), means, 0.4, LinearVP())
    x_1, sampler = (
        torch.randn(16, 2, generator=stream(0, "x_1"), dtype=DOUBLE),
        sampler_from(SamplingSpec(sampler=name)),
    )
    rows = [
        sample(oracle, sampler, x_1, equal_steps(oracle.schedule, 0.05, count)) for count in (64, 128, 256)
    ]
    fitted = math.log2(float((rows[0] - rows[1]).norm() / (rows[1] - rows[2]).norm()))
    assert sampler.order - 0.25 <= fitted <= sampler.order + 0.5


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


def test_settings_that_no_sampler_has_are_told() -> None:
    wrong = {
        "variance: unknown name 'smal'. Did you mean 'small'": SamplingSpec(sampler="ddpm", variance="smal"),
        "eta: -1 given": SamplingSpec(sampler="ddim", eta=-1.0),
        "eta: 1.5 given": SamplingSpec(sampler="ddim", eta=1.5),
    }
    for words, spec in wrong.items():
        with pytest.raises(UserError, match=words):
            sampler_from(spec)
    for steps in (0, 11):
        with pytest.raises(UserError, match=f"steps: {steps} given"):
            time_grid("uniform_t", schedule_from(ScheduleSpec(timesteps=10)), steps)


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


class Rescaled(Schedule):
    """The same noise in other units: x_t multiplied by exp(2 t)."""

    def __init__(self, inner: Schedule) -> None:
        self.inner = inner

    def log_alpha(self, t: Tensor) -> Tensor:
        return self.inner.log_alpha(t) + 2 * t

    def sigma(self, t: Tensor) -> Tensor:
        return self.inner.sigma(t) * (2 * t).exp()

    def inverse(self, log_snr: Tensor) -> Tensor:
        return self.inner.inverse(log_snr)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_units_of_the_noisy_rows_do_not_matter(name: str) -> None:
    x_1, grid = torch.tensor([[-1.0], [2.0]], dtype=DOUBLE), time_grid("edm_rho", LinearVP(), 7)
    plain, twin = draw(name, LinearVP(), x_1, grid), draw(name, Rescaled(LinearVP()), math.exp(2) * x_1, grid)
    torch.testing.assert_close(twin, plain, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("schedule", [LinearVP(), Cosine(), Straight()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("grid", TIME_GRIDS)
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_single_precision_is_enough(name: str, grid: str, schedule: Schedule) -> None:
    """Where alpha is small the clean coordinates x / alpha are large; no sampler may lose its digits there."""
    x_1, times = torch.randn(64, 4, generator=stream(0, "x_1")), time_grid(grid, schedule, 20)
    single, double = (draw(name, schedule, x, times) for x in (x_1, x_1.double()))
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), double, rtol=0, atol=1e-5)


def test_a_grid_that_does_not_fall_is_refused() -> None:
    grid = torch.tensor([1.0, 0.5, 0.5, 0.0], dtype=DOUBLE)
    with pytest.raises(ValueError, match="below"):
        draw("ddim", LinearVP(), torch.zeros(1, 1, dtype=DOUBLE), grid)


def test_ddim_is_stochastic_when_it_draws_noise() -> None:
    assert not sampler_from(SamplingSpec(sampler="ddim")).stochastic
    assert sampler_from(SamplingSpec(sampler="ddim", eta=0.5)).stochastic


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
