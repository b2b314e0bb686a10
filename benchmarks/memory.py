"""What it brings that a process uses freed memory again: the same passes, with it and without, in fresh processes.

python -m benchmarks.memory
"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import run
from benchmarks.report import RESULTS, Report
from benchmarks.timing import interleaved
from benchmarks.train import random_dataset
from workbench import metrics, rng
from workbench.data import to_float
from workbench.execution import BATCH_VALUES, Execution, batch_rows, keep_freed_memory, peak_memory_bytes
from workbench.models import Classifier, DiffusionModel, Event, build
from workbench.nn import BACKBONES
from workbench.presets.common import classifier_fit
from workbench.presets.networks import network
from workbench.registry import UserError
from workbench.spec import DataSpec, FitSpec

SIDE, JUDGED_ROWS, TRAINED_ROWS = 28, 1_000, 32
DATA = DataSpec(name="fashion_mnist")  # whose networks are timed, on random images
PEAK = "peak of the process, MB"
Case = tuple[int, Callable[[], object]]  # rows that a call sees, and the call


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Time passes of the networks of Fashion-MNIST in processes that keep freed memory and in such that do not."""

    threads: int = 1
    """CPU threads of each process."""
    rounds: int = 6
    """Processes of each kind, in turn."""
    out: Path = RESULTS
    """Folder for the table as Markdown and JSON."""


def check(arguments: Arguments) -> None:
    """Raises UserError for less than one thread or round."""
    for field in ("threads", "rounds"):
        if getattr(arguments, field) < 1:
            raise UserError(f"{field}: {getattr(arguments, field)} given; a whole number from 1 is needed")


def cases(execution: Execution) -> dict[str, Case]:
    """The judge in float32; of each backbone of equal parameters an evaluation, and of a transformer a training step,
    forward and backward."""
    dataset = random_dataset(SIDE)
    event, rows = Event.of(dataset), batch_rows((1, SIDE, SIDE), BATCH_VALUES)
    everything = to_float(dataset.train.images[:JUDGED_ROWS], dataset.levels)
    images = everything[:rows].contiguous(memory_format=torch.channels_last)
    labels = dataset.train.labels[:rows]
    judge = execution.place(build(classifier_fit(DATA, "standard").model, event)).eval()
    assert isinstance(judge, Classifier)
    found: dict[str, Case] = {
        "judge, float32": (len(everything), lambda: metrics.extract(everything, judge.features))
    }
    for name in BACKBONES:
        fit = network(DATA, "standard", backbone=name, matching="parameters").source
        assert isinstance(fit, FitSpec)
        model = execution.place(build(fit.model, event)).eval()
        assert isinstance(model, DiffusionModel)
        found[f"{name}, an evaluation"] = rows, _evaluation(model, images, labels, execution)
        if name == "dit":
            few = slice(0, TRAINED_ROWS)
            found[f"{name}, a training step"] = (
                TRAINED_ROWS,
                _step(model, images[few], labels[few], execution),
            )
    return found


def measured(kept: bool, threads: int) -> dict[str, float]:
    """Rows a second of each case in this process, and the most memory that it held."""
    torch.set_num_threads(threads)  # not by Execution.apply, which keeps memory
    if kept and not keep_freed_memory():
        raise UserError("memory: this C library cannot be told to keep it; glibc can")
    calls = cases(Execution.best(threads=threads))
    seconds = interleaved({name: call for name, (_, call) in calls.items()}, rounds=1)
    speeds = {name: rows / seconds[name].median for name, (rows, _) in calls.items()}
    return speeds | {PEAK: peak_memory_bytes(torch.device("cpu")) / 1e6}


def main() -> int:
    """Run the benchmark; returns its exit status."""

    def measure(arguments: Arguments) -> None:
        check(arguments)
        found: dict[bool, list[dict[str, float]]] = {False: [], True: []}
        context = multiprocessing.get_context("spawn")  # what a process was told cannot be taken back
        with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
            for _ in range(arguments.rounds):
                for kind, values in found.items():
                    values.append(pool.submit(measured, kind, arguments.threads).result())
        report = Report(
            name="memory",
            title="Freed memory that is used again",
            how=f"Networks of Fashion-MNIST at `standard`, those of `backbones` at equal parameters; rows a second, "
            f"medians over {arguments.rounds} fresh processes of each kind, in turn; CPU threads: {arguments.threads}.",
        )
        for name in found[True][0]:
            given, kept = (statistics.median(one[name] for one in values) for values in found.values())
            report.rows.append({"case": name, "given back": given, "kept": kept, "ratio": kept / given})
        report.publish(arguments.out)

    return run(Arguments, measure, name="memory")


def _evaluation(
    model: DiffusionModel, images: Tensor, labels: Tensor, execution: Execution
) -> Callable[[], object]:
    t = torch.full((len(images),), 0.3, dtype=torch.float64)

    def call() -> None:
        with torch.no_grad(), execution.autocast():
            model.preconditioned(images, t, labels)

    return call


def _step(
    model: DiffusionModel, images: Tensor, labels: Tensor, execution: Execution
) -> Callable[[], object]:
    def call() -> None:
        with execution.autocast():
            loss = model.loss(images, labels, rng.stream(0, "memory")).mean()
        loss.backward()

    return call


if __name__ == "__main__":
    sys.exit(main())
