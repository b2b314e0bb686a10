"""The workbench against its peers: the same images, batch and seconds, each drawn from in ten evaluations.

python -m benchmarks.peers --seconds 480
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import execution_on, run
from benchmarks.contenders import Contender, Training, Workbench, contenders
from benchmarks.judges import Judges
from benchmarks.report import RESULTS, Report, Row
from pipelines import servers
from workbench.data import load
from workbench.execution import Execution
from workbench.registry import UserError
from workbench.spec import DataSpec

REACHED_IN = 12  # the workbench is also trained for this part of the seconds


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Train everything on Fashion-MNIST for the same time on the same threads, and judge what each draws."""

    seconds: float = 480.0
    """Training time of each."""
    rows: int = 5_000
    """Images drawn from each, and of the test split that they are compared with."""
    choosing_rows: int = 1_000
    """Images by which each one's sampler is chosen, on the validation split."""
    nfe: int = 10
    """Network evaluations an image."""
    threads: int = 0
    """CPU threads; 0: as many as there are CPUs."""
    judge_images: int = 150_000
    """Training images of each of the two judging classifiers."""
    only: tuple[str, ...] = ()
    """Only contenders whose names contain one of these; none: all."""
    out: Path = RESULTS
    """Folder for the table as Markdown and JSON."""


def best(
    contender: Contender, judges: Judges, arguments: Arguments, execution: Execution
) -> tuple[str, dict[str, float], float]:
    """The sampler of a contender that fits the validation split best in `cnn`, judged on the test split: its
    distances, and its images a second."""
    choices = {
        sampler: judges.distances(
            contender.draw(judges.data, sampler, arguments.choosing_rows, arguments.nfe, execution),
            validation=True,
        )["cnn"]
        for sampler in contender.samplers
    }
    sampler = min(choices, key=choices.__getitem__)
    began = time.perf_counter()
    images = contender.draw(judges.data, sampler, arguments.rows, arguments.nfe, execution)
    speed = arguments.rows / (time.perf_counter() - began)
    return sampler, judges.distances(images), speed


def planned(arguments: Arguments) -> list[tuple[Contender, float]]:
    """The contenders asked for, with the share of the seconds that each is trained. Raises UserError for a name that
    none has."""
    every: list[tuple[Contender, float]] = [
        (one, 1.0) for one in contenders(servers.state_directory() / "peers")
    ]
    every.append((Workbench(), 1 / REACHED_IN))
    for part in arguments.only:
        if not any(part in one.name for one, _ in every):
            known = "; ".join(dict.fromkeys(one.name for one, _ in every))
            raise UserError(f"only: {part!r} given; contenders are {known}")
    wanted = arguments.only or ("",)
    return [(one, share) for one, share in every if any(part in one.name for part in wanted)]


def main() -> int:
    """Run the benchmark; returns its exit status."""

    def measure(arguments: Arguments) -> None:
        plan = planned(arguments)
        execution = execution_on(arguments.threads)
        spec = DataSpec(name="fashion_mnist")
        data = load(spec)
        judges = Judges(spec, data, arguments.rows, execution, arguments.judge_images)
        report = Report(
            name="peers",
            title="The workbench and its peers",
            how=f"Fashion-MNIST, batch 128, {execution.threads} CPU threads, one after the other; {arguments.rows:,} "
            f"images of each in {arguments.nfe} network evaluations by the one of its samplers that fits the "
            "validation split best; Frechet distances to the test split.",
        )
        floor = judges.distances(data.train.images[: arguments.rows])
        report.rows.append(_row("real training images", "", Training(0.0, 0), floor, 0.0))
        seconds = arguments.seconds
        for contender, share in plan:
            print(f"training {contender.name} for {share * seconds:.0f} s", flush=True)
            trained = contender.train(data, share * seconds, execution)
            if isinstance(contender, Workbench):
                # Its budget is a number of images: where the machine changed its speed meanwhile, the peers get the
                # seconds that it took.
                seconds = trained.seconds / share
            sampler, values, speed = best(contender, judges, arguments, execution)
            report.rows.append(_row(contender.name, sampler, trained, values, speed))
            report.notes = compared(report.rows)
            report.publish(arguments.out)  # each time: an interrupt leaves what was measured

    return run(Arguments, measure, name="peers")


def compared(rows: Sequence[Row]) -> list[str]:
    """What the table says of the workbench and of the best peer: the ratios of distances and of speeds."""
    ours = [row for row in rows if row["network"] == Workbench.name]
    peers = [row for row in rows if row["images seen"] and row["network"] != Workbench.name]
    notes = []
    for column in (name for name in rows[0] if name.startswith("frechet")):
        for row in ours if peers else ():
            nearest = min(peers, key=lambda peer: float(peer[column]))
            ratio = float(nearest[column]) / float(row[column])
            notes.append(
                f"{column}: that of the best peer, {nearest['network']}, after {nearest['training seconds']:.0f} s is "
                f"{ratio:.3g} times the workbench's after {row['training seconds']:.0f} s."
            )
    if ours and peers:
        fastest = max(peers, key=lambda peer: float(peer["images/s drawn"]))
        ratio = float(ours[0]["images/s drawn"]) / float(fastest["images/s drawn"])
        notes.append(f"Images a second: {ratio:.3g} times those of the fastest peer, {fastest['network']}.")
    return notes


def _row(name: str, sampler: str, trained: Training, values: dict[str, float], speed: float) -> Row:
    named = {f"frechet[{space}]": value for space, value in values.items()}
    return {
        "network": name,
        "sampler": sampler,
        "training seconds": trained.seconds,
        "images seen": trained.images,
        **named,
        "images/s drawn": speed,
    }


if __name__ == "__main__":
    sys.exit(main())
