"""Learning rates of what a study compares: equally many trials of each, judged by their loss on the validation split.

python -m benchmarks.rates backbones --data fashion_mnist
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import tyro

import studies
from benchmarks import run
from benchmarks.report import RESULTS, Report, Row
from pipelines.verdict import describe
from workbench import training
from workbench.data import Dataset, load
from workbench.execution import Execution
from workbench.expansion import expand
from workbench.identity import key
from workbench.registry import UserError
from workbench.spec import Arm, DataSpec, FitSpec, Scale, Study, TrialSpec, inner_fits


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Train every fit of a study for a while at several learning rates."""

    study: tyro.conf.Positional[str]
    """The study; each distinct fit of its arms is tried."""
    data: str = "digits"
    """The data set."""
    images: int = 20_000
    """Training images of each trial."""
    batch_size: int = 0
    """Images a batch; 0: that of the preset."""
    factors: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0)
    """What the rate of the preset is multiplied by."""
    only: str = ""
    """Only arms in whose words this is."""
    seed: int = 9
    """Training seed, none of those that the study is run with."""
    threads: int = 0
    """CPU threads; 0: as many as there are CPUs."""
    out: Path = RESULTS
    """Folder for the table as Markdown and JSON."""


def fits_of(study: Study, data: DataSpec, scale: Scale, seed: int) -> list[tuple[Arm, FitSpec]]:
    """The distinct fits of the arms of a study, of those that differ in their images alone the longest; fits that take
    weights from other fits are left out."""
    found: dict[str, tuple[Arm, FitSpec]] = {}
    for trial in expand(study, data, scale, [seed]):
        fit = trial.spec.source if isinstance(trial.spec, TrialSpec) else None
        if not isinstance(fit, FitSpec) or inner_fits(fit):
            continue
        alike = key(fit.model) + key(fit.data)
        if alike not in found or fit.budget.images_seen > found[alike][1].budget.images_seen:
            found[alike] = trial.arm, fit
    return list(found.values())


def tried(fit: FitSpec, arguments: Arguments, factor: float) -> FitSpec:
    """The fit at another rate, for as many images as each trial has."""
    budget = replace(
        fit.budget,
        images_seen=arguments.images,
        batch_size=arguments.batch_size or fit.budget.batch_size,
    )
    share = arguments.images / fit.budget.images_seen
    optimiser = replace(
        fit.optimiser,
        learning_rate=factor * fit.optimiser.learning_rate,
        warmup_images=round(share * fit.optimiser.warmup_images),
    )
    return replace(
        fit, budget=budget, optimiser=optimiser, ema_halflife_images=max(1, arguments.images // 20)
    )


def loss_of(fit: FitSpec, data: Dataset, execution: Execution) -> float:
    """The sum of the validation losses at the end; infinite where the fit diverged."""
    try:
        last = training.fit(fit, data, execution=execution).history[-1]
    except training.Diverged:
        return float("inf")
    return sum(value for name, value in last.items() if name.startswith("validation_loss_"))


def row(name: str, rate: float, losses: Mapping[float, float]) -> Row:
    """The losses of a fit by the factors of its rate, and the best rate; `at the edge` where more should be tried."""
    best = min(losses, key=losses.__getitem__)
    edge = best in (min(losses), max(losses))
    shown = {f"{factor:g}x": losses[factor] for factor in losses}
    return {
        "arm": name,
        "rate": rate,
        **shown,
        "best rate": best * rate,
        "at the edge": "yes" if edge else "",
    }


def main() -> int:
    """Run the benchmark; returns its exit status."""

    def measure(arguments: Arguments) -> None:
        if arguments.images < 1 or not arguments.factors or min(arguments.factors) <= 0:
            raise UserError(
                f"images, factors: {arguments.images} and {arguments.factors} given; an image at least and positive "
                "factors are needed"
            )
        execution = Execution.best(threads=arguments.threads or torch.get_num_threads())
        data = DataSpec(name=arguments.data)
        dataset = load(data)
        scale: Scale = "quick" if arguments.data == "digits" else "standard"
        fits = fits_of(studies.study(arguments.study), data, scale, arguments.seed)
        chosen = [(describe(arm), fit) for arm, fit in fits if arguments.only in describe(arm)]
        if not chosen:
            raise UserError(
                f"only: {arguments.only!r} given; arms are {'; '.join(describe(a) for a, _ in fits)}"
            )
        report = Report(
            name="rates",
            of=f"{arguments.study}-{arguments.data}",
            title=f"Learning rates of {arguments.study}: {arguments.data}",
            how=f"Validation loss after {arguments.images:,} images, one seed, by the factor of the preset's rate.",
        )
        for name, fit in chosen:
            losses = {}
            for factor in sorted(arguments.factors):
                losses[factor] = loss_of(tried(fit, arguments, factor), dataset, execution)
                print(f"{name}: {factor:g} times the rate, loss {losses[factor]:.5g}", flush=True)
            report.rows.append(row(name, fit.optimiser.learning_rate, losses))
        report.publish(arguments.out)

    return run(Arguments, measure, name="rates")


if __name__ == "__main__":
    sys.exit(main())
