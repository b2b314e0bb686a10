"""How fast rows are drawn and measured: solvers against the bare network, and measures against drawing.

python -m benchmarks.sample
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing import get_context

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import execution_on, limit, run
from benchmarks.report import Report, Timing
from benchmarks.timing import interleaved
from benchmarks.train import LEVELS, default_fit, random_dataset
from pipelines.drawing import draw
from workbench import metrics
from workbench.data import to_float
from workbench.execution import Execution, batch_rows
from workbench.models import Classifier, DiffusionModel, Event
from workbench.presets.common import MEASURES, classifier_fit
from workbench.spec import ClassifierSpec, DataSpec, DiffusionSpec, SamplingSpec

SIDE, NFE = 28, 10
SAMPLERS = ("dpmpp_2m", "ddim", "unipc", "heun", "ddpm", "sde_dpmpp_2m")


@dataclass(frozen=True, kw_only=True)
class Arguments(Timing):
    """Time drawing 28 x 28 images in 10 evaluations of the default network, and measuring them."""

    rows: int = 10_000
    """Rows that the measures are timed on."""


def network(execution: Execution) -> DiffusionModel:
    """The default network, untrained: cost depends on shapes alone."""
    spec, data = default_fit().model, random_dataset(SIDE)
    assert isinstance(spec, DiffusionSpec)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = DiffusionModel(spec, Event.of(data))
    execution.place(model)
    return model.requires_grad_(False).eval()


def main() -> int:
    """Run the benchmark; returns its exit status."""

    def measure(arguments: Arguments) -> None:
        execution = execution_on(arguments.threads, gpu=arguments.gpu)
        bound = limit.rates(execution, rounds=arguments.rounds)
        most = limit.convolution_limit(bound, execution.precision, "forward")
        model = network(execution)
        rows = batch_rows(model.event.shape, 10**9)
        spec = SamplingSpec(sampler="dpmpp_2m", time_grid="uniform_log_snr", nfe=NFE, rows=rows)
        calls: dict[str, Callable[[], object]] = {"bare network": _bare(model, execution, rows)}
        evaluations: dict[str, int] = {"bare network": NFE}
        for sampler in SAMPLERS:
            calls[sampler] = _drawing(model, replace(spec, sampler=sampler), execution)
            evaluations[sampler] = model.evaluations(replace(spec, sampler=sampler))
        calls["dpmpp_2m, guided"] = _drawing(model, replace(spec, guidance=2.0), execution)
        evaluations["dpmpp_2m, guided"] = 2 * NFE
        drawers = dict.fromkeys(calls, 1)
        with ProcessPoolExecutor(execution.threads, mp_context=get_context("spawn")) as pool:
            if execution.device.type == "cpu" and execution.threads > 1:
                beside = f"dpmpp_2m, {execution.threads} side by side, a thread each"
                calls[beside] = lambda: list(pool.map(_draw_alone, [spec] * execution.threads))
                evaluations[beside], drawers[beside] = NFE, execution.threads
            seconds = interleaved(calls, rounds=arguments.rounds, device=execution.device)
        flops = _flops(model)
        report = Report(
            name="sample",
            title="How fast rows are drawn and measured",
            how=f"The default network on 28 x 28 images, {rows} rows at a time, cases in turn, medians. The limit is "
            "the rate of a 3x3 convolution, forward, in the precision of the network.",
        )
        for name, taken in seconds.items():
            speed = drawers[name] * rows / taken.median
            report.rows.append(
                {
                    "case": name,
                    "evaluations": evaluations[name],
                    "images/s": speed,
                    "evaluations/s": speed * evaluations[name],
                    "share of limit": speed * evaluations[name] * flops / most,
                }
            )
        drawn = arguments.rows * seconds["dpmpp_2m"].median / rows
        measured = _measuring(arguments.rows)
        report.notes = [
            f"{arguments.rows:,} images in {NFE} evaluations of dpmpp_2m: {drawn:.1f} s to draw.",
            *(f"{arguments.rows:,} images, {name}: {took:.1f} s." for name, took in measured.items()),
        ]
        report.publish(arguments.out)

    return run(Arguments, measure, name="sample")


def _bare(model: DiffusionModel, execution: Execution, rows: int) -> Callable[[], object]:
    """The network alone, as often as a solver calls it."""
    x = torch.randn(rows, *model.event.shape, device=execution.device)
    x = x.contiguous(memory_format=torch.channels_last)
    level = torch.zeros(rows, device=execution.device)
    labels = torch.zeros(rows, dtype=torch.int64, device=execution.device)

    def call() -> None:
        with torch.no_grad(), execution.autocast():
            for _ in range(NFE):
                model.preconditioned.backbone(x, level, labels)

    return call


def _drawing(model: DiffusionModel, spec: SamplingSpec, execution: Execution) -> Callable[[], object]:
    data = random_dataset(SIDE)
    return lambda: draw(model, data, spec, execution, warm=True)


@cache
def _alone() -> tuple[Execution, DiffusionModel]:
    execution = Execution.best(threads=1, gpu=False)
    execution.apply()
    return execution, network(execution)


def _draw_alone(spec: SamplingSpec) -> None:
    """As the stages of a study do: in a process of its own, on one thread."""
    execution, model = _alone()
    draw(model, random_dataset(SIDE), spec, execution, warm=True)


def _flops(model: DiffusionModel) -> float:
    """Floating point operations of one evaluation for one row."""
    row = torch.zeros(1, *model.event.shape, device=next(model.parameters()).device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.preconditioned.backbone(row, row.new_zeros(1), torch.zeros_like(row[:, 0, 0, 0]).long())
    return float(counter.get_total_flops())


def _measuring(rows: int) -> dict[str, float]:
    """Seconds to extract the features of that many images, and to take all measures of them."""
    spec = classifier_fit(DataSpec(name="fashion_mnist"), "standard").model
    assert isinstance(spec, ClassifierSpec)
    event = Event(shape=(1, SIDE, SIDE), classes=10, levels=LEVELS, std=0.7)
    judge = Classifier(spec, event).requires_grad_(False).eval()
    generator = torch.Generator().manual_seed(0)
    images = [
        to_float(torch.randint(0, LEVELS, (rows, 1, SIDE, SIDE), generator=generator), LEVELS) for _ in "ab"
    ]
    began = time.perf_counter()
    labels = torch.arange(rows) % 10
    extractors = ("cnn", "random_conv")
    generated = metrics.describe(images[0], labels, extractors=extractors, classifier=judge)
    features = time.perf_counter() - began
    reference = metrics.describe(images[1], labels, extractors=extractors, classifier=judge)
    train = metrics.Rows(images=images[1], copy_threshold=1.0)
    taken = {"features of both extractors": features}
    for name in MEASURES:
        began = time.perf_counter()
        metrics.measure((name,), extractors, generated, reference, train, 0)
        taken[name] = time.perf_counter() - began
    return taken


if __name__ == "__main__":
    sys.exit(main())
