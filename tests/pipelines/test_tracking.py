"""What is said to MLflow: runs end FINISHED with whole artifacts or not at all."""

from __future__ import annotations

import concurrent.futures
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from bodies import errors

from pipelines import lifetime, names
from pipelines.stage import Stage
from pipelines.tracking import Damaged, Tracking, digest_of, done_from, require_server
from pipelines.work import Setting, run_stage
from workbench.registry import UserError

MakeStage = Callable[..., Stage]


def test_a_finished_run_holds_metrics_curves_parameters_and_digests(
    tracking: Tracking, setting: Setting, stage: MakeStage
) -> None:
    outcome = run_stage(stage("writes", "a"), {}, setting)
    assert outcome.done is not None
    run = tracking.client.get_run(outcome.done.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["quality/value"] == 2.0
    assert run.data.params["name"] == "a"
    points = tracking.client.get_metric_history(run.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in points] == [(10, 0.5), (20, 0.25)]
    assert done_from(run).artifacts == outcome.done.artifacts
    path = tracking.fetch(run.info.run_id, "result.txt", outcome.done.artifacts["result.txt"])
    assert path.read_text() == "of a, from []"


def test_artifacts_that_read_back_differently_leave_no_finished_run(
    tracking: Tracking, setting: Setting, stage: MakeStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tracking, "_digest_stored", lambda *_: "0" * 64)
    outcome = run_stage(stage("writes", "torn"), {}, setting)
    assert outcome.status == "FAILED"
    assert outcome.transient
    found = list(tracking.search([stage("writes").experiment], f"tags.`{names.TAG_KEY}` = 'torn'"))
    assert [run.info.status for run in found] == ["FAILED"]


def test_a_changed_artifact_is_noticed_when_it_is_fetched(
    tracking: Tracking, setting: Setting, stage: MakeStage, tmp_path: Path
) -> None:
    outcome = run_stage(stage("writes"), {}, setting)
    assert outcome.done is not None
    (tmp_path / "result.txt").write_text("something else")
    tracking.upload(outcome.done.run_id, tmp_path)
    with pytest.raises(Damaged):
        tracking.fetch(outcome.done.run_id, "result.txt", outcome.done.artifacts["result.txt"])


def test_a_failure_becomes_a_row_with_its_reason_and_parameters(
    tracking: Tracking, setting: Setting, stage: MakeStage
) -> None:
    made = stage("diverges", "nan")
    outcome = run_stage(made, {}, setting)
    assert (outcome.status, outcome.transient, outcome.fatal) == ("FAILED", False, False)
    (run,) = tracking.search([made.experiment], f"tags.`{names.TAG_KEY}` = 'nan'")
    assert run.info.status == "FAILED"
    assert run.data.tags[names.TAG_REASON] == "the loss became [nan] after 100 images (seed 0)"
    assert run.data.params == {"name": "nan"}


def test_a_full_disk_is_fatal_and_damage_is_transient(setting: Setting, stage: MakeStage) -> None:
    full = run_stage(stage("fills_disk"), {}, setting)
    assert full.fatal and "disk is full" in full.reason
    assert run_stage(stage("is_damaged"), {}, setting).transient


def test_a_stage_that_is_stopped_leaves_nothing_finished_and_then_nothing_running(
    tracking: Tracking, setting: Setting, stage: MakeStage
) -> None:
    made = stage("is_stopped", "stopped")
    with pytest.raises(errors.Stopped):
        run_stage(made, {}, setting)
    assert [run.info.status for run in tracking.runs([made.experiment])] == ["RUNNING", "RUNNING"]
    lifetime.end_all(tracking, [made.experiment], setting.execution, "KILLED", "stopped by the user")
    runs = tracking.runs([made.experiment])
    assert {run.info.status for run in runs} == {"KILLED"}
    assert {run.data.tags[names.TAG_REASON] for run in runs} == {"stopped by the user"}


def test_runs_of_a_dead_execution_are_ended_and_those_of_a_living_one_are_not(
    tracking: Tracking, experiment: str
) -> None:
    living = tracking.start(experiment, "living", lifetime.execution_tags())
    dead_tags = lifetime.execution_tags() | {names.TAG_PROCESS: json.dumps(["elsewhere", 1, "x"])}
    dead = tracking.start(experiment, "dead", dead_tags | {names.TAG_HEARTBEAT: "1000"})
    for execution in (living, dead):
        tracking.start(experiment, "trial", {names.TAG_KIND: "trial", names.TAG_EXECUTION: execution})
    assert lifetime.end_abandoned(tracking, tracking.runs([experiment])) == 2
    states = {}
    for run in tracking.runs([experiment]):
        states[run.data.tags.get(names.TAG_EXECUTION, run.info.run_id), run.info.run_name] = run.info.status
    assert states == {
        (living, "living"): "RUNNING",
        (living, "trial"): "RUNNING",
        (dead, "dead"): "KILLED",
        (dead, "trial"): "KILLED",
    }


def test_a_process_of_this_machine_is_known_dead_at_once_however_young_its_heartbeat(
    tracking: Tracking, experiment: str
) -> None:
    tags = lifetime.execution_tags()
    host, pid, start = json.loads(tags[names.TAG_PROCESS])
    run_id = tracking.start(
        experiment, "reborn", tags | {names.TAG_PROCESS: json.dumps([host, pid, start + "0"])}
    )
    if start:  # told by Linux alone
        assert not lifetime.is_alive(tracking.client.get_run(run_id))


def test_many_at_once_make_one_experiment(uri: str) -> None:
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        ids = set(pool.map(lambda _: Tracking(uri).experiment("raced for", "note"), range(6)))
    assert len(ids) == 1
    found = Tracking(uri).client.get_experiment(ids.pop())
    assert found.tags[names.TAG_NOTE] == "note"


def test_infinite_values_are_left_out(tracking: Tracking, experiment: str) -> None:
    run_id = tracking.start(experiment, "diverged", {})
    tracking.log(run_id, metrics={"a": float("inf"), "b": float("nan"), "c": 1.0})
    assert tracking.client.get_run(run_id).data.metrics == {"c": 1.0}


def test_more_than_one_request_may_hold_is_logged_whole(tracking: Tracking, experiment: str) -> None:
    run_id = tracking.start(experiment, "large", {})
    tracking.log(
        run_id,
        metrics={f"m{i}": float(i) for i in range(2_100)},
        params={f"p{i}": str(i) for i in range(150)},
        tags={"t": "x"},
    )
    data = tracking.client.get_run(run_id).data
    assert len(data.metrics) == 2_100
    assert len(data.params) == 150
    assert data.tags["t"] == "x"


def test_a_server_that_does_not_answer_is_told_in_one_line() -> None:
    with pytest.raises(UserError, match="no MLflow server answers"):
        require_server("http://127.0.0.1:9")
    with pytest.raises(UserError, match="http address"):
        require_server("sqlite:///here.db")


def test_digest_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert digest_of(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
