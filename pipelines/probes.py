"""What is measured of a model itself rather than of the rows that it drew: its likelihood, its latency."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pipelines import names
from workbench import rng
from workbench.data import Dataset, to_float
from workbench.diffusion.ode_likelihood import ode_log_prob
from workbench.diffusion.schedule import Discrete
from workbench.execution import Execution
from workbench.models import DiffusionModel, GenerativeModel, HasLikelihood
from workbench.registry import look_up
from workbench.spec import SamplingSpec

LIKELIHOOD_ROWS, ODE_ROWS, LIKELIHOOD_BATCH = 256, 64, 64
SINGLES = 3  # images drawn one by one, of whose seconds the median counts

Probe = Callable[[GenerativeModel, Dataset, SamplingSpec, Execution], float | None]


def bits_per_dim(
    model: GenerativeModel, data: Dataset, sampling: SamplingSpec, execution: Execution
) -> float | None:
    """Minus the mean log2-probability of test images, per value; None for a family without a likelihood.

    In float32: bf16 would round the log-densities of hundreds of values.
    """
    if not isinstance(model, HasLikelihood):
        return None
    return _bits(model.log_prob, model, data, LIKELIHOOD_ROWS, execution)


def ode_bits_per_dim(
    model: GenerativeModel, data: Dataset, sampling: SamplingSpec, execution: Execution
) -> float | None:
    """The same by the probability-flow ODE with Hutchinson's estimate of the trace; None for a family without one."""
    if not isinstance(model, DiffusionModel) or isinstance(model.preconditioned.schedule, Discrete):
        return None
    denoiser = model.preconditioned

    def log_prob(x: Tensor, cond: Tensor | None, generator: torch.Generator) -> Tensor:
        return ode_log_prob(denoiser, x, cond, levels=data.levels, generator=generator)

    return _bits(log_prob, model, data, ODE_ROWS, execution)


def _bits(
    log_prob: Callable[[Tensor, Tensor | None, torch.Generator], Tensor],
    model: GenerativeModel,
    data: Dataset,
    rows: int,
    execution: Execution,
) -> float:
    """Minus the mean of log2-probabilities of the first test rows, per value."""
    images, labels = data.test.images[:rows], data.test.labels[:rows]
    total, generator = 0.0, rng.stream(0, "likelihood")
    for batch in torch.split(torch.arange(len(images)), LIKELIHOOD_BATCH):
        x = to_float(images[batch], data.levels).to(execution.device)
        cond = labels[batch].to(execution.device) if model.classes else None
        with torch.no_grad():
            total -= float(log_prob(x, cond, generator).double().sum())
    return total / (len(images) * math.prod(data.shape) * math.log(2))


def single_seconds(
    model: GenerativeModel, data: Dataset, sampling: SamplingSpec, execution: Execution
) -> float:
    """The seconds that one image takes, drawn alone."""
    taken = []
    for row in range(SINGLES + 1):  # the first warms up
        draws = rng.Draws(seed=sampling.seed, start=row, stop=row + 1, device=execution.device)
        cond = torch.tensor([row % model.classes], device=execution.device) if model.classes else None
        began = time.perf_counter()
        with torch.no_grad(), execution.autocast():
            model.sample(draws, cond, replace(sampling, rows=1)).cpu()  # waits for a GPU
        taken.append(time.perf_counter() - began)
    return sorted(taken[1:])[SINGLES // 2]


# By the name of the measure; those of `cost` tell what something takes, the others how good the model is.
PROBES: dict[str, Probe] = {
    "bits_per_dim": bits_per_dim,
    "ode_bits_per_dim": ode_bits_per_dim,
    "single_seconds": single_seconds,
}
COSTS = ("single_seconds",)


def take(
    wanted: Sequence[str],
    model: GenerativeModel,
    data: Dataset,
    sampling: SamplingSpec,
    execution: Execution,
) -> tuple[dict[str, float], dict[str, str]]:
    """The probes of a model, under the names by which they are stored, and tags that explain them."""
    found: dict[str, float] = {}
    for name in wanted:
        value = look_up(PROBES, name, "probes")(model, data, sampling, execution)
        if value is not None:
            found[(names.COST if name in COSTS else names.QUALITY) + name] = value
    if "bits_per_dim" in wanted and isinstance(model, HasLikelihood):
        return found, {names.TAG_LIKELIHOOD: model.likelihood_kind}
    return found, {}
