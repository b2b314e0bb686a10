"""The workbench against its peers: the same images, batch and seconds, each drawn from in ten evaluations.

python -m benchmarks.peers --seconds 480
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import run
from benchmarks.contenders import Contender, Workbench, contenders
from benchmarks.report import RESULTS, Report, Row
from pipelines import servers
from workbench import metrics, training
from workbench.data import Dataset, load, to_float
from workbench.execution import Execution
from workbench.metrics import distances
from workbench.models import Classifier, Event, restore
from workbench.presets import classifier_fit
from workbench.spec import ClassifierSpec, DataSpec

REACHED_IN = 12  # the workbench is also trained for this part of the seconds


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Train everything on Fashion-MNIST for the same time on the same threads, and judge what each draws."""

    seconds: float = 480.0
    """Training time of each."""
    rows: int = 5_000
    """Images drawn from each, and of the test split that they are compared with."""
    nfe: int = 10
    """Network evaluations an image."""
    threads: int = 0
    """CPU threads; 0: as many as there are CPUs."""
    judge_images: int = 150_000
    """Training images of each of the two judging classifiers."""
    out: Path = RESULTS
    """Folder for the table as Markdown and JSON."""


class Judges:
    """Frechet distances in three feature spaces: the classifier of the studies, random features, and a classifier of
    another shape and seed by which nothing in this project was ever chosen."""

    def __init__(self, data: Dataset, rows: int, images: int, execution: Execution) -> None:
        fit = classifier_fit(DataSpec(name="fashion_mnist"), "standard")
        fit = replace(fit, budget=replace(fit.budget, images_seen=images))
        other = ClassifierSpec(width=24, features=96, dropout=0.0, shift_pixels=2)
        self.data = data
        self._classifiers: dict[str, Classifier] = {}
        for name, spec in (("cnn", fit), ("independent cnn", replace(fit, model=other, seed=1_000))):
            weights = training.fit(spec, data, execution=execution).weights
            judge = restore(spec.model, Event.of(data), weights)
            assert isinstance(judge, Classifier)
            self._classifiers[name] = judge
        self._random = metrics.RandomConv(data.shape[0])
        self._real = self._features(data.test.images[:rows])

    def distances(self, images: Tensor) -> dict[str, float]:
        """The distance of drawn images [N, C, H, W] from the test split in each space."""
        drawn = self._features(images)
        return {name: distances.frechet(drawn[name], self._real[name]) for name in drawn}

    def _features(self, images: Tensor) -> dict[str, Tensor]:
        floats = to_float(images, self.data.levels)
        found = {name: metrics.extract(floats, judge.features) for name, judge in self._classifiers.items()}
        return found | {"random_conv": metrics.extract(floats, self._random)}


def best(
    contender: Contender, judges: Judges, arguments: Arguments, execution: Execution
) -> tuple[str, dict[str, float], float]:
    """The sampler of a contender with the least distance in `cnn`, the distances, and its images a second."""
    found = []
    for sampler in contender.samplers:
        began = time.perf_counter()
        images = contender.draw(judges.data, sampler, arguments.rows, arguments.nfe, execution)
        speed = arguments.rows / (time.perf_counter() - began)
        found.append((sampler, judges.distances(images), speed))
    return min(found, key=lambda one: one[1]["cnn"])


def main() -> int:
    """Run the benchmark; returns its exit status."""

    def measure(arguments: Arguments) -> None:
        execution = Execution.best(threads=arguments.threads or torch.get_num_threads())
        data = load(DataSpec(name="fashion_mnist"))
        judges = Judges(data, arguments.rows, arguments.judge_images, execution)
        report = Report(
            name="peers",
            title="The workbench and its peers",
            how=f"Fashion-MNIST, batch 128, {execution.threads} CPU threads, one after the other; {arguments.rows:,} "
            f"images of each in {arguments.nfe} network evaluations by the best of its samplers; Frechet distances "
            "to the test split.",
        )
        floor = judges.distances(data.train.images[: arguments.rows])
        report.rows.append(_row("real training images", "", 0.0, 0, floor, 0.0))
        plan: list[tuple[Contender, float]] = [
            (one, arguments.seconds) for one in contenders(servers.state_directory() / "peers")
        ]
        plan.append((Workbench(), arguments.seconds / REACHED_IN))
        for contender, seconds in plan:
            print(f"training {contender.name} for {seconds:.0f} s", flush=True)
            seen = contender.train(data, seconds, execution)
            sampler, values, speed = best(contender, judges, arguments, execution)
            report.rows.append(_row(contender.name, sampler, seconds, seen, values, speed))
            report.publish(arguments.out)  # each time: an interrupt leaves what was measured

    return run(Arguments, measure, name="peers")


def _row(name: str, sampler: str, seconds: float, seen: int, values: dict[str, float], speed: float) -> Row:
    named = {f"frechet[{space}]": value for space, value in values.items()}
    return {
        "network": name,
        "sampler": sampler,
        "training seconds": seconds,
        "images seen": seen,
        **named,
        "images/s drawn": speed,
    }


if __name__ == "__main__":
    sys.exit(main())
