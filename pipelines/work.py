"""The life of one stage: start a run, do the work, log, upload, check, end. Run inline or in a Ray task alike."""

from __future__ import annotations

import contextlib
import importlib
import json
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from PIL.Image import Image

from pipelines import errors, names
from pipelines.stage import Done, Stage
from pipelines.tracking import Damaged, Tracking
from workbench.identity import to_json

Status = Literal["FINISHED", "FAILED"]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is the same for all stages of an execution: where results go, where data are, who is running."""

    tracking_uri: str
    execution: str  # id of the study run
    data_location: Path | None = None
    concurrency: int = 1
    checkpoint_seconds: float = 60.0


@dataclass(frozen=True, kw_only=True)
class Work:
    """What the body of a stage is given: the stage, the results that it needs, its own run, an empty folder."""

    stage: Stage
    inputs: Mapping[str, Done]
    setting: Setting
    tracking: Tracking
    run_id: str
    folder: Path


@dataclass(frozen=True, kw_only=True)
class Product:
    """What the body of a stage returns; files to be kept are those that it left in its folder. `images` are pictures
    that MLflow shows beside those of other runs, by name.

    `existing` is the same result found finished by another execution meanwhile: this run is then not needed.
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    curves: tuple[tuple[str, int, float], ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[str, Image] = field(default_factory=dict)
    existing: Done | None = None
    served: Sequence[tuple[str, str]] = ()  # runs and names of what can be deleted once this is stored


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a stage ended. `transient` failures are worth another attempt, `fatal` ones end the execution; of one that
    is `untold`, MLflow holds no row that says so."""

    key: str
    status: Status
    done: Done | None = None
    reason: str = ""
    details: str = ""
    seconds: float = 0.0
    work_seconds: float = 0.0  # without what is said to MLflow
    transient: bool = False
    fatal: bool = False
    untold: bool = False


def run_stage(stage: Stage, inputs: Mapping[str, Done], setting: Setting) -> Outcome:
    """Do one stage. Never raises for a failure of the stage: it is told in the outcome and in the run."""
    started = time.monotonic()
    tracking = Tracking(setting.tracking_uri)
    run_id = ""
    try:
        run_id = tracking.start(stage.experiment, stage.name, stage_tags(stage, setting.execution))
        with tempfile.TemporaryDirectory(prefix="workbench-stage-") as folder:
            work = Work(
                stage=stage,
                inputs=inputs,
                setting=setting,
                tracking=tracking,
                run_id=run_id,
                folder=Path(folder),
            )
            began = time.monotonic()
            product = body_of(stage)(work)
            work_seconds = time.monotonic() - began
            if product.existing is not None:
                tracking.end(run_id, "KILLED", f"run {product.existing.run_id} has the same result")
                return Outcome(
                    key=stage.key,
                    status="FINISHED",
                    done=product.existing,
                    seconds=time.monotonic() - started,
                )
            digests = tracking.upload(run_id, Path(folder))
            for name, image in product.images.items():
                tracking.image(run_id, name, image)
        metrics = {**product.metrics, "cost/stage_seconds": time.monotonic() - started}
        tags = {**product.tags, **({names.TAG_ARTIFACTS: json.dumps(digests)} if digests else {})}
        tracking.log(run_id, metrics=metrics, params=dict(stage.params), tags=tags, curves=product.curves)
        tracking.end(run_id, "FINISHED")
        # What stays takes room and no more; no artifact store that fails to delete may undo what is finished.
        with contextlib.suppress(Exception):
            for run, prefix in product.served:
                tracking.delete_artifacts(run, prefix)
        done = Done(run_id, digests, metrics)
        seconds = time.monotonic() - started
        return Outcome(
            key=stage.key, status="FINISHED", done=done, seconds=seconds, work_seconds=work_seconds
        )
    except Exception as error:  # noqa: BLE001 - whatever a stage fails of becomes its row's reason
        reason, untold = errors.reason(error), True
        if run_id and not errors.is_unreachable(error):
            with contextlib.suppress(Exception):  # the driver ends what this leaves behind
                _fail(tracking, run_id, stage, reason)
                untold = False
        return Outcome(
            key=stage.key,
            status="FAILED",
            reason=reason,
            details=traceback.format_exc(),
            seconds=time.monotonic() - started,
            transient=isinstance(error, Damaged) or errors.is_unreachable(error),
            fatal=errors.is_disk_full(error) or errors.cannot_store(error),
            untold=untold,
        )


def record_failure(stage: Stage, setting: Setting, reason: str) -> None:
    """A FAILED row for a stage that could not be tried, or could not tell how it ended."""
    tracking = Tracking(setting.tracking_uri)
    run_id = tracking.start(stage.experiment, stage.name, stage_tags(stage, setting.execution))
    _fail(tracking, run_id, stage, reason)


def stage_tags(stage: Stage, execution: str) -> dict[str, str]:
    """The tags that a run of the stage bears from its start."""
    own = {names.TAG_KEY: stage.key, names.TAG_KIND: stage.kind, names.TAG_EXECUTION: execution}
    if stage.spec is not None:
        own[names.TAG_SPEC] = to_json(stage.spec)
    return own | dict(stage.tags)


def body_of(stage: Stage) -> Callable[[Work], Product]:
    """The function that does the work of a stage."""
    module, _, name = stage.body.partition(":")
    body: Callable[[Work], Product] = getattr(importlib.import_module(module), name)
    return body


def _fail(tracking: Tracking, run_id: str, stage: Stage, reason: str) -> None:
    tracking.log(run_id, params=dict(stage.params))
    tracking.end(run_id, "FAILED", reason)
