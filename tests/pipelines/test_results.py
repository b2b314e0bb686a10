"""From MLflow's runs to tidy rows."""

from __future__ import annotations

import itertools
import math

import pandas as pd
import pytest

import studies
from pipelines import lifetime, names, results
from pipelines.plan import Plan, plan
from pipelines.tracking import Tracking
from pipelines.work import stage_tags
from workbench.spec import DataSpec

_numbers = itertools.count()
SWEEP = studies.study("step_sweep")


@pytest.mark.parametrize("measure", ["frechet[cnn]", "kernel[random_conv]", "copy_rate"])
def test_names_of_measures_come_back(measure: str) -> None:
    assert names.unstored(names.stored(measure)) == measure
    assert not set("[]") & set(names.stored(measure))


@pytest.mark.parametrize("value", [None, True, False, 0, 7, 1e-3, -2.5, "ddim", "uniform_t"])
def test_parameters_come_back(value: object) -> None:
    back = names.param_value(names.param_text(value))
    assert back == value
    assert type(back) is type(value)


def test_columns_of_fields() -> None:
    assert names.column_of("sampling.nfe") == "nfe"
    assert names.column_of("source.model.schedule.timesteps") == "timesteps"
    assert names.column_of("source.model.schedule.name") == "schedule_name"
    assert names.column_of("sampling.seed") == "sampling_seed"


@pytest.fixture
def study(tracking: Tracking) -> str:
    name = f"study {next(_numbers)}"
    tracking.experiment(name, "a question")
    return name


def add(tracking: Tracking, study: str, key: str, status: str, value: float, **tags: str) -> str:
    own = {names.TAG_KEY: key, names.TAG_KIND: "trial"} | {f"workbench.{k}": v for k, v in tags.items()}
    run_id = tracking.start(tracking.experiment(study), f"run of {key}", own)
    params = {
        "data": "digits",
        "scale": "smoke",
        "panel": "network",
        "seed": "1",
        "nfe": "10",
        "clip": "false",
    }
    tracking.log(
        run_id,
        params=params,
        metrics={"quality/frechet.cnn": value, "floor/frechet.cnn": 0.5, "cost/nfe_counted": 9},
    )
    if status != "RUNNING":
        tracking.end(run_id, status, "" if status == "FINISHED" else "for a reason")
    return run_id


def test_a_row_has_typed_columns(tracking: Tracking, study: str) -> None:
    run_id = add(tracking, study, "a", "FINISHED", 3.0)
    (row,) = results.trials(tracking.uri, study).to_dict("records")
    expected = {
        "run_id": run_id,
        "status": "FINISHED",
        "seed": 1,
        "nfe": 10,
        "clip": False,
        "nfe_counted": 9.0,
    }
    assert {name: row[name] for name in expected} == expected
    assert row["frechet[cnn]"] == 3.0
    assert row["floor frechet[cnn]"] == 0.5
    assert row["started"].tzinfo is not None


def test_the_newest_finished_run_of_a_key_is_its_row(tracking: Tracking, study: str) -> None:
    add(tracking, study, "a", "FINISHED", 1.0)
    add(tracking, study, "a", "FINISHED", 2.0)
    add(tracking, study, "a", "FAILED", 3.0)
    add(tracking, study, "b", "FAILED", 4.0)
    table = results.trials(tracking.uri, study).set_index("key")
    assert table.loc["a", "frechet[cnn]"] == 2.0
    assert table.loc["b", "status"] == "FAILED"
    assert table.loc["b", "reason"] == "for a reason"


def test_a_fit_is_one_row_but_for_runs_that_are_named(tracking: Tracking) -> None:
    name = tracking.experiment(names.FITS)
    runs = []
    for seconds in (1.0, 2.0):
        runs.append(tracking.start(name, "a fit", {names.TAG_KEY: "twice", names.TAG_KIND: "fit"}))
        tracking.log(runs[-1], metrics={"cost/fit_seconds": seconds})
    for run_id in runs:
        tracking.end(run_id, "FINISHED")
    table = results.fits(tracking.uri)
    assert table[table["key"] == "twice"]["fit_seconds"].tolist() == [2.0]
    named = results.fits(tracking.uri, runs[:1])
    assert named["run_id"].tolist() == runs[:1] and named["fit_seconds"].tolist() == [1.0]
    assert results.fits(tracking.uri, []).empty


