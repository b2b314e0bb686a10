"""Learning rates and batch sizes of what a study compares: equally many trials of each, judged on the validation split.

python -m benchmarks.rates why_diffusion --data fashion_mnist --batch-sizes 32 128
"""

from __future__ import annotations

import itertools
import math
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import tyro

import studies
from benchmarks import execution_on, run
from benchmarks.judges import CNN, JUDGES, Judges
from benchmarks.report import RESULTS, Report, Row
from benchmarks.timing import interleaved
from pipelines.drawing import draw
from pipelines.verdict import describe
from workbench import training
from workbench.data import Dataset, load
from workbench.execution import Execution
from workbench.expansion import expand
from workbench.identity import key
from workbench.models import Event, GenerativeModel, restore
from workbench.presets.common import SOLVER
from workbench.registry import UserError
from workbench.spec import (
    Arm,
    DataSpec,
    DiffusionSpec,
    FitSpec,
    SamplingSpec,
    Scale,
    Study,
    TrialSpec,
    inner_fits,
)

LEAST_STEPS = 10  # of a trial
TIMED_STEPS = 30  # of a fit that is timed before it is tried
EQUAL = {
    False: "Equal images, not seconds: small batches take longer.",
    True: "Equal seconds, as a few steps of each batch size were timed before, so that small batches see fewer images.",
}
JUDGE = CNN  # by whose distance a trial is chosen, as the claims of studies are decided


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
    equal_seconds: bool = False
    """Whether a batch size sees fewer images where it is slower, so that it takes the seconds of the preset's."""
    factors: tuple[float, ...] = (0.5, 1.0, 2.0)
    """What the rate of the preset is multiplied by."""
    rates: tuple[float, ...] = ()
    """Learning rates to try in place of multiples of the preset's, the same for all."""
    rows: int = 2_000
    """Images drawn by each, and of the validation split that they are compared with; no more than there are."""
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
    """A fit of a study, the arms that share its network, its own first, and how it is drawn from."""

    arms: tuple[Arm, ...]
    fit: FitSpec
    sampling: SamplingSpec


def candidates(study: Study, data: DataSpec, scale: Scale, seed: int) -> list[Candidate]:
    """The distinct fits of the arms of a study, of those that differ in their images alone the longest; fits that take
    weights from other fits are left out. Denoisers are drawn from by SOLVER, however the study draws from them."""
    found: dict[str, Candidate] = {}
    for trial in expand(study, data, scale, [seed]):
        spec = trial.spec
        fit = spec.source if isinstance(spec, TrialSpec) else None
        if not isinstance(spec, TrialSpec) or not isinstance(fit, FitSpec) or inner_fits(fit):
            continue
        alike = key(fit.model) + key(fit.data)
        one = Candidate(
            arms=(trial.arm,),
            fit=fit,
            sampling=SOLVER if isinstance(fit.model, DiffusionSpec) else spec.sampling,
        )
        known = found.get(alike, replace(one, arms=()))
        longest, other = sorted((known, one), key=lambda c: c.fit.budget.images_seen, reverse=True)
        found[alike] = replace(longest, arms=(*longest.arms, *other.arms))
    return list(found.values())


def relative_speed(fit: FitSpec, batch_size: int, data: Dataset, execution: Execution) -> float:
    """The speed of training in batches of this size (0: the fit's own) as a share of that in the fit's own batches."""
    own = fit.budget.batch_size
    if batch_size in (0, own):
        return 1.0

    def steps(size: int) -> object:
        budget = replace(fit.budget, images_seen=TIMED_STEPS * size, batch_size=size)
        return training.fit(replace(fit, budget=budget), data, execution=execution)

    found = interleaved({"own": lambda: steps(own), "other": lambda: steps(batch_size)}, rounds=3)
    return (batch_size / found["other"].least) / (own / found["own"].least)


def tried(fit: FitSpec, *, share: float, batch_size: int, rate: float) -> FitSpec:
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
            learning_rate=rate,
            warmup_images=shortened(fit.optimiser.warmup_images),
        ),
        ema_halflife_images=shortened(fit.ema_halflife_images),
    )


def rates_of(fit: FitSpec, arguments: Arguments) -> list[float]:
    """The learning rates to try of a fit, the least first."""
    multiples = (factor * fit.optimiser.learning_rate for factor in arguments.factors)
    return sorted(set(arguments.rates or multiples))


def outcome(
    candidate: Candidate, fit: FitSpec, data: Dataset, rows: int, judges: Judges, execution: Execution
) -> Row:
    """What came of a trial: its seconds, validation loss, and the distances of what it draws; empty if it diverged."""
    told: Row = {
        "arm": describe(candidate.arms[0]),
        "images": fit.budget.images_seen,
        "batch": fit.budget.batch_size,
        "rate": fit.optimiser.learning_rate,
    }
    began = time.perf_counter()
    try:
        fitted = training.fit(fit, data, execution=execution)
        loss = sum(value for name, value in fitted.history[-1].items() if name.startswith("validation_"))
    except training.Diverged:
        loss = math.inf
    told["seconds"] = time.perf_counter() - began
    if not math.isfinite(loss):
        return told | {"loss": "diverged"} | dict.fromkeys(JUDGES, "")
    model = restore(fit.model, Event.of(data), fitted.weights)
    assert isinstance(model, GenerativeModel)
    execution.place(model)
    try:
        images = draw(model, data, replace(candidate.sampling, rows=rows), execution, warm=False).images
    except UserError:  # values that are not finite, where the loss is
        return told | {"loss": loss} | dict.fromkeys(JUDGES, "")
    return told | {"loss": loss} | judges.distances(images, validation=True)


