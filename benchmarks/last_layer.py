"""How the last layer of a backbone should start: at zero, as is usual for U-Nets and DiT, or as any other layer.

python -m benchmarks.last_layer --data fashion_mnist --share 0.3
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean

from benchmarks import execution_on, run
from benchmarks.judges import JUDGES, Judges
from benchmarks.rates import Candidate, check_steps, outcome, tried
from benchmarks.report import RESULTS, Report, Row
from workbench.data import load
from workbench.nn import BACKBONES, Backbone
from workbench.nn.layers import zeroed
from workbench.presets.common import SOLVER
from workbench.presets.networks import network
from workbench.registry import UserError, look_up
from workbench.spec import DataSpec, FitSpec, Scale, arm

FIRST_SEED = 9  # and the next ones: none of those that the study is run with
STARTS = ("as others", "zero")


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Train each backbone of `backbones` with its last layer started in both ways, and judge what it draws."""

    data: str = "digits"
    """The data set."""
    share: float = 1.0
    """Training images, as a share of those of the study."""
    seeds: int = 3
    """Training seeds, none of those that the study is run with."""
    rows: int = 1_000
    """Images drawn by each, and of the validation split that they are compared with; no more than there are."""
    judge_images: int = 40_000
    """Training images of each of the two judging classifiers."""
    only: tuple[str, ...] = ()
    """Backbones; none: all."""
    threads: int = 0
    """CPU threads; 0: as many as there are CPUs."""
    out: Path = RESULTS
    """Folder for the table as Markdown and JSON."""


@contextmanager
def started(start: str) -> Iterator[None]:
    """Backbones whose last layer starts as `start` says, while it is open."""
    before = dict(BACKBONES)

    def at_zero(name: str, *args: object, **names: object) -> Backbone:
        made = before[name](*args, **names)
        zeroed(made.last)
        return made

    if start == "zero":
        BACKBONES.update({name: partial(at_zero, name) for name in before})
    try:
        yield
    finally:
        BACKBONES.update(before)


def fits_of(backbone: str, data: DataSpec, scale: Scale, arguments: Arguments) -> list[FitSpec]:
    """The fits of a backbone, one for each seed. Raises UserError for a backbone that is not known."""
    look_up(BACKBONES, backbone, "only")
    fit = network(data, scale, backbone=backbone, matching="flops").source
    assert isinstance(fit, FitSpec)
    one = tried(fit, share=arguments.share, batch_size=0, rate=fit.optimiser.learning_rate)
    return [replace(one, seed=FIRST_SEED + index) for index in range(arguments.seeds)]


def summary(backbone: str, start: str, rows: Sequence[Row]) -> Row:
    """The mean loss over seeds and the geometric means of the distances; none where a fit diverged."""
    known = all(isinstance(row["loss"], float) and row[JUDGES[0]] != "" for row in rows)
    told: Row = {
        "backbone": backbone,
        "last layer": start,
        "images": rows[0]["images"],
        "rate": rows[0]["rate"],
    }
    told["loss"] = fmean(float(row["loss"]) for row in rows) if known else "diverged"
    for judge in JUDGES:
        distances = [float(row[judge]) for row in rows] if known else []
        told[judge] = math.exp(fmean(map(math.log, distances))) if known else ""
        told[f"{judge} of each seed"] = ", ".join(f"{value:.3g}" for value in distances)
    return told


def main() -> int:
    """Run the benchmark; returns its exit status."""

    def measure(arguments: Arguments) -> None:
        check(arguments)
        execution = execution_on(arguments.threads)
        data = DataSpec(name=arguments.data)
        dataset = load(data)
        scale: Scale = "quick" if arguments.data == "digits" else "standard"
        rows = min(arguments.rows, len(dataset.validation))
        plans = {name: fits_of(name, data, scale, arguments) for name in arguments.only or BACKBONES}
        check_steps(fit for fits in plans.values() for fit in fits)
        report = Report(
            name="last_layer",
            of=arguments.data,
            title=f"The start of a backbone's last layer: {arguments.data}",
            how=(
                f"Backbones of equal FLOPs as the study `backbones` trains them at scale {scale}, at "
                f"{arguments.share:g} of its images, {arguments.seeds} seeds: mean validation loss, and geometric "
                f"means of the Frechet distances of {rows:,} images, drawn in 20 evaluations, from the validation "
                "split by three extractors. All else of the networks starts the same."
            ),
        )
        judges = Judges(data, dataset, rows, execution, images=arguments.judge_images)
        for name, fits in plans.items():
            for start in STARTS:
                with started(start):
                    found = [
                        outcome(
                            Candidate(arms=(arm(backbone=name),), fit=fit, sampling=SOLVER),
                            fit,
                            dataset,
                            rows,
                            judges,
                            execution,
                        )
                        for fit in fits
                    ]
                report.rows.append(summary(name, start, found))
                print(", ".join(f"{key} {value}" for key, value in report.rows[-1].items()), flush=True)
        report.publish(arguments.out)

    return run(Arguments, measure, name="last_layer")


def check(arguments: Arguments) -> None:
    """Raises UserError for what cannot be tried."""
    if not 0 < arguments.share <= 1:
        raise UserError(f"share: {arguments.share:g} given; a number above 0 and up to 1 is needed")
    for name, value, least in (
        ("seeds", arguments.seeds, 1),
        ("rows", arguments.rows, 2),
        ("judge-images", arguments.judge_images, 2),
    ):
        if value < least:
            raise UserError(f"{name}: {value} given; a whole number from {least} is needed")


if __name__ == "__main__":
    sys.exit(main())