def test_superseded_rows_are_left_out(tracking: Tracking, study: str) -> None:
    add(tracking, study, "old", "FINISHED", 1.0, superseded="yes")
    add(tracking, study, "new", "FINISHED", 2.0, superseded="")
    assert results.trials(tracking.uri, study)["key"].tolist() == ["new"]


def test_an_empty_study_has_all_columns_and_no_rows(tracking: Tracking, study: str) -> None:
    for table, columns in (
        (results.trials(tracking.uri, study), results.TRIAL),
        (results.trials(tracking.uri, "never run"), results.TRIAL),
        (results.executions(tracking.uri, study), (*results.EXECUTION, *results.DECISION)),
    ):
        assert table.empty
        assert list(table.columns) == list(columns)


def test_executions_have_a_row_for_each_claim(tracking: Tracking, study: str) -> None:
    run_id = tracking.start(tracking.experiment(study), "execution", lifetime.execution_tags())
    verdict = '[{"claim": "a", "answer": "supported", "estimate": 1.5, "low": 1, "high": 2, "seeds": 3, "reason": ""}]'
    tracking.log(run_id, params={"seeds": "0 1 2", "data": "digits"}, tags={names.TAG_VERDICT: verdict})
    tracking.start(tracking.experiment(study), "still planning", lifetime.execution_tags())
    table = results.executions(tracking.uri, study)
    assert table["claim"].tolist()[1] == "a"
    assert pd.isna(table["claim"][0])
    assert table["seeds"][1] == "0 1 2"
    assert table["verdict_seeds"][1] == 3


def test_studies_are_listed_and_fits_are_none(tracking: Tracking, study: str) -> None:
    tracking.experiment(names.FITS)
    listed = results.studies(tracking.uri).set_index("study")
    assert listed.loc[study, "note"] == "a question"
    assert names.FITS not in listed.index


def test_curves_are_indexed_by_images_seen(tracking: Tracking, experiment: str) -> None:
    run_id = tracking.start(experiment, "fit", {})
    points = [("train/loss", 20, 0.5), ("train/loss", 10, 1.0), ("validation/loss", 20, 0.75)]
    tracking.log(run_id, metrics={"cost/fit_seconds": 1.0}, curves=points)
    curves = results.learning_curve(tracking.uri, run_id)
    assert curves.index.tolist() == [10, 20]
    assert curves["train/loss"].tolist() == [1.0, 0.5]
    assert math.isnan(curves["validation/loss"][10])


def filled(tracking: Tracking, study: str, a_plan: Plan) -> None:
    for stage in a_plan.stages:
        if stage.kind == "trial":
            run_id = tracking.start(tracking.experiment(study), stage.name, stage_tags(stage, "none"))
            tracking.log(run_id, params=dict(stage.params))
            tracking.end(run_id, "FINISHED")


def test_rows_that_a_changed_study_no_longer_asks_for_are_marked_and_unmarked(
    tracking: Tracking, study: str
) -> None:
    from dataclasses import replace

    experiment = tracking.experiment(study)
    whole = plan(
        replace(SWEEP, name=study, oracle=None, smoke_arms=SWEEP.smoke_arms[:3]), DataSpec(), "smoke", (0, 1)
    )
    whole = Plan(stages=tuple(replace(s, experiment=experiment) for s in whole.stages))
    filled(tracking, study, whole)
    gone = dict(next(s for s in whole.stages if s.kind == "trial").tags)[names.TAG_GENERATION]
    fewer = Plan(stages=tuple(s for s in whole.stages if dict(s.tags).get(names.TAG_GENERATION) != gone))
    tracking.mark_superseded(tracking.runs([experiment]), fewer)
    assert len(results.trials(tracking.uri, study)) == 4
    tracking.mark_superseded(tracking.runs([experiment]), whole)
    assert len(results.trials(tracking.uri, study)) == 6
