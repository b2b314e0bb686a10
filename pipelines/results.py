"""MLflow -> tidy tables. The dashboard, the reports and the verdicts read results through this module alone.

`trials` gives one row a trial:

    run_id key study status reason name started ended data scale panel seed     what and where it is
    sampler nfe time_grid eta variance guidance clip rows sampling_seed ...     the arm, see `names.column_of`
    frechet[cnn] kernel[cnn] recognised ...                                     measures
    floor frechet[cnn] ...                                                      the same measure of real rows
    sample_seconds images_per_second nfe_counted parameters flops_per_evaluation
    peak_memory_bytes fit_seconds threads concurrency ...                       cost
    fit_run_id                                                                  the run that holds the weights
    likelihood_kind                                                             what `bits_per_dim` is, where taken
    interpolation                                       how latents were interpolated, where there are pictures of them

`status` is FINISHED, FAILED, KILLED or RUNNING; rows that did not finish have a `reason` and NaN measures. `started`
and `ended` are UTC timestamps. `panel` is `network` or `oracle`. Imports neither Ray nor torch.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.entities import Run

from pipelines import names, scratch
from pipelines.client import client

IDENTITY = ("run_id", "key", "study", "status", "reason", "name", "started", "ended")
FIT = (*IDENTITY, "data", "scale", "continued_from")
TRIAL = (*IDENTITY, "data", "scale", "panel", "seed")
EXECUTION = (*IDENTITY, "data", "scale", "seeds", "executor", "trials", "cached", "failed", "seconds")
DECISION = ("claim", "answer", "estimate", "low", "high", "verdict_seeds", "verdict_reason")
STUDIES = ("study", "experiment_id", "note", "executions", "last_started")
PAGE = 1000


def trials(uri: str, study: str) -> pd.DataFrame:
    """One row a trial of the study: the newest FINISHED run of its key, else the newest run that did not finish."""
    asked = [run for run in _runs(uri, study, "trial") if not run.data.tags.get(names.TAG_SUPERSEDED)]
    rows = [_trial_row(run, study) for run in _one_of_each_key(asked)]
    return _frame(rows, TRIAL).sort_values("started", ignore_index=True)


def executions(uri: str, study: str) -> pd.DataFrame:
    """One row a claim and execution of the study, newest execution first; `claim` is None without a verdict."""
    rows = []
    for run in _runs(uri, study, "study"):
        row = _identity(run, study)
        row |= {name: names.param_value(text) for name, text in run.data.params.items()} | dict(
            run.data.metrics
        )
        row["seeds"] = run.data.params.get("seeds", "")
        decisions = json.loads(run.data.tags.get(names.TAG_VERDICT, "[]"))
        for decision in decisions or [dict.fromkeys(("claim", "answer", "reason"))]:
            verdict = {name: decision.get(name) for name in ("claim", "answer", "estimate", "low", "high")}
            rows.append(
                row
                | verdict
                | {"verdict_seeds": decision.get("seeds"), "verdict_reason": decision.get("reason")}
            )
    return _frame(rows, (*EXECUTION, *DECISION))


def studies(uri: str) -> pd.DataFrame:
    """One row a study that was ever executed: its experiment, its note (question and how to read it), when last run."""
    server = client(uri)
    rows = []
    for experiment in server.search_experiments(
        filter_string=f"tags.`{names.TAG_OWNER}` = '{names.WORKBENCH}'"
    ):
        if experiment.name == names.FITS:
            continue
        runs = _runs(uri, experiment.name, "study")
        last = _moment(runs[0].info.start_time) if runs else pd.NaT
        note = experiment.tags.get(names.TAG_NOTE, "")
        rows.append(
            dict(
                zip(STUDIES, (experiment.name, experiment.experiment_id, note, len(runs), last), strict=True)
            )
        )
    return _frame(rows, STUDIES)


def fits(uri: str, run_ids: Collection[str] | None = None) -> pd.DataFrame:
    """One row a fit, of its runs chosen like those of a trial: identity, parameters, cost, the last value of each
    learning curve, and the run whose training it went on from, whose seconds are among its `fit_seconds`. With
    `run_ids` the runs that these name: two executions may have trained the same fit at once."""
    rows, runs = [], _runs(uri, names.FITS, "fit")
    named = None if run_ids is None else [run for run in runs if run.info.run_id in run_ids]
    for run in _one_of_each_key(runs) if named is None else named:
        values = {name: names.param_value(text) for name, text in run.data.params.items()}
        continued = {"continued_from": run.data.tags.get(names.TAG_CONTINUED)}
        rows.append(_identity(run, names.FITS) | values | continued | _measured(run))
    return _frame(rows, FIT)


def learning_curve(uri: str, run_id: str) -> pd.DataFrame:
    """The learning curves of a fit: one column each (`train/loss`, ...), indexed by `images_seen`."""
    server = client(uri)
    prefixes = (names.QUALITY, names.FLOOR, names.COST, "progress/")
    curves = {
        name: {point.step: point.value for point in server.get_metric_history(run_id, name)}
        for name in sorted(server.get_run(run_id).data.metrics)
        if not name.startswith(prefixes)
    }
    return pd.DataFrame(curves).sort_index().rename_axis("images_seen")


def artifact(uri: str, run_id: str, name: str) -> Path:
    """A local, read-only copy of an artifact of a run that has ended; kept in the bounded scratch directory."""
    target = scratch.directory() / "artifacts" / run_id / name
    if not target.is_file():
        with scratch.arriving(target) as folder:
            Path(client(uri).download_artifacts(run_id, name, str(folder))).replace(target)
    scratch.touch(target)
    return target


def _runs(uri: str, experiment_name: str, kind: str) -> list[Run]:
    """All runs of one kind in an experiment, newest first; none where the experiment does not exist."""
    server = client(uri)
    experiment = server.get_experiment_by_name(experiment_name)
    if experiment is None:
        return []
    found: list[Run] = []
    token: str | None = None
    while True:
        page = server.search_runs(
            [experiment.experiment_id],
            f"tags.`{names.TAG_KIND}` = '{kind}'",
            max_results=PAGE,
            order_by=["attributes.start_time DESC"],
            page_token=token,
        )
        found += page
        token = page.token
        if not token:
            return found


def _one_of_each_key(runs: Sequence[Run]) -> list[Run]:
    """Of runs, newest first, the newest FINISHED one of each key, else the newest."""
    chosen: dict[str, Run] = {}
    for run in runs:
        key = run.data.tags.get(names.TAG_KEY, "")
        if key not in chosen or (run.info.status == "FINISHED" != chosen[key].info.status):
            chosen[key] = run
    return list(chosen.values())


def _trial_row(run: Run, study: str) -> dict[str, Any]:
    arm = {name: names.param_value(text) for name, text in run.data.params.items()}
    told = {
        "fit_run_id": names.TAG_FIT_RUN,
        "likelihood_kind": names.TAG_LIKELIHOOD,
        "interpolation": names.TAG_INTERPOLATION,
    }
    return _identity(run, study) | arm | _measured(run) | {c: run.data.tags.get(t) for c, t in told.items()}


def _identity(run: Run, study: str) -> dict[str, Any]:
    tags, info = run.data.tags, run.info
    return {
        "run_id": info.run_id,
        "key": tags.get(names.TAG_KEY),
        "study": study,
        "status": info.status,
        "reason": tags.get(names.TAG_REASON),
        "name": info.run_name,
        "started": _moment(info.start_time),
        "ended": _moment(info.end_time),
    }


def _measured(run: Run) -> dict[str, float]:
    row = {}
    for name, value in run.data.metrics.items():
        if name.startswith(names.QUALITY):
            row[names.unstored(name.removeprefix(names.QUALITY))] = value
        elif name.startswith(names.FLOOR):
            row["floor " + names.unstored(name.removeprefix(names.FLOOR))] = value
        else:
            row[name.removeprefix(names.COST)] = value
    return row


def _moment(milliseconds: int | None) -> pd.Timestamp:
    return pd.Timestamp(milliseconds, unit="ms", tz="UTC") if milliseconds else pd.NaT


def _frame(rows: list[dict[str, Any]], first: tuple[str, ...]) -> pd.DataFrame:
    """The rows with the columns `first` in front, present even where there is no row."""
    frame = pd.DataFrame(rows, columns=None if rows else list(first))
    return frame.reindex(columns=[*first, *(name for name in frame.columns if name not in first)])
