"""What benchmarks rest on: cases timed in turn, rates from counted operations, a table that says how it was made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import studies
from benchmarks import execution_on, last_layer, limit, memory, peers, rates, timing
from benchmarks.judges import JUDGES, Judges
from benchmarks.peers import compared, planned
from benchmarks.report import Report, Row, markdown
from benchmarks.train import default_fit, flops_per_image
from workbench.data import load
from workbench.execution import Execution
from workbench.expansion import expand
from workbench.nn import BACKBONES, backbone
from workbench.presets.common import SOLVER
from workbench.registry import UserError
from workbench.spec import BackboneSpec, DataSpec, FitSpec, TrialSpec, VAESpec, with_fields


def test_cases_are_timed_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "LEAST_SECONDS", 0.0)
    calls: list[str] = []
    found = timing.interleaved({name: lambda name=name: calls.append(name) for name in "ab"}, rounds=3)
    assert "".join(calls[-6:]) == "ababab"
    assert all(one.least <= one.median <= one.most for one in found.values())


def test_fewer_threads_or_rounds_than_can_be_are_told() -> None:
    with pytest.raises(UserError, match="threads: -3 given"):
        execution_on(-3)
    with pytest.raises(UserError, match="rounds: 0 given"):
        timing.interleaved({"a": int}, rounds=0)


def test_a_pass_backward_computes_both_gradients() -> None:
    x, w = (torch.randn(3, 3, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    calls = limit._calls(lambda x, w: x @ w, x, w)
    gradients = calls["forward and backward"]()
    upstream = x @ w
    torch.testing.assert_close(gradients, (upstream @ w.T, x.T @ upstream))


def test_operations_of_training_grow_as_the_network_says() -> None:
    """Without attention the products are convolutions, linear in the number of pixels, and a few dense layers."""
    fit = with_fields(default_fit(), {"model.backbone.attention": (False, False)})
    small, large = (flops_per_image(fit, side)[0] for side in (8, 16))
    assert 3.5 < large / small <= 4


def test_a_report_says_what_where_and_how(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(name="some", title="Some", how="In turn.", rows=[{"case": "a", "images/s": 1234.5}])
    report.publish(tmp_path)
    text = (tmp_path / "some.md").read_text()
    assert text in capsys.readouterr().out
    assert "| case | images/s |\n| :-- | --: |\n| a | 1,234 |" in text
    assert "python -m benchmarks.some" in text
    assert json.loads((tmp_path / "some.json").read_text())["rows"] == report.rows


def test_memory_is_timed_on_the_judge_and_every_backbone() -> None:
    cases = memory.cases(Execution())
    assert {name for name in cases if "evaluation" in name} == {
        f"{name}, an evaluation" for name in BACKBONES
    }
    rows, call = cases["dit, a training step"]
    assert rows == memory.TRAINED_ROWS
    call()
    with pytest.raises(UserError, match="rounds: 0 given"):
        memory.check(memory.Arguments(rounds=0))


def test_numbers_are_shown_to_three_digits() -> None:
    assert markdown([{"n": 0.012345}, {"n": 12345}]).splitlines()[2:] == ["| 0.0123 |", "| 12,345 |"]


def test_peers_are_compared_by_the_best_of_them() -> None:
    def row(name: str, seconds: float, distance: float, speed: float) -> Row:
        return {
            "network": name,
            "training seconds": seconds,
            "images seen": 1,
            "frechet[cnn]": distance,
            "images/s drawn": speed,
        }

    ours, others = (
        row("workbench", 480.0, 2.0, 90.0),
        [row("a", 480.0, 40.0, 9.0), row("b", 480.0, 30.0, 3.0)],
    )
    quality, speed = compared([ours, *others])
    assert "the best peer, b, after 480 s is 15 times the workbench's after 480 s" in quality
    assert "10 times those of the fastest peer, a" in speed
    assert compared([ours]) == compared(others) == []


def test_a_contender_that_is_not_there_is_told_before_anything_is_trained() -> None:
    assert len(planned(peers.Arguments(only=("workbench",)))) == 2
    some = [one.name for one, _ in planned(peers.Arguments(only=("workbench", "0.001")))]
    assert some == ["workbench", "diffusers, autocast, rate 0.001", "workbench"]
    with pytest.raises(
        UserError, match=r"only: 'worbench' given; contenders are workbench; diffusers, float32"
    ):
        planned(peers.Arguments(only=("diffusers", "worbench")))


@pytest.mark.parametrize("data", ["digits", "fashion_mnist"])
def test_a_network_is_found_by_any_of_its_arms_and_tried_for_its_longest_training(data: str) -> None:
    study = studies.study("backbones")
    known = rates.candidates(study, DataSpec(name=data), "standard", 9)
    assert sorted(arm for one in known for arm in one.arms) == sorted(study.arms)
    for one in known:
        for arm in one.arms:
            (trial,) = expand(replace(study, arms=(arm,)), DataSpec(name=data), "standard", [9])
            assert isinstance(trial.spec, TrialSpec) and isinstance(trial.spec.source, FitSpec)
            assert trial.spec.source.model == one.fit.model
            assert trial.spec.source.budget.images_seen <= one.fit.budget.images_seen
            assert arm != one.arms[0] or trial.spec.source.budget == one.fit.budget


def test_every_network_of_a_study_is_tried_once() -> None:
    study = studies.study("backbones")
    known = rates.candidates(study, DataSpec(), "quick", 9)
    fits = [one.fit for one in known]
    networks = {(fit.model, fit.optimiser) for fit in fits}
    # Six backbones at equal parameters and at three sizes of equal FLOPs: two are in two of these the same, and of the
    # ConvNet the largest is that of equal parameters.
    assert len(networks) == len(fits) == 21
    assert all(fit.seed == 9 for fit in fits)
    fit = fits[0]
    trial = rates.tried(fit, share=0.25, batch_size=32, rate=1e-3)
    assert (trial.budget.images_seen, trial.budget.batch_size) == (fit.budget.images_seen // 4, 32)
    assert trial.optimiser.learning_rate == 1e-3
    assert trial.ema_halflife_images == pytest.approx(fit.ema_halflife_images / 4, abs=1)
    assert rates.tried(fit, share=1.0, batch_size=0, rate=fit.optimiser.learning_rate) == fit


def test_rates_are_multiples_of_the_presets_or_the_same_for_all() -> None:
    fits = [one.fit for one in rates.candidates(studies.study("backbones"), DataSpec(), "quick", 9)]
    multiples = rates.Arguments(study="backbones", factors=(2.0, 0.5))
    alike = rates.Arguments(study="backbones", rates=(4e-3, 1e-3, 1e-3))
    for fit in fits:
        own = fit.optimiser.learning_rate
        assert rates.rates_of(fit, multiples) == [0.5 * own, 2.0 * own]
        assert rates.rates_of(fit, alike) == [1e-3, 4e-3]


def test_a_batch_size_of_half_the_speed_sees_half_the_images_at_equal_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def timed(cases: Mapping[str, object], *, rounds: int) -> dict[str, timing.Seconds]:
        return {name: timing.Seconds(1.0, 1.0, 1.0) for name in cases}  # a step of any size is as long

    monkeypatch.setattr(rates, "interleaved", timed)
    fit = rates.candidates(studies.study("backbones"), DataSpec(), "quick", 9)[0].fit
    own = fit.budget.batch_size
    found = [rates.relative_speed(fit, size, load(DataSpec()), Execution()) for size in (own // 2, own, 0)]
    assert found == [0.5, 1.0, 1.0]


def test_a_last_layer_starts_at_zero_while_it_is_asked_for() -> None:
    def says_something() -> bool:
        net = backbone(BackboneSpec(), event_shape=(1, 8, 8), outputs=1, classes=0)
        return bool(net(torch.ones(1, 1, 8, 8), torch.zeros(1)).any())

    with last_layer.started("zero"):
        assert not says_something()
    with last_layer.started("as others"):
        assert says_something()
    assert says_something()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"share": 1.5}, "share: 1.5 given"),
        ({"seeds": 0}, "seeds: 0 given; a whole number from 1"),
        ({"rows": 1}, "rows: 1 given"),
        ({"judge_images": 0}, "judge-images: 0 given"),
    ],
)
def test_a_last_layer_that_cannot_be_tried_is_told(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        last_layer.check(last_layer.Arguments(**wrong))


def test_the_fits_of_a_last_layer_differ_in_their_seeds_alone() -> None:
    fits = last_layer.fits_of("dit", DataSpec(), "quick", last_layer.Arguments(share=0.5, seeds=2))
    assert [fit.seed for fit in fits] == [9, 10]
    assert replace(fits[1], seed=9) == fits[0]
    with pytest.raises(UserError, match="only"):
        last_layer.fits_of("dot", DataSpec(), "quick", last_layer.Arguments())


def test_a_denoiser_is_judged_by_one_solver_and_not_by_the_first_arm_of_a_sweep_of_steps() -> None:
    (one,) = rates.candidates(studies.study("step_sweep"), DataSpec(), "quick", 9)
    assert one.sampling == SOLVER
    assert not rates.candidates(studies.study("features"), DataSpec(), "quick", 9)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"share": 0.0}, "share: 0 given"),
        ({"factors": (1.0, float("nan"))}, "factors: "),
        ({"factors": ()}, "factors: none given"),
        ({"rates": (0.001, 0.0)}, "rates: "),
        ({"batch_sizes": (32, 0)}, "batch-sizes: "),
        ({"rows": 1}, "rows: 1 given"),
        ({"judge_images": -5}, "judge-images: -5 given"),
    ],
)
def test_what_cannot_be_tried_is_told(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        rates.check(rates.Arguments(study="backbones", **wrong))


def test_a_trial_of_a_step_or_two_is_refused() -> None:
    fit = rates.candidates(studies.study("backbones"), DataSpec(), "quick", 9)[0].fit
    batch, images = fit.budget.batch_size, round(0.02 * fit.budget.images_seen)
    with pytest.raises(UserError, match=rf"batches of {batch} of {images} images given; 10 steps"):
        rates.check_steps([rates.tried(fit, share=0.02, batch_size=0, rate=1e-3)])


def test_a_best_rate_at_the_edge_is_told() -> None:
    def marks(*trials: tuple[int, float, float | str]) -> list[object]:
        rows = [{"batch": batch, "rate": rate, "cnn": distance} for batch, rate, distance in trials]
        return [row["choice"] for row in rates.marked(rows)]

    assert marks((32, 1.0, 3.0), (32, 2.0, 2.0), (32, 4.0, "")) == ["", "best", ""]
    assert marks((32, 1.0, 3.0), (32, 2.0, 2.0)) == ["", "best, at the edge"]
    assert marks((32, 1.0, 3.0), (128, 1.0, 2.0)) == ["", "best"]  # one rate was asked for
    assert marks((32, 1.0, ""), (32, 2.0, "")) == ["", ""]


def test_what_a_rate_brings_is_judged_by_what_is_drawn_and_a_diverged_one_is_told() -> None:
    data, execution = load(DataSpec()), Execution.best(threads=1)
    judges = Judges(DataSpec(), data, 50, execution, images=200)
    vae = next(
        one
        for one in rates.candidates(studies.study("why_diffusion"), DataSpec(), "smoke", 9)
        if isinstance(one.fit.model, VAESpec)
    )
    fit = rates.tried(vae.fit, share=0.5, batch_size=32, rate=vae.fit.optimiser.learning_rate)
    fine = rates.outcome(vae, fit, data, 50, judges, execution)
    broken = rates.outcome(
        vae, with_fields(fit, {"optimiser.learning_rate": 1e30}), data, 50, judges, execution
    )
    assert all(float(fine[name]) > 0 for name in JUDGES) and fine["batch"] == 32
    assert broken["loss"] == "diverged" and list(broken) == list(fine)
    assert [row["choice"] for row in rates.marked([broken, fine])] == ["", "best, at the edge"]
