"""What an execution tells of its way, and of the time left."""

from __future__ import annotations

import io

import pytest

from pipelines.progress import FAILURES_TOLD, Progress, duration
from pipelines.stage import Done, Resources, Stage
from pipelines.work import Outcome


def stage(key: str, *, kind: str = "trial", cpus: int = 1) -> Stage:
    resources = Resources(cpus=cpus)
    return Stage(kind=kind, body=kind, key=key, name=key, spec=None, experiment="", resources=resources)


def ended(key: str, seconds: float) -> Outcome:
    done = Done("run", {}, {"quality/frechet.cnn": 1.25})
    return Outcome(key=key, status="FINISHED", done=done, seconds=seconds)


def progress(
    stages: list[Stage], estimates: dict[str, float], concurrency: int = 2
) -> tuple[Progress, io.StringIO]:
    stream = io.StringIO()
    shown = Progress(stages, estimates, primary="frechet[cnn]", concurrency=concurrency, stream=stream)
    return shown, stream


def test_work_is_shared_by_the_cpus() -> None:
    stages = [stage(str(number)) for number in range(10)]
    shown, _ = progress(stages, {s.key: 4.0 for s in stages})
    assert shown.seconds_left() == pytest.approx(20)


def test_no_less_is_left_than_the_longest_stage_takes() -> None:
    shown, _ = progress([stage("long"), stage("short")], {"long": 50.0, "short": 1.0})
    assert shown.seconds_left() == pytest.approx(50)


def test_a_stage_that_takes_all_cpus_is_counted_with_all() -> None:
    stages = [stage("a", cpus=2), stage("b", cpus=2)]
    shown, _ = progress(stages, {"a": 10.0, "b": 10.0})
    assert shown.seconds_left() == pytest.approx(20)


def test_the_estimate_follows_what_is_measured_of_stages_that_do_the_same() -> None:
    stages = [stage(str(number)) for number in range(110)] + [stage("fit", kind="fit")]
    shown, _ = progress(stages, {s.key: 100.0 for s in stages}, concurrency=1)
    for each in stages[:100]:
        shown.ended(each, ended(each.key, 300.0))
    assert shown.seconds_left() == pytest.approx(10 * 300 + 100, rel=1e-3)


def test_a_short_stage_that_took_longer_says_little_of_long_ones() -> None:
    stages = [stage("short"), stage("long")]
    shown, _ = progress(stages, {"short": 0.4, "long": 100.0}, concurrency=1)
    shown.ended(stages[0], ended("short", 2.0))
    assert 100 < shown.seconds_left() < 150


def test_what_is_at_work_has_less_left_with_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    monkeypatch.setattr("pipelines.progress.time.monotonic", lambda: now)
    stages = [stage("a", cpus=2), stage("b", cpus=2)]
    shown, _ = progress(stages, {"a": 100.0, "b": 100.0})
    for each in stages:
        shown.started(each)
    now += 30
    assert shown.seconds_left() == pytest.approx(170)
    shown.ended(stages[0], Outcome(key="a", status="FAILED", reason="broken"))
    now += 30
    assert shown.seconds_left() == pytest.approx(70)


def test_fits_are_told_and_few_of_many_failures() -> None:
    stages = [stage(f"bad {number}") for number in range(20)]
    shown, stream = progress([*stages, stage("net", kind="fit")], {})
    shown.ended(stage("net", kind="fit"), ended("net", 61))
    for each in stages:
        shown.ended(each, Outcome(key=each.key, status="FAILED", reason="broken"))
    lines = stream.getvalue().splitlines()
    assert "trained net in 1 min 1 s" in lines[0]
    assert sum("FAILED" in line for line in lines) == FAILURES_TOLD


def test_only_what_has_cpus_is_told_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.progress.LINE_SECONDS", 0.0)
    stages = [stage("a", cpus=2), stage("b", cpus=2), stage("c")]
    shown, stream = progress(stages, {})
    for each in stages:
        shown.started(each)
    shown.passed()
    shown.ended(stages[0], Outcome(key="a", status="FAILED", reason="broken"))
    shown.ended(stages[1], Outcome(key="b", status="FAILED", reason="broken"))
    shown.passed()
    running = [line.partition("running ")[2] for line in stream.getvalue().splitlines() if "running" in line]
    assert running == ["a", "c"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (42.4, "42 s"), (200, "3 min 20 s"), (4500, "1 h 15 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
