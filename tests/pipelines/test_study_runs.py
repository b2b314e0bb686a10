"""A whole study at smoke scale, in this process: what is stored, what a second execution does, what Ray changes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import studies
from pipelines import errors, fits, names, results, study, verdict
from pipelines.execute import RayExecutor, execute
from pipelines.plan import Plan, apply_cache, plan
from pipelines.progress import Progress
from pipelines.stage import Resources, Stage
from pipelines.tracking import Damaged, Tracking, done_from
from pipelines.work import Setting, run_stage
from workbench import expansion, training
from workbench.presets.common import continuous
from workbench.spec import (
    CheckpointSpec,
    DataSpec,
    FitSpec,
    SamplingSpec,
    Scale,
    Study,
    TrialSpec,
    with_fields,
)

NAME = "step_sweep"
COMMAND = [NAME, "--scale", "smoke", "--seeds", "0", "--executor", "inline"]


@pytest.fixture(scope="module")
def small() -> Iterator[Study]:
    """The study with the few arms that are quick: what is tested here does not depend on their number."""
    whole = studies.study(NAME)
    few = tuple(arm for arm in whole.smoke_arms if dict(arm)["sampling.nfe"] in (4, 8))[:3]
    short = dataclasses.replace(whole, smoke_arms=few, claims=(), preset="probed")

    def probed(data: DataSpec, scale: Scale) -> TrialSpec:
        return with_fields(continuous(data, scale), {"measures.probes": ("single_seconds",)})

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(expansion.PRESETS, "probed", probed)
        patch.setattr(studies, "study", lambda name: short)
        yield short


@pytest.fixture(scope="module")
def executed(uri: str, small: Study, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        patch.setenv("WORKBENCH_STATE", str(tmp_path_factory.mktemp("state")))
        assert study.main(COMMAND) == 0
        yield uri


def planned(uri: str, a_study: Study, seeds: tuple[int, ...] = (0,)) -> Plan:
    tracking = Tracking(uri)
    experiments = {name: tracking.experiment(name) for name in (names.FITS, a_study.name)}
    runs = tracking.runs(list(experiments.values()))
    finished = [run for run in runs if run.info.status == "FINISHED" and names.TAG_KEY in run.data.tags]
    pairs = ((run.data.tags, done_from(run)) for run in finished)
    return apply_cache(plan(a_study, DataSpec(), "smoke", seeds), pairs, experiments)


def test_every_trial_is_a_finished_row_with_measures_floors_and_cost(executed: str) -> None:
    table = results.trials(executed, NAME)
    network = table[table["panel"] == "network"]
    assert set(table["status"]) == {"FINISHED"}
    assert len(network) == 3
    wanted = ["frechet[cnn]", "floor frechet[cnn]", "kernel[random_conv]", "recognised", "copy_rate"]
    wanted += ["sample_seconds", "images_per_second", "nfe_counted", "parameters", "flops_per_evaluation"]
    wanted += [
        "single_seconds",
        "peak_memory_bytes",
        "fit_seconds",
        "threads",
        "concurrency",
        "gradient_variation",
    ]
    assert network[wanted].notna().all().all()
    assert (network["nfe_counted"] <= network["nfe"]).all()
    # A training image costs a forward pass and a backward one of twice that.
    source = continuous(DataSpec(), "smoke").source
    assert isinstance(source, FitSpec)
    images = source.budget.images_seen
    assert np.allclose(network["training_flops"], 3 * network["flops_per_evaluation"] * images)
    assert network["fit_run_id"].nunique() == 1
    oracle = table[table["panel"] == "oracle"]
    assert oracle[["endpoint_error", "sliced_wasserstein", "floor sliced_wasserstein"]].notna().all().all()


def test_rows_of_all_arms_start_from_one_noise_with_one_label(executed: str) -> None:
    table = results.trials(executed, NAME)
    starts, labels = [], []
    for run_id in table[table["panel"] == "network"]["run_id"]:
        with np.load(results.artifact(executed, run_id, "samples.npz")) as trajectory:
            starts.append(trajectory["x_t"][0])
            assert trajectory["time"][0] == 1.0
            assert trajectory["time"][-1] == 0.0
            frames = len(trajectory["time"])
            assert frames <= 12
            shapes = {trajectory[name].shape for name in ("x_t", "denoised", "forward")}
            assert shapes == {(frames, 8, 1, 8, 8)}
        with np.load(results.artifact(executed, run_id, "samples.npz")) as samples:
            labels.append(samples["labels"])
            assert samples["images"].shape == (64, 1, 8, 8)
            assert samples["images"].dtype == np.uint8
            assert np.array_equal(samples["images"][:8], trajectory_end(executed, run_id))
        shown = Tracking(executed).client.list_artifacts(run_id, "images")
        (picture,) = (info.path for info in shown if info.path.endswith(".png"))
        assert Image.open(results.artifact(executed, run_id, picture)).width > 400
    for start in starts[1:]:
        assert np.array_equal(start, starts[0])
    assert all(np.array_equal(each, np.arange(64) % 10) for each in labels)


def trajectory_end(uri: str, run_id: str) -> np.ndarray:
    with np.load(results.artifact(uri, run_id, "samples.npz")) as trajectory:
        end: np.ndarray = trajectory["x_t"][-1]
        return end


def test_a_second_execution_finds_everything_done(executed: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = len(results.trials(executed, NAME))
    assert study.main(COMMAND) == 0
    assert "everything is done" in capsys.readouterr().out
    assert len(results.trials(executed, NAME)) == before
    newest = results.executions(executed, NAME).iloc[0]["run_id"]
    kept = {info.path for info in Tracking(executed).client.list_artifacts(newest)}
    assert "plan.json" in kept
    assert "environment.json" not in kept  # its results are not from here


def test_an_execution_keeps_its_plan_environment_and_table(executed: str) -> None:
    execution = results.executions(executed, NAME).iloc[-1]
    assert execution["status"] == "FINISHED"
    for name in ("plan.json", "environment.json", "verdict.json", "trials.csv"):
        assert results.artifact(executed, execution["run_id"], name).stat().st_size > 0
    kept = pd.read_csv(results.artifact(executed, execution["run_id"], "trials.csv"))
    assert set(kept["run_id"]) <= set(results.trials(executed, NAME)["run_id"])


def test_a_deleted_run_is_run_again_and_gives_the_same(executed: str) -> None:
    before = results.trials(executed, NAME).set_index("key")
    key = before[before["panel"] == "network"].index[0]
    Tracking(executed).client.delete_run(before.loc[key, "run_id"])
    assert study.main(COMMAND) == 0
    after = results.trials(executed, NAME).set_index("key")
    assert after.loc[key, "run_id"] != before.loc[key, "run_id"]
    measures = [name for name in before.columns if "[" in name]
    pd.testing.assert_series_equal(after.loc[key, measures], before.loc[key, measures])


def test_stored_samples_are_measured_again_and_not_drawn(
    executed: str, small: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = next(s for s in planned(executed, small).stages if s.kind == "trial")
    assert isinstance(stage.spec, TrialSpec)
    done = planned(executed, small).done
    again = dataclasses.replace(stage, key="measured again", samples=done[stage.key])
    monkeypatch.setattr("pipelines.drawing.draw", lambda *_, **__: pytest.fail("drawn again"))
    tracking = Tracking(executed)
    execution = tracking.start(tracking.experiment("measured again"), "execution", {})
    inputs = {need: done[need] for need in stage.needs}
    outcome = run_stage(again, inputs, Setting(tracking_uri=executed, execution=execution))
    assert outcome.done is not None, outcome.details
    quality = {
        n: v for n, v in done[stage.key].metrics.items() if n.startswith((names.QUALITY, "cost/sample"))
    }
    assert {name: outcome.done.metrics[name] for name in quality} == pytest.approx(quality, rel=1e-6)
    tracking.client.delete_run(outcome.done.run_id)


def test_a_fit_that_was_cut_short_goes_on_from_its_checkpoint_to_the_same_weights(
    executed: str, small: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = next(s for s in planned(executed, small).stages if s.kind == "fit")
    whole = planned(executed, small).done[stage.key]
    tracking = Tracking(executed)
    again = dataclasses.replace(stage, key="fit again", experiment=tracking.experiment("fits again"))
    setting = Setting(tracking_uri=executed, execution="", checkpoint_seconds=0.0)

    def interrupt(self: fits.Uploads, progress: training.Progress) -> None:
        if progress.images_seen >= 1000:
            raise errors.Stopped(15)

    with monkeypatch.context() as patch:
        patch.setattr(fits.Uploads, "progress", interrupt)
        with pytest.raises(errors.Stopped):
            run_stage(again, {}, setting)
    (cut,) = tracking.runs([again.experiment])
    assert cut.info.status == "RUNNING"
    assert cut.data.tags[names.TAG_CHECKPOINT]

    def lose(self: Tracking, run_id: str, folder: Path) -> dict[str, str]:
        raise Damaged("reads back differently")

    with monkeypatch.context() as patch:
        patch.setattr(Tracking, "upload", lose)
        lost = run_stage(again, {}, dataclasses.replace(setting, checkpoint_seconds=600.0))
    assert lost.transient, (
        "trained to its end, but its weights could not be stored: the checkpoint is still needed"
    )
    outcome = run_stage(again, {}, setting)
    assert outcome.done is not None, outcome.details
    finished = tracking.client.get_run(outcome.done.run_id)
    assert finished.data.tags[names.TAG_CONTINUED] == cut.info.run_id
    assert outcome.done.artifacts["weights.safetensors"] == whole.artifacts["weights.safetensors"]
    kept = [info.path for info in tracking.client.list_artifacts(cut.info.run_id)]
    assert not any(name.startswith(fits.CHECKPOINT) for name in kept)
    twin = run_stage(again, {}, setting)  # another execution that did not know
    assert twin.done is not None
    assert twin.done.run_id == outcome.done.run_id


def test_a_fit_goes_on_from_its_checkpoint_of_the_plan_whose_state_is_then_deleted(
    executed: str, small: Study
) -> None:
    stage = next(s for s in planned(executed, small).stages if s.kind == "fit")
    whole = planned(executed, small).done[stage.key]
    tracking = Tracking(executed)
    experiment = tracking.experiment("fits going on")
    images, batch = stage.spec.budget.images_seen, stage.spec.budget.batch_size
    half = CheckpointSpec(images_seen=images // 2, batch_size=batch, whole_images=images)
    spec = dataclasses.replace(stage.spec, budget=half)
    early = dataclasses.replace(stage, key="early", spec=spec, experiment=experiment)
    later = dataclasses.replace(
        stage, key="later", needs=("early",), continues="early", experiment=experiment
    )
    setting = Setting(tracking_uri=executed, execution="")
    first = run_stage(early, {}, setting)
    assert first.done is not None, first.details
    assert "state.safetensors" in first.done.artifacts
    lost = dataclasses.replace(first.done, artifacts={})
    for state_is_there, done in ((True, first.done), (False, lost)):
        outcome = run_stage(later, {"early": done}, setting)
        assert outcome.done is not None, outcome.details
        run = tracking.client.get_run(outcome.done.run_id)
        assert (run.data.tags.get(names.TAG_CONTINUED) == first.done.run_id) == state_is_there
        assert outcome.done.artifacts["weights.safetensors"] == whole.artifacts["weights.safetensors"]
        kept = [info.path for info in tracking.client.list_artifacts(first.done.run_id)]
        assert "weights.safetensors" in kept and "state.safetensors" not in kept
        tracking.client.delete_run(outcome.done.run_id)


def test_a_trial_that_diverges_is_a_row_and_the_others_are_finished(
    executed: str, small: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipelines import drawing

    draw = drawing.draw

    def broken(model: object, dataset: object, spec: SamplingSpec, *rest: object, **named: object) -> object:
        if spec.sampler == small.smoke_arms[0][0][1]:
            raise errors.Aborted("made to fail")
        return draw(model, dataset, spec, *rest, **named)

    monkeypatch.setattr(drawing, "draw", broken)
    assert study.main([*COMMAND[:4], "1", *COMMAND[5:]]) == 1
    assert "stages failed; the first: made to fail" in capsys.readouterr().err
    table = results.trials(executed, NAME)
    rows = table[(table["seed"] == 1) & (table["panel"] == "network")]
    assert sorted(rows["status"]) == ["FAILED", "FINISHED", "FINISHED"]
    assert rows[rows["status"] == "FAILED"]["reason"].tolist() == ["made to fail"]
    monkeypatch.setattr(drawing, "draw", draw)
    assert study.main([*COMMAND[:4], "1", *COMMAND[5:]]) == 0
    table = results.trials(executed, NAME)
    assert set(table[table["seed"] == 1]["status"]) == {"FINISHED"}


def test_nothing_is_left_running(executed: str) -> None:
    tracking = Tracking(executed)
    experiments = [tracking.experiment(name) for name in (names.FITS, NAME)]
    assert {run.info.status for run in tracking.runs(experiments)} <= {"FINISHED", "FAILED", "KILLED"}


@pytest.fixture(scope="module")
def by_ray() -> Iterator[RayExecutor]:
    with pytest.MonkeyPatch.context() as patch:
        # Its workers find the bodies of these tests there.
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        executor = RayExecutor("local")
        yield executor
        executor.close()


def test_ray_gives_what_inline_gives(executed: str, small: Study, by_ray: RayExecutor) -> None:
    inline = planned(executed, small)
    tracking = Tracking(executed)
    elsewhere = tracking.experiment("the same by Ray")
    stages = tuple(dataclasses.replace(stage, experiment=elsewhere, samples=None) for stage in inline.stages)
    execution = tracking.start(elsewhere, "execution", {})
    setting = Setting(tracking_uri=executed, execution=execution, concurrency=by_ray.concurrency)
    listener = Progress(stages, {}, primary="frechet[cnn]", concurrency=by_ray.concurrency)
    ended = execute(Plan(stages=stages), by_ray, setting, listener)
    for stage in stages:
        one, other = inline.done[stage.key], ended[stage.key].done
        assert other is not None, ended[stage.key].details
        quality = {n: v for n, v in one.metrics.items() if n.startswith((names.QUALITY, names.FLOOR))}
        assert {name: other.metrics[name] for name in quality} == quality
        same = ("weights.safetensors", "samples.npz")
        assert {n: other.artifacts.get(n) for n in same} == {n: one.artifacts.get(n) for n in same}


def test_a_task_of_ray_has_a_thread_for_each_cpu_and_no_more_than_there_are(
    by_ray: RayExecutor, stage: Callable[..., Stage], setting: Setting
) -> None:
    for asked, given in ((1, 1), (10 * by_ray.concurrency, by_ray.concurrency)):
        one = dataclasses.replace(stage("counts_threads"), resources=Resources(cpus=asked))
        outcome = execute(
            Plan(stages=(one,)), by_ray, setting, Progress((one,), {}, primary="", concurrency=1)
        )[one.key]
        assert outcome.done is not None, outcome.details
        assert outcome.done.metrics["cost/threads"] == given


def test_a_study_without_claims_is_decided_on_nothing(executed: str, small: Study) -> None:
    assert verdict.decide(small, results.trials(executed, NAME)) == []
