"""The stage that trains a network, and what it tells MLflow on the way."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from safetensors.torch import save_file
from torch import Tensor

from pipelines import describe, names, shared
from pipelines.tracking import Damaged, done_from
from pipelines.work import Product, Work
from workbench import training
from workbench.data import Dataset, Split, to_float
from workbench.execution import Execution
from workbench.models import Classifies, Event, restore
from workbench.spec import CheckpointSpec, FitSpec, inner_fits

LOG = logging.getLogger(__name__)
CHECKPOINT, STATE = "checkpoint", "state"  # names of files, before the suffix
PROGRESS_SECONDS = 10.0


def fit(work: Work) -> Product:
    """Train, from the checkpoint that an earlier attempt may have left, else from where a shorter fit of the same
    training ended; keep weights, learning curves and cost, and of a checkpoint the state to go on from."""
    execution = shared.execution(work)
    spec: FitSpec = work.stage.spec
    work.tracking.log(work.run_id, params=dict(work.stage.params))
    condition = f"tags.`{names.TAG_KEY}` = '{work.stage.key}'"
    earlier = [
        run
        for run in work.tracking.search([work.stage.experiment], condition)
        if run.info.run_id != work.run_id
    ]
    finished = next((run for run in earlier if run.info.status == "FINISHED"), None)
    if finished is not None:  # another execution was faster
        return Product(existing=done_from(finished))
    shared.reset_peak_memory()
    data = shared.dataset(spec.data, work.setting.data_location)
    uploads = Uploads(work)
    with tempfile.TemporaryDirectory(prefix="workbench-checkpoint-") as folder:
        checkpoint = Path(folder) / f"{CHECKPOINT}.safetensors"
        continued = fetch_checkpoint(work, earlier, checkpoint) or fetch_state(work, checkpoint)
        fitted = training.fit(
            spec,
            data,
            execution=execution,
            inner=[shared.weights(work, fit) for fit in inner_fits(spec)],
            on_progress=uploads.progress,
            checkpoint=checkpoint,
            checkpoint_seconds=work.setting.checkpoint_seconds,
            on_checkpoint=uploads.checkpoint,
        )
        if isinstance(spec.budget, CheckpointSpec):
            shutil.copyfile(checkpoint, work.folder / f"{STATE}.safetensors")
    save_file(
        {name: value.contiguous() for name, value in fitted.weights.items()}, work.folder / shared.WEIGHTS
    )
    (work.folder / "spec.json").write_text(describe.spec_json(spec))
    quality = gradient_variation(fitted.history) | accuracies(spec, fitted.weights, data, execution)
    interrupted = (run.info.run_id for run in earlier if names.TAG_CHECKPOINT in run.data.tags)
    served = [(run, CHECKPOINT) for run in (work.run_id, *interrupted)]
    if work.stage.continues:
        served.append((work.inputs[work.stage.continues].run_id, STATE))
    cost = {names.COST + name: value for name, value in fitted.cost.items()}
    cost[names.COST + "concurrency"] = float(work.setting.concurrency)
    return Product(
        metrics=cost | {names.QUALITY + name: value for name, value in quality.items()},
        curves=curves(fitted.history),
        tags={names.TAG_CONTINUED: continued} if continued else {},
        served=served,
    )


def fetch_checkpoint(work: Work, earlier: Sequence[Run], target: Path) -> str:
    """Copy the newest whole checkpoint of earlier attempts to `target`; returns whose it is, empty without one."""
    for run in earlier:
        name, _, digest = run.data.tags.get(names.TAG_CHECKPOINT, "").partition(" ")
        if not digest:
            continue
        try:
            shutil.copyfile(work.tracking.fetch(run.info.run_id, name, digest), target)
        except (Damaged, MlflowException, OSError) as error:
            LOG.warning("checkpoint of run %s cannot be used: %s", run.info.run_id, error)
            continue
        return str(run.info.run_id)
    return ""


def fetch_state(work: Work, target: Path) -> str:
    """Copy the last state of the shorter fit that this one goes on from to `target`; returns whose it is, empty without
    one."""
    shorter = work.inputs.get(work.stage.continues)
    if shorter is None:
        return ""
    name = f"{STATE}.safetensors"
    try:
        shutil.copyfile(work.tracking.fetch(shorter.run_id, name, shorter.artifacts[name]), target)
    except (Damaged, KeyError, MlflowException, OSError) as error:
        LOG.warning("state of run %s cannot be used: %s", shorter.run_id, error)
        return ""
    return shorter.run_id


class Uploads:
    """What a fit tells MLflow while it runs: where it is, and a checkpoint to go on from."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._told = time.monotonic()
        self._count = 0

    def progress(self, progress: training.Progress) -> None:
        if time.monotonic() - self._told < PROGRESS_SECONDS:
            return
        self._told = time.monotonic()
        seen = progress.images_seen
        point = {
            "loss": progress.loss,
            "share": seen / progress.images_total,
            "images_per_second": progress.images_per_second,
        }
        curves = [(f"progress/{name}", seen, value) for name, value in point.items()]
        self._work.tracking.log(self._work.run_id, curves=curves)

    def checkpoint(self, path: Path) -> None:
        """Upload under one of two names in turn, so that the one that the tag names is whole at any time."""
        self._count += 1
        name = f"{CHECKPOINT}-{self._count % 2}.safetensors"
        with tempfile.TemporaryDirectory(prefix="workbench-checkpoint-") as folder:
            shutil.copyfile(path, Path(folder) / name)
            digests = self._work.tracking.upload(self._work.run_id, Path(folder))
        self._work.tracking.log(self._work.run_id, tags={names.TAG_CHECKPOINT: f"{name} {digests[name]}"})


def curves(history: Sequence[Mapping[str, float]]) -> tuple[tuple[str, int, float], ...]:
    """The records of a fit as points (name, images seen, value): `train/...` and `validation/...`."""
    return tuple(
        (
            f"validation/{name.removeprefix('validation_')}"
            if name.startswith("validation_")
            else f"train/{name}",
            int(record["images_seen"]),
            value,
        )
        for record in history
        for name, value in record.items()
        if name != "images_seen"
    )


def gradient_variation(history: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The deviation of the gradient norm over its mean in the second half of a fit: how unsteady training was."""
    half = history[len(history) // 2 :]
    means = np.array([record["gradient_norm"] for record in half])
    deviations = np.array([record["gradient_norm_deviation"] for record in half])
    variance = np.mean(deviations**2) + np.var(means)  # within the records and between them
    return {"gradient_variation": float(np.sqrt(variance) / np.mean(means))}


def accuracies(
    spec: FitSpec, weights: Mapping[str, Tensor], data: Dataset, execution: Execution
) -> dict[str, float]:
    """For a classifier its accuracy on the splits that it was not trained on, in the arithmetic of training; else
    nothing."""
    judge = restore(spec.model, Event.of(data), dict(weights))
    if not isinstance(judge, Classifies):
        return {}
    execution.place(judge)

    def accuracy(split: Split) -> float:
        told = shared.probabilities(judge, to_float(split.images, data.levels), execution).argmax(1)
        return float((told == split.labels).double().mean())

    return {"accuracy_test": accuracy(data.test), "accuracy_validation": accuracy(data.validation)}
