"""Learning rates and batch sizes of what a study compares: equally many trials of each, judged on the validation split.

python -m benchmarks.rates why_diffusion --data fashion_mnist --batch-sizes 32 128
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import tyro

import studies
from benchmarks import run
from benchmarks.judges import JUDGES, Judges
from benchmarks.report import RESULTS, Report, Row
from pipelines.drawing import draw
from pipelines.verdict import describe
from workbench import training
from workbench.data import Dataset, load
from workbench.execution import Execution
from workbench.expansion import expand
from workbench.identity import key
from workbench.models import Event, GenerativeModel, restore
from workbench.registry import UserError
from workbench.spec import Arm, DataSpec, FitSpec, SamplingSpec, Scale, Study, TrialSpec, inner_fits

JUDGE = JUDGES[0]  # by whose distance a trial is chosen, as the claims of studies are decided


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Train every fit of a study for a while at several learning rates and batch sizes, and judge what it draws."""

    study: tyro.conf.Positional[str]
    """The study; each distinct fit of its arms is tried."""
    data: str = "digits"
    """The data set."""
    share: float = 0.5
    """Training images of each trial, as a share of those of the longest fit of its kind in the study."""
    batch_sizes: tuple[int, ...] = ()
    """Images a batch; none: that of the preset."""
    factors: tuple[float, ...] = (0.5, 1.0, 2.0)
    """What the rate of the preset is multiplied by."""
    rows: int = 2_000
    """Images drawn by each."""
    judge_images: int = 40_000
    """Training images of each of the two judging classifiers."""
    only: str = ""
    """Only arms in whose words this is."""
    seed: int = 9
    """Training seed, none of those that the study is run with."""
    threads: int = 0
    """CPU threads; 0: as many as there are CPUs."""
    out: Path = RESULTS
    """Folder for the table as Markdown and JSON."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A fit of a study, the arm that it belongs to, and how it is drawn from."""

    arm: Arm
    fit: FitSpec
    sampling: SamplingSpec


def candidates(study: Study, data: DataSpec, scale: Scale, seed: int) -> list[Candidate]:
    """The distinct fits of the arms of a study, of those that differ in their images alone the longest; fits that take
    weights from other fits are left out."""
    found: dict[str, Candidate] = {}
    for trial in expand(study, data, scale, [seed]):
        spec = trial.spec
        fit = spec.source if isinstance(spec, TrialSpec) else None
        if not isinstance(spec, TrialSpec) or not isinstance(fit, FitSpec) or inner_fits(fit):
            continue
        alike = key(fit.model) + key(fit.data)
        if alike not in found or fit.budget.images_seen > found[alike].fit.budget.images_seen:
            found[alike] = Candidate(arm=trial.arm, fit=fit, sampling=spec.sampling)
    return list(found.values())


def tried(fit: FitSpec, *, share: float, batch_size: int, factor: float) -> FitSpec:
    """The fit at another rate and batch size (0: its own), for a share of its images; what is counted in images is
    shortened alike."""

    def shortened(images: int) -> int:
        return max(1, round(share * images))

    return replace(
        fit,
        budget=replace(
            fit.budget,
            images_seen=shortened(fit.budget.images_seen),
            batch_size=batch_size or fit.budget.batch_size,
        ),
        optimiser=replace(
            fit.optimiser,
            learning_rate=factor * fit.optimiser.learning_rate,
            warmup_images=shortened(fit.optimiser.warmup_images),
        ),
        ema_halflife_images=shortened(fit.ema_halflife_images),
    )


def outcome(
    candidate: Candidate, fit: FitSpec, data: Dataset, rows: int, judges: Judges, execution: Execution
) -> Row:
    """What came of a trial: its seconds, validation loss, and the distances of what it draws; empty if it diverged."""
    told: Row = {"arm": describe(candidate.arm), "batch": fit.budget.batch_size}
    told["rate"] = fit.optimiser.learning_rate
    began = time.perf_counter()
    try:
        fitted = training.fit(fit, data, execution=execution)
    except training.Diverged:
        told |= {"seconds": time.perf_counter() - began, "loss": "diverged"}
        return told | dict.fromkeys(JUDGES, "")
    told["seconds"] = time.perf_counter() - began
    told["loss"] = sum(value for name, value in fitted.history[-1].items() if name.startswith("validation_"))
    model = restore(fit.model, Event.of(data), fitted.weights)
    assert isinstance(model, GenerativeModel)
    execution.place(model)
    images = draw(model, data, replace(candidate.sampling, rows=rows), execution, warm=False).images
    return told | judges.distances(images, validation=True)


def marked(rows: Sequence[Row]) -> list[Row]:
    """The trials of one arm, the nearest by JUDGE marked `best`, or `best, at the edge` where more rates should be
    tried: a rate that is the least or the highest at its batch size."""
    best = min(range(len(rows)), key=lambda index: float(rows[index][JUDGE] or "inf"))
    beside = [float(row["rate"]) for row in rows if row["batch"] == rows[best]["batch"]]
    edge = float(rows[best]["rate"]) in (min(beside), max(beside)) and len(beside) > 1
    word = "best, at the edge" if edge else "best"
    return [row | {"": word if index == best else ""} for index, row in enumerate(rows)]


def main() -> int:
    """Run the benchmark; returns its exit status."""

    def measure(arguments: Arguments) -> None:
        _check(arguments)
        execution = Execution.best(threads=arguments.threads or torch.get_num_threads())
        data = DataSpec(name=arguments.data)
        dataset = load(data)
        scale: Scale = "quick" if arguments.data == "digits" else "standard"
        known = candidates(studies.study(arguments.study), data, scale, arguments.seed)
        chosen = [one for one in known if arguments.only in describe(one.arm)]
        if not chosen:
            raise UserError(
                f"only: {arguments.only!r} given; arms are {'; '.join(describe(one.arm) for one in known)}"
            )
        report = Report(
            name="rates",
            of=f"{arguments.study}-{arguments.data}",
            title=f"Learning rates and batch sizes of {arguments.study}: {arguments.data}",
            how=(
                f"Each fit at {arguments.share:g} of its images, one seed: seconds, validation loss, and the Frechet "
                f"distances of {arguments.rows:,} images from the validation split by three extractors. Losses compare "
                "within an arm alone; that of a GAN tells nothing of its images."
            ),
        )
        judges = Judges(data, dataset, arguments.rows, execution, images=arguments.judge_images)
        for one in chosen:
            rows = []
            for batch_size, factor in itertools.product(arguments.batch_sizes or (0,), arguments.factors):
                fit = tried(one.fit, share=arguments.share, batch_size=batch_size, factor=factor)
                rows.append(outcome(one, fit, dataset, arguments.rows, judges, execution))
                print(", ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
            report.rows += marked(rows)
        report.publish(arguments.out)

    return run(Arguments, measure, name="rates")


def _check(arguments: Arguments) -> None:
    if not 0 < arguments.share <= 1:
        raise UserError(f"share: {arguments.share:g} given; a number above 0 and up to 1 is needed")
    if not arguments.factors or min(arguments.factors) <= 0:
        raise UserError(f"factors: {arguments.factors} given; positive numbers are needed")
    if any(size < 1 for size in arguments.batch_sizes):
        raise UserError(f"batch-sizes: {arguments.batch_sizes} given; whole numbers from 1 are needed")
    if arguments.rows < 2:
        raise UserError(f"rows: {arguments.rows} given; a whole number from 2 is needed")


if __name__ == "__main__":
    sys.exit(main())
