"""What reduced precision costs in quality: the same fits in bf16 and in float32, beside what another seed does.

python -m benchmarks.precision --data digits
"""

from __future__ import annotations

import statistics
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks import execution_on, run
from benchmarks.judges import Judges
from benchmarks.report import RESULTS, Report
from pipelines.drawing import draw
from workbench import training
from workbench.data import Dataset, load
from workbench.execution import Execution
from workbench.models import DiffusionModel, Event, restore
from workbench.presets.common import SOLVER, continuous
from workbench.registry import UserError
from workbench.spec import DataSpec, FitSpec, Scale, with_seed

PRECISIONS = {"bf16": torch.bfloat16, "float32": torch.float32}


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Train the default network in both precisions at several seeds, and measure what each draws."""

    data: str = "fashion_mnist"
    """The data set."""
    images: int = 0
    """Training images of each fit; 0: those of the preset."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Training seeds."""
    rows: int = 2_000
    """Images drawn from each, and of the test split that they are compared with, where it has so many."""
    threads: int = 0
    """CPU threads; 0: as many as there are CPUs."""
    out: Path = RESULTS
    """Folder for the table as Markdown and JSON."""


def fitted(fit: FitSpec, data: Dataset, judges: Judges, execution: Execution, rows: int) -> dict[str, float]:
    """The validation loss of a fit, and the distances of what it draws."""
    found = training.fit(fit, data, execution=execution)
    model = restore(fit.model, Event.of(data), found.weights)
    assert isinstance(model, DiffusionModel)
    images = draw(execution.place(model), data, replace(SOLVER, rows=rows), execution, warm=True).images
    distances = {f"frechet[{name}]": value for name, value in judges.distances(images).items()}
    return {"validation loss": found.history[-1]["validation_loss_denoising"], **distances}


def main() -> int:
    """Run the benchmark; returns its exit status."""

    def measure(arguments: Arguments) -> None:
        if len(set(arguments.seeds)) < 2:
            raise UserError(
                f"seeds: {arguments.seeds} given; two different ones are needed to tell their spread"
            )
        best = execution_on(arguments.threads)
        spec = DataSpec(name=arguments.data)
        scale: Scale = "quick" if arguments.data == "digits" else "standard"
        data = load(spec)
        judges = Judges(spec, data, arguments.rows, best)
        report = Report(
            name="precision",
            of=arguments.data,
            title=f"Quality in bf16 and in float32: {arguments.data}",
            how="The default network trained and drawn from in each precision, with the same initial weights, batches "
            f"and noise for a seed; {arguments.rows:,} images in {SOLVER.nfe} evaluations.",
        )
        base = _base(spec, scale, arguments.images)
        values: dict[str, dict[str, list[float]]] = {}
        for seed in arguments.seeds:
            for name, precision in PRECISIONS.items():
                print(f"seed {seed}, {name}", flush=True)
                fit = with_seed(base, seed)
                found = fitted(fit, data, judges, replace(best, precision=precision), arguments.rows)
                report.rows.append({"precision": name, "seed": seed, **found})
                for measured, value in found.items():
                    values.setdefault(measured, {}).setdefault(name, []).append(value)
        for measured, by in values.items():
            gaps = [low - high for low, high in zip(by["bf16"], by["float32"], strict=True)]
            spread = statistics.stdev(by["float32"])
            report.notes.append(
                f"{measured}: bf16 less float32 at the same seed {statistics.mean(gaps):+.3g} in the mean, "
                f"{max(map(abs, gaps)):.3g} at the most; standard deviation over seeds {spread:.3g}."
            )
        report.publish(arguments.out)

    return run(Arguments, measure, name="precision")


def _base(spec: DataSpec, scale: Scale, images: int) -> FitSpec:
    fit = continuous(spec, scale).source
    assert isinstance(fit, FitSpec)
    return replace(fit, budget=replace(fit.budget, images_seen=images)) if images else fit


if __name__ == "__main__":
    sys.exit(main())
