"""How fast networks train: images a second of the real loop, and the share of the machine's limit that this is.

python -m benchmarks.train
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import execution_on, limit, run
from benchmarks.report import Report, Timing
from workbench import training
from workbench.data import Dataset, Split, to_float
from workbench.execution import Execution
from workbench.models import Event, build
from workbench.presets.common import continuous
from workbench.spec import BudgetSpec, DataSpec, FitSpec, with_fields

STEPS = 20
TRAIN_ROWS, VALIDATION_ROWS, CLASSES, LEVELS = 2_048, 64, 10, 256


@dataclass(frozen=True, kw_only=True)
class Arguments(Timing):
    """Time the training loop on images of random bytes: cost depends on shapes alone."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A fit that is timed; `beside` such fits run at the same time, each in a process of its own."""

    name: str
    spec: FitSpec
    side: int
    execution: Execution
    beside: int = 1


def random_dataset(side: int, channels: int = 1) -> Dataset:
    """Images of random bytes."""
    generator = torch.Generator().manual_seed(0)

    def split(rows: int) -> Split:
        images = torch.randint(0, LEVELS, (rows, channels, side, side), generator=generator)
        return Split(images.to(torch.uint8), torch.arange(rows) % CLASSES)

    names = tuple(map(str, range(CLASSES)))
    return Dataset("random", LEVELS, names, split(TRAIN_ROWS), split(VALIDATION_ROWS), split(VALIDATION_ROWS))


def default_fit(batch: int = 128) -> FitSpec:
    """The fit of the default network on 28 x 28 images, a few steps of it."""
    fit = continuous(DataSpec(name="fashion_mnist"), "standard").source
    assert isinstance(fit, FitSpec)
    return replace(fit, budget=BudgetSpec(images_seen=STEPS * batch, batch_size=batch))


def cases(execution: Execution) -> Iterator[Case]:
    """What is timed: precision, threads, then what the cost grows with."""
    fit, single = default_fit(), replace(execution, threads=1)
    yield Case(name="default", spec=fit, side=28, execution=execution)
    yield Case(name="in float32", spec=fit, side=28, execution=replace(execution, precision=torch.float32))
    if execution.device.type == "cpu" and execution.threads > 1:
        yield Case(name="on one thread", spec=fit, side=28, execution=single)
        count = execution.threads
        yield Case(
            name=f"{count} side by side, a thread each", spec=fit, side=28, execution=single, beside=count
        )
    for batch in (32, 512):
        yield Case(name=f"batch {batch}", spec=default_fit(batch), side=28, execution=execution)
    for width in (16, 64):
        spec = with_fields(fit, {"model.backbone.width": width, "model.backbone.attention": (False, False)})
        yield Case(name=f"width {width}, no attention", spec=spec, side=28, execution=execution)
    for side in (8, 32, 64):
        yield Case(name=f"{side} x {side} pixels", spec=fit, side=side, execution=execution)


def images_per_second(spec: FitSpec, side: int, execution: Execution) -> float:
    """What the loop tells of itself: its clock starts when the network is built."""
    return training.fit(spec, random_dataset(side), execution=execution).cost["images_per_second"]


def flops_per_image(spec: FitSpec, side: int) -> tuple[float, float]:
    """Floating point operations of a training step for one image, and the number of parameters."""
    data = random_dataset(side)
    model = build(spec.model, Event.of(data))
    (objective,) = model.objectives()
    x_0 = to_float(data.train.images[:2], LEVELS)
    with FlopCounterMode(display=False) as counter:
        objective.loss(x_0, data.train.labels[:2], torch.Generator().manual_seed(0)).mean().backward()
    return counter.get_total_flops() / 2, float(sum(p.numel() for p in model.parameters()))


def main() -> int:
    """Run the benchmark; returns its exit status."""

    def measure(arguments: Arguments) -> None:
        execution = execution_on(arguments.threads, gpu=arguments.gpu)
        all_cases = list(cases(execution))
        bound = limit.rates(execution, rounds=arguments.rounds)
        speeds: dict[str, list[float]] = {case.name: [] for case in all_cases}
        processes = max(case.beside for case in all_cases)
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            for number in range(arguments.rounds + 1):
                for case in all_cases:
                    speed = _speed(case, pool)
                    if number:  # the first round chooses algorithms and fills caches
                        speeds[case.name].append(speed)
        report = Report(
            name="train",
            title="How fast networks train",
            how=f"The training loop of this project for {STEPS} steps, cases in turn, medians. The limit is the rate "
            "of a 3x3 convolution, forward and backward, in the precision of the case on all threads.",
        )
        for case in all_cases:
            flops, parameters = flops_per_image(case.spec, case.side)
            speed = statistics.median(speeds[case.name])
            most = limit.convolution_limit(bound, case.execution.precision, "forward and backward")
            report.rows.append(
                {
                    "case": case.name,
                    "parameters": int(parameters),
                    "images/s": speed,
                    "least": min(speeds[case.name]),
                    "most": max(speeds[case.name]),
                    "MFLOP/image": flops / 1e6,
                    "TFLOP/s": speed * flops / 1e12,
                    "share of limit": speed * flops / most,
                }
            )
        report.publish(arguments.out)

    return run(Arguments, measure, name="train")


def _speed(case: Case, pool: ProcessPoolExecutor) -> float:
    if case.beside == 1:
        return images_per_second(case.spec, case.side, case.execution)
    waiting = [
        pool.submit(images_per_second, case.spec, case.side, case.execution) for _ in range(case.beside)
    ]
    return sum(one.result() for one in waiting)


if __name__ == "__main__":
    sys.exit(main())