def marked(rows: Sequence[Row]) -> list[Row]:
    """The trials of one arm, the nearest by JUDGE chosen: `best`, or `best, at the edge` where more rates should be
    tried, as it is the least or the highest at its batch size. None is, where all diverged."""
    distances = [float(row[JUDGE] or math.inf) for row in rows]
    best = min(range(len(rows)), key=distances.__getitem__)
    beside = [float(row["rate"]) for row in rows if row["batch"] == rows[best]["batch"]]
    edge = float(rows[best]["rate"]) in (min(beside), max(beside)) and len(beside) > 1
    word = ("best, at the edge" if edge else "best") if math.isfinite(distances[best]) else ""
    return [row | {"choice": word if index == best else ""} for index, row in enumerate(rows)]


def main() -> int:
    """Run the benchmark; returns its exit status."""

    def measure(arguments: Arguments) -> None:
        check(arguments)
        execution = execution_on(arguments.threads)
        data = DataSpec(name=arguments.data)
        dataset = load(data)
        scale: Scale = "quick" if arguments.data == "digits" else "standard"
        sizes = list(dict.fromkeys(arguments.batch_sizes or (0,)))
        known = candidates(studies.study(arguments.study), data, scale, arguments.seed)
        if not known:
            raise UserError(f"study: {arguments.study!r} given; it trains no generative model by itself")
        chosen = [
            replace(one, arms=meant)
            for one in known
            if (meant := tuple(arm for arm in one.arms if arguments.only in describe(arm)))
        ]
        if not chosen:
            arms = "; ".join(describe(arm) for one in known for arm in one.arms)
            raise UserError(f"only: {arguments.only!r} given; arms are {arms}")

        def share(fit: FitSpec, batch_size: int) -> float:
            equal = arguments.equal_seconds
            return arguments.share * (relative_speed(fit, batch_size, dataset, execution) if equal else 1.0)

        trials = []
        for one in chosen:
            shares = {size: share(one.fit, size) for size in sizes}
            settings = itertools.product(sizes, rates_of(one.fit, arguments))
            fits = [tried(one.fit, share=shares[b], batch_size=b, rate=rate) for b, rate in settings]
            trials.append((one, fits))
        check_steps(fit for _, fits in trials for fit in fits)
        rows = min(arguments.rows, len(dataset.validation))
        report = Report(
            name="rates",
            of=f"{arguments.study}-{arguments.data}" + ("-equal-seconds" if arguments.equal_seconds else ""),
            title=f"Learning rates and batch sizes of {arguments.study}: {arguments.data}",
            how=(
                f"Each fit of scale {scale} at {arguments.share:g} of its images, one seed: seconds, validation loss, "
                f"and the Frechet distances of {rows:,} images from the validation split by three extractors. "
                f"{EQUAL[arguments.equal_seconds]} Losses compare within an arm alone; that of a GAN tells nothing of "
                "its images. Denoisers are drawn from in 20 evaluations."
            ),
        )
        judges = Judges(data, dataset, rows, execution, images=arguments.judge_images)
        for one, fits in trials:
            found = []
            for fit in fits:
                found.append(outcome(one, fit, dataset, rows, judges, execution))
                print(", ".join(f"{name} {value}" for name, value in found[-1].items()), flush=True)
            report.rows += marked(found)
        report.publish(arguments.out)

    return run(Arguments, measure, name="rates")


def check(arguments: Arguments) -> None:
    """Raises UserError for what cannot be tried."""
    if not 0 < arguments.share <= 1:
        raise UserError(f"share: {arguments.share:g} given; a number above 0 and up to 1 is needed")
    if not arguments.factors:
        raise UserError("factors: none given; positive numbers are needed")
    for name, values in (("factors", arguments.factors), ("rates", arguments.rates)):
        if not all(0 < value < math.inf for value in values):
            raise UserError(f"{name}: {values} given; positive numbers are needed")
    if any(size < 1 for size in arguments.batch_sizes):
        raise UserError(f"batch-sizes: {arguments.batch_sizes} given; whole numbers from 1 are needed")
    for name, value in (("rows", arguments.rows), ("judge-images", arguments.judge_images)):
        if value < 2:
            raise UserError(f"{name}: {value} given; a whole number from 2 is needed")


def check_steps(fits: Iterable[FitSpec]) -> None:
    """Raises UserError for a trial of so few steps that it tells nothing."""
    for fit in fits:
        if fit.budget.images_seen < LEAST_STEPS * fit.budget.batch_size:
            raise UserError(
                f"batch-sizes, share: batches of {fit.budget.batch_size} of {fit.budget.images_seen} images given; "
                f"{LEAST_STEPS} steps are needed at least"
            )


if __name__ == "__main__":
    sys.exit(main())
