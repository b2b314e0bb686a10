"""A study as a user submits it: a real Ray head, a real MLflow server, stopped in the middle, submitted again."""

from __future__ import annotations

from collections import Counter

from live import Story, run

import studies
from pipelines import names, results

STUDY = "step_sweep"


def statuses(runs: list) -> Counter[str]:
    return Counter(run.info.status for run in runs)


def finished(runs: list) -> dict[str, str]:
    """The run of each finished stage, by key; an execution has none."""
    return {
        run.data.tags[names.TAG_KEY]: run.info.run_id
        for run in runs
        if run.info.status == "FINISHED" and names.TAG_KEY in run.data.tags
    }


def test_a_stopped_job_leaves_no_run_running_and_keeps_what_is_finished(smoke_story: Story) -> None:
    assert smoke_story.stopped == "STOPPED"
    seen = statuses(smoke_story.after_stop)
    assert seen["RUNNING"] == seen["FAILED"] == 0
    assert seen["FINISHED"] >= 2
    executions = [run for run in smoke_story.after_stop if run.data.tags.get(names.TAG_KIND) == "study"]
    assert [run.info.status for run in executions] == ["KILLED"]


def test_the_second_submission_goes_on_where_the_first_was(smoke_story: Story) -> None:
    assert smoke_story.second.returncode == 0, smoke_story.second.stdout
    before, after = finished(smoke_story.after_stop), finished(smoke_story.after_second)
    assert before.items() <= after.items()
    assert len(after) > len(before)
    seen = statuses(smoke_story.after_second)
    assert seen["RUNNING"] == seen["FAILED"] == 0
    assert seen["FINISHED"] == len(after) + 1  # each stage once, and this execution


def test_the_second_submission_ends_with_the_verdict(smoke_story: Story) -> None:
    for claim in studies.study(STUDY).claims:
        assert claim.text in smoke_story.second.stdout
    uri = smoke_story.stack.services["mlflow"].url
    decided = results.executions(uri, STUDY)
    assert set(decided["claim"].dropna()) == {claim.name for claim in studies.study(STUDY).claims}


def test_every_trial_is_a_row_with_its_measures_and_its_cost(smoke_story: Story) -> None:
    table = results.trials(smoke_story.stack.services["mlflow"].url, STUDY)
    table = table[table["status"] == "FINISHED"]
    study = studies.study(STUDY)
    network = table[table["panel"] == "network"]
    assert len(network) == len(study.smoke_arms) * network["seed"].nunique()
    assert (
        network[[study.primary, f"floor {study.primary}", "sample_seconds", "nfe_counted"]]
        .notna()
        .all(axis=None)
    )
    assert (network["nfe_counted"] <= network["nfe"]).all()


def test_a_third_execution_finds_everything_done(smoke_story: Story) -> None:
    third = smoke_story.stack.run("python", "-m", "pipelines.study", STUDY, "--scale", "smoke")
    assert third.returncode == 0, third.stdout
    assert ", 0 of them run, in " in third.stdout
    assert finished(smoke_story.stack.runs()) == finished(smoke_story.after_second)


def test_a_job_with_a_mistake_fails_in_one_line(smoke_story: Story) -> None:
    job = smoke_story.stack.run("ray", "job", "submit", "--", "python", "-m", "pipelines.study", "step_swep")
    assert job.returncode == 1
    assert "error: study: unknown name 'step_swep'. Did you mean 'step_sweep'?" in job.stdout
    assert "Traceback" not in job.stdout


def test_the_job_server_refuses_whoever_lacks_the_token(smoke_story: Story) -> None:
    known = smoke_story.stack.environment
    stranger = {name: value for name, value in known.items() if not name.startswith("RAY_AUTH")}
    asked = run(
        ["ray", "job", "list"],
        stranger | {"RAY_AUTH_MODE": "disabled"},
        cwd=smoke_story.stack.folder,
        seconds=60,
    )
    assert asked.returncode != 0
    assert "Authentication" in asked.stdout
