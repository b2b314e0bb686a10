"""The loop over stages: order, failures, attempts, ends. No MLflow: the executor is made up."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from pipelines import errors, execute
from pipelines.plan import Plan
from pipelines.stage import Done, Stage
from pipelines.work import Outcome, Setting
from workbench.registry import UserError

SETTING = Setting(tracking_uri="nowhere", execution="")


def stage(key: str, *needs: str, work: float = 1.0) -> Stage:
    return Stage(kind="trial", body="", key=key, name=key, spec=None, experiment="", needs=needs, work=work)


class Scripted:
    """Ends one stage a call, the first submitted first; `script` tells how the attempts of a stage end."""

    concurrency, memory, description = 1, 8 << 30, "made up"

    def __init__(self, script: Mapping[str, list[Outcome]] | None = None, slots: int = 2) -> None:
        self.slots = slots
        self.script = {key: list(outcomes) for key, outcomes in (script or {}).items()}
        self.queue: list[Stage] = []
        self.submitted: list[str] = []
        self.inputs: dict[str, Mapping[str, Done]] = {}
        self.most = 0

    def submit(self, stage: Stage, inputs: Mapping[str, Done], setting: Setting) -> None:
        self.queue.append(stage)
        self.submitted.append(stage.key)
        self.inputs[stage.key] = inputs
        self.most = max(self.most, len(self.queue))

    def outcomes(self) -> list[Outcome]:
        key = self.queue.pop(0).key
        planned = self.script.get(key)
        return [planned.pop(0) if planned else done(key)]

    def cancel(self) -> None: ...

    def close(self) -> None: ...


def test_what_fits_nowhere_starts_nothing() -> None:
    plan = Plan(stages=(stage("a"), stage("b")))
    execute.require_memory(plan, {"a": 7 << 30}, Scripted())
    with pytest.raises(
        UserError, match=r"b: its training takes about 9\.0 GiB, the largest place has 8\.0 GiB"
    ):
        execute.require_memory(plan, {"b": 9 << 30}, Scripted())


class Silent:
    def started(self, stage: Stage) -> None: ...

    def ended(self, stage: Stage, outcome: Outcome) -> None: ...

    def passed(self) -> None: ...


def done(key: str) -> Outcome:
    return Outcome(key=key, status="FINISHED", done=Done(f"run of {key}", {}, {}))


def failed(key: str, *, transient: bool = False, fatal: bool = False, untold: bool = False) -> Outcome:
    return Outcome(key=key, status="FAILED", reason="broken", transient=transient, fatal=fatal, untold=untold)


def run(plan: Plan, executor: Scripted) -> dict[str, Outcome]:
    return execute.execute(plan, executor, SETTING, Silent())


@pytest.fixture(autouse=True)
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    rows: list[str] = []
    monkeypatch.setattr(execute, "record_failure", lambda stage, setting, reason: rows.append(stage.key))
    monkeypatch.setattr(execute, "end_attempt", lambda stage, setting, reason: None)
    return rows


def test_a_stage_starts_after_what_it_needs_and_is_given_it() -> None:
    executor = Scripted()
    run(Plan(stages=(stage("fit"), stage("other"), stage("trial", "fit", "other"))), executor)
    assert executor.submitted[-1] == "trial"
    assert executor.inputs["trial"] == {key: Done(f"run of {key}", {}, {}) for key in ("fit", "other")}


def test_cached_stages_are_not_run_and_are_given_to_those_that_need_them() -> None:
    executor = Scripted()
    cached = Done("old run", {}, {})
    run(Plan(stages=(stage("fit"), stage("trial", "fit")), done={"fit": cached}), executor)
    assert executor.submitted == ["trial"]
    assert executor.inputs["trial"] == {"fit": cached}


def test_what_the_longest_chain_hangs_on_goes_first() -> None:
    executor = Scripted(slots=1)
    run(Plan(stages=(stage("short", work=3), stage("fit", work=2), stage("long", "fit", work=9))), executor)
    assert executor.submitted == ["fit", "long", "short"]


def test_no_more_are_submitted_than_there_are_slots() -> None:
    executor = Scripted(slots=3)
    run(Plan(stages=tuple(stage(str(number)) for number in range(20))), executor)
    assert executor.most == 3
    assert len(executor.submitted) == 20


def test_a_failure_fails_those_that_need_it_and_no_others(recorded: list[str]) -> None:
    stages = (stage("bad"), stage("user", "bad"), stage("user of user", "user"), stage("good"))
    outcomes = run(Plan(stages=stages), Scripted({"bad": [failed("bad")]}))
    assert {key for key, outcome in outcomes.items() if outcome.done is None} == {
        "bad",
        "user",
        "user of user",
    }
    assert recorded == ["user", "user of user"]
    assert outcomes["user"].reason == "needs 'bad', which failed: broken"


def test_a_stage_that_needs_two_failures_fails_once(recorded: list[str]) -> None:
    script = {key: [failed(key)] for key in ("a", "b")}
    outcomes = run(Plan(stages=(stage("a"), stage("b"), stage("both", "a", "b"))), Scripted(script))
    assert recorded == ["both"]
    assert len(outcomes) == 3


def test_transient_failures_are_tried_again_and_others_are_not() -> None:
    script = {"flaky": [failed("flaky", transient=True)] * 2, "wrong": [failed("wrong")]}
    executor = Scripted(script)
    outcomes = run(Plan(stages=(stage("flaky"), stage("wrong"))), executor)
    assert executor.submitted.count("flaky") == 3
    assert executor.submitted.count("wrong") == 1
    assert outcomes["flaky"].done is not None


@pytest.mark.parametrize("untold", [False, True])
def test_attempts_end_and_a_stage_that_told_nothing_is_a_row(untold: bool, recorded: list[str]) -> None:
    executor = Scripted({"flaky": [failed("flaky", transient=True, untold=untold)] * 9})
    outcomes = run(Plan(stages=(stage("flaky"),)), executor)
    assert executor.submitted.count("flaky") == execute.ATTEMPTS
    assert outcomes["flaky"].status == "FAILED"
    assert recorded == ["flaky"] * untold


def test_a_failure_of_its_own_that_could_not_be_told_is_a_row_too(recorded: list[str]) -> None:
    executor = Scripted({"wrong": [failed("wrong", untold=True)]})
    run(Plan(stages=(stage("wrong"),)), executor)
    assert executor.submitted == recorded == ["wrong"]


def test_after_a_fatal_failure_nothing_more_is_started() -> None:
    executor = Scripted({"full": [failed("full", fatal=True)]}, slots=1)
    plan = Plan(stages=(stage("full", work=9), stage("next")))
    with pytest.raises(errors.Aborted, match="broken"):
        run(plan, executor)
    assert executor.submitted == ["full"]
