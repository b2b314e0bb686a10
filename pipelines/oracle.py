"""The stage that draws from an exact denoiser: what is left between its rows and the law is the sampler's own error."""

from __future__ import annotations

import functools
import time

import numpy as np
import torch
from torch import Tensor

from pipelines import names, shared
from pipelines.work import Product, Work
from workbench import rng
from workbench.diffusion.denoiser import Counting
from workbench.diffusion.oracle import mixture_from
from workbench.metrics.transport import endpoint_error, sliced_wasserstein
from workbench.sampling import BrownianPath, Sampler, sample, sampler_from, time_grid
from workbench.spec import OracleSpec, SamplingSpec, TrialSpec

# The endpoint that a sampler should reach from its noise is computed by a solver of higher order with so many steps.
EXACT_STEPS = 1_000
EXACT_GRID = "uniform_log_snr"
DTYPE = torch.float64  # rounding must not hide the error of 1,000 steps


def trial(work: Work) -> Product:
    """Draw rows with an exact denoiser and measure how far they are from where they should be."""
    shared.execution(work)
    spec: TrialSpec = work.stage.spec
    assert isinstance(spec.source, OracleSpec)
    sampling = spec.sampling
    counting = Counting(mixture_from(spec.source))
    sampler = sampler_from(sampling)
    steps = sampler.steps_for(sampling.nfe)
    began = time.perf_counter()
    rows = draw(spec.source, sampling.seed, sampling.rows, sampler, sampling.time_grid, steps, counting)
    seconds = time.perf_counter() - began
    exact = endpoints(spec.source, sampling.seed, sampling.rows, follows_noise(sampling))
    real = [exact_rows(spec.source, sampling.rows, index) for index in (0, 1)]
    values = {
        "quality/endpoint_error": endpoint_error(rows, exact),
        "quality/sliced_wasserstein": sliced_wasserstein(rows, real[0], generator=rng.stream(0, "lines")),
        "floor/sliced_wasserstein": sliced_wasserstein(real[1], real[0], generator=rng.stream(0, "lines")),
        "cost/sample_seconds": seconds,
        "cost/images_per_second": sampling.rows / seconds,
        "cost/nfe_counted": counting.rows / sampling.rows,
        "cost/threads": float(torch.get_num_threads()),
        "cost/concurrency": float(work.setting.concurrency),
    }
    wanted = set(spec.measures.names)
    np.savez_compressed(work.folder / "rows.npz", rows=rows.numpy())
    return Product(
        metrics={
            name: value
            for name, value in values.items()
            if name.startswith(names.COST) or name.partition("/")[2] in wanted
        }
    )


def follows_noise(spec: SamplingSpec) -> bool:
    """Whether the endpoint depends on the Brownian path: that of a deterministic sampler on its start alone."""
    return sampler_from(spec).stochastic


def draw(
    spec: OracleSpec, seed: int, rows: int, sampler: Sampler, grid_name: str, steps: int, denoiser: Counting
) -> Tensor:
    """Rows [N, D] along a grid, from the noise and on the Brownian path that the seed addresses."""
    shape = (spec.dimensions,)
    grid = time_grid(grid_name, denoiser.schedule, steps)
    _, sigma = denoiser.schedule(grid[:1])
    x_1 = sigma * rng.normal_rows(seed, "initial", start=0, stop=rows, shape=shape, dtype=DTYPE)
    path = BrownianPath(seed, start=0, stop=rows, shape=shape, dtype=DTYPE)
    return sample(denoiser, sampler, x_1, grid, noise=path)


@functools.lru_cache(maxsize=8)
def endpoints(spec: OracleSpec, seed: int, rows: int, noisy: bool) -> Tensor:
    """Where exact solvers end, [N, D]: of the probability-flow equation, or of the stochastic one on that path."""
    solver = sampler_from(SamplingSpec(sampler="sde_dpmpp_2m" if noisy else "dpmpp_3m"))
    return draw(spec, seed, rows, solver, EXACT_GRID, EXACT_STEPS, Counting(mixture_from(spec)))


@functools.lru_cache(maxsize=8)
def exact_rows(spec: OracleSpec, rows: int, index: int) -> Tensor:
    """Rows [N, D] of the law itself, another sample for each index."""
    return mixture_from(spec).draw(rows, rng.stream(spec.seed, "exact rows", index))
