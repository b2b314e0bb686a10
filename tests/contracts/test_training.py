"""The one loop: every family overfits one batch, a continued fit is the straight one, divergence is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from toy import halves

from workbench import training
from workbench.execution import Execution
from workbench.models import Classifier, DiffusionModel, Event, build, restore
from workbench.registry import UserError
from workbench.rng import Draws, stream
from workbench.spec import (
    BackboneSpec,
    BudgetSpec,
    CheckpointSpec,
    ClassifierSpec,
    DiffusionSpec,
    FitSpec,
    ModelSpec,
    OptimiserSpec,
    SamplingSpec,
    ScheduleSpec,
    with_fields,
)
from workbench.training import Diverged, Fitted, fit, learning_rate, rows_of_step

BACKBONE = BackboneSpec(width=32, multipliers=(1,), attention=(True,), patch=2)
MODELS: dict[str, ModelSpec] = {
    "continuous": DiffusionSpec(backbone=BACKBONE),
    "straight": DiffusionSpec(
        backbone=BACKBONE, schedule=ScheduleSpec(name="straight"), noise_density="log_normal"
    ),
    "min_snr": DiffusionSpec(backbone=BACKBONE, prediction="clean", weighting="min_snr"),
    "ddpm": DiffusionSpec(backbone=BACKBONE, schedule=ScheduleSpec(timesteps=50), prediction="noise"),
    "learned": DiffusionSpec(
        backbone=BACKBONE, schedule=ScheduleSpec(timesteps=50), prediction="noise", variance="learned"
    ),
    "unconditional": DiffusionSpec(backbone=BACKBONE, conditional=False),
    "classifier": ClassifierSpec(width=8, features=16, dropout=0.0, shift_pixels=0),
}


def spec(model: ModelSpec, *, steps: int = 20) -> FitSpec:
    return FitSpec(
        model=model,
        optimiser=OptimiserSpec(learning_rate=3e-3, warmup_images=32),
        budget=BudgetSpec(images_seen=16 * steps, batch_size=16),
        ema_halflife_images=32,
    )


def run(fit_spec: FitSpec, checkpoint: Path | None = None, seconds: float = 1e9) -> Fitted:
    return fit(
        fit_spec, halves(), execution=Execution(threads=1), checkpoint=checkpoint, checkpoint_seconds=seconds
    )


def steps_taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps of all trainings from now on."""
    taken: list[int] = []

    def counted(seed: int, step: int, batch: int, rows: int) -> torch.Tensor:
        taken.append(step)
        return rows_of_step(seed, step, batch, rows)

    monkeypatch.setattr(training, "rows_of_step", counted)
    return taken


@pytest.mark.parametrize("name", MODELS)
def test_every_family_overfits_one_batch(name: str) -> None:
    history = run(spec(MODELS[name], steps=200)).history
    losses = [value for record in history for key, value in record.items() if key.startswith("loss_")]
    floor = 0.2 if name == "classifier" else 0.0  # the entropy of smoothed labels
    assert losses[-1] - floor < 0.7 * (losses[0] - floor), losses


@pytest.mark.parametrize("name", ["continuous", "classifier"])
def test_a_continued_fit_is_the_straight_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted by an exception in the middle, then continued from the file: bit for bit the same weights."""
    whole = spec(with_fields(MODELS[name], {} if name == "classifier" else {"backbone.dropout": 0.3}))
    straight, file = run(whole), tmp_path / "checkpoint.safetensors"

    class Killed(Exception):
        pass

    def kill(path: Path) -> None:
        saved.append(path)
        if len(saved) == 7:
            raise Killed

    saved: list[Path] = []
    with pytest.raises(Killed):
        fit(
            whole,
            halves(),
            execution=Execution(threads=1),
            checkpoint=file,
            checkpoint_seconds=0.0,
            on_checkpoint=kill,
        )
    continued = run(whole, file)
    assert continued.weights.keys() == straight.weights.keys()
    assert all(torch.equal(continued.weights[name], straight.weights[name]) for name in straight.weights)
    assert len(continued.history) == len(straight.history)


def test_a_checkpoint_is_the_longer_training_as_it_stood_then() -> None:
    whole = spec(MODELS["continuous"])
    early = replace(whole, budget=CheckpointSpec(images_seen=7 * 16, batch_size=16, whole_images=20 * 16))

    def told(one: FitSpec) -> list[tuple[float, float]]:
        return [(record["loss_denoising"], record["learning_rate"]) for record in run(one).history]

    shorter = replace(whole, budget=BudgetSpec(images_seen=7 * 16, batch_size=16))
    assert told(early) == told(whole)[:7] != told(shorter)


def test_a_training_goes_on_from_its_checkpoint_and_a_checkpoint_not_from_what_is_further_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit the weights of the training in one piece, and only the steps that were left are taken."""
    whole, file = spec(MODELS["continuous"]), tmp_path / "state.safetensors"
    early = replace(whole, budget=CheckpointSpec(images_seen=7 * 16, batch_size=16, whole_images=20 * 16))
    straight, first = run(whole), run(early, file)
    taken = steps_taken(monkeypatch)
    went_on = run(whole, file)
    assert taken == list(range(7, 20))
    assert all(torch.equal(went_on.weights[name], straight.weights[name]) for name in straight.weights)
    assert went_on.cost["fit_seconds"] > first.cost["fit_seconds"]

    taken.clear()
    earlier = replace(whole, budget=CheckpointSpec(images_seen=3 * 16, batch_size=16, whole_images=20 * 16))
    run(earlier, file)
    assert taken == [0, 1, 2]


def test_what_is_recorded_after_an_interruption_is_the_mean_of_the_steps_since(tmp_path: Path) -> None:
    """A record of two steps, cut between them: the loss of the second alone, not half of it."""
    whole = spec(MODELS["continuous"], steps=2 * training.RECORDS)
    file = tmp_path / "checkpoint.safetensors"
    steps = 2 * training.RECORDS - 1
    early = CheckpointSpec(images_seen=steps * 16, batch_size=16, whole_images=(steps + 1) * 16)
    run(replace(whole, budget=early), file)
    last, straight = run(whole, file).history[-1], run(whole).history[-1]
    assert last["images_seen"] == straight["images_seen"]
    assert last["loss_denoising"] > 0.7 * straight["loss_denoising"]
    assert last["gradient_norm"] > 0.7 * straight["gradient_norm"]


def test_a_checkpoint_of_another_fit_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.safetensors"
    first = spec(MODELS["continuous"], steps=3)
    run(first, file, seconds=0.0)
    other = replace(first, seed=1)
    assert torch.equal(
        run(other, file).weights["preconditioned.backbone.conv_in.weight"],
        run(other).weights["preconditioned.backbone.conv_in.weight"],
    )


def test_a_checkpoint_of_another_format_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of an earlier version: training starts anew in place of failing."""
    file, whole = tmp_path / "checkpoint.safetensors", spec(MODELS["continuous"], steps=3)
    with monkeypatch.context() as earlier:
        earlier.setattr(training, "FORMAT", "another")
        run(replace(whole, budget=CheckpointSpec(images_seen=32, batch_size=16, whole_images=48)), file)
    taken = steps_taken(monkeypatch)
    run(whole, file)
    assert taken == [0, 1, 2]
    save_file({"weights.x": torch.zeros(1)}, file)  # not even metadata
    run(whole, file)
    assert taken == [0, 1, 2] * 2


def test_seeds_differ() -> None:
    first = spec(MODELS["continuous"], steps=3)
    one, two = run(first), run(replace(first, seed=1))
    assert not torch.equal(
        one.weights["preconditioned.backbone.conv_in.weight"],
        two.weights["preconditioned.backbone.conv_in.weight"],
    )


def test_divergence_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    wild = replace(
        spec(MODELS["continuous"]),
        optimiser=OptimiserSpec(learning_rate=1e30, warmup_images=0, clip_norm=1e30),
    )
    with pytest.raises(Diverged, match="seed 0"):
        run(wild)


def test_an_epoch_sees_each_row_once() -> None:
    seen = torch.cat([rows_of_step(0, step, 8, 20) for step in range(5)])
    assert sorted(seen[:20].tolist()) == list(range(20))
    assert sorted(seen[20:].tolist()) == list(range(20))
    assert seen[:20].tolist() != seen[20:].tolist()


def test_learning_rate_rises_then_falls() -> None:
    optimiser = OptimiserSpec(learning_rate=1.0, warmup_images=100, final_fraction=0.1)
    rates = [learning_rate(optimiser, seen, 1000) for seen in (0, 50, 100, 500, 1000)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[1] < rates[2] > rates[3] > rates[4] == pytest.approx(0.1)


def test_weights_come_back() -> None:
    fitted = run(spec(MODELS["continuous"], steps=2))
    model = restore(MODELS["continuous"], Event.of(halves()), fitted.weights)
    assert isinstance(model, DiffusionModel)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    for name, value in model.state_dict().items():
        assert torch.equal(value, fitted.weights[name])


def test_event_knows_the_deviation_of_the_data() -> None:
    images = halves().train.images.double() / 8 - 1
    assert Event.of(halves()).std == pytest.approx(float(images.std(correction=0)))


def test_classifier_gives_probabilities() -> None:
    judge = build(MODELS["classifier"], Event.of(halves()))
    assert isinstance(judge, Classifier)
    images = torch.rand(5, 1, 8, 8, generator=stream(0, "rows")) * 2 - 1
    torch.testing.assert_close(judge.probabilities(images).sum(1), torch.ones(5))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"backbone.name": "unett"}, "unet"),
        ({"prediction": "noize"}, "noise"),
        ({"noise_density": "uniforn"}, "uniform"),
        ({"weighting": "snr"}, "min_snr"),
        ({"variance": "learned"}, "timesteps"),
        ({"variance": "lage"}, "large"),
        ({"label_dropout": 10}, "label_dropout: 10 given"),
        ({"backbone.multipliers": (), "backbone.attention": ()}, "multipliers"),
        ({"backbone.multipliers": (1, 0), "backbone.attention": (False, True)}, "multipliers"),
        ({"backbone.width": 20}, "multiple of 32"),
        ({"backbone.attention": (True, False)}, "attention"),
    ],
    ids=str,
)
def test_a_wrong_spec_is_told_in_one_line(fields: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        run(spec(with_fields(MODELS["continuous"], fields)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        (BudgetSpec(images_seen=0), "images_seen: 0 given"),
        (BudgetSpec(batch_size=0), "batch_size: 0 given"),
        (CheckpointSpec(images_seen=200, whole_images=100), "images_seen: 200 given for a checkpoint"),
    ],
    ids=str,
)
def test_a_wrong_budget_is_told(budget: BudgetSpec, words: str) -> None:
    with pytest.raises(UserError, match=words):
        run(replace(spec(MODELS["continuous"]), budget=budget))


@pytest.mark.parametrize(
    ("fields", "sampling", "words"),
    [
        ({"label_dropout": 0.0}, SamplingSpec(guidance=2.0), "guidance: 2 given"),
        ({"conditional": False}, SamplingSpec(guidance=0.0), "guidance: 0 given"),
        ({}, SamplingSpec(sampler="ddpm", variance="learned"), "'learned' given for a model"),
    ],
    ids=str,
)
def test_a_model_is_sampled_as_it_was_trained(
    fields: dict[str, object], sampling: SamplingSpec, words: str
) -> None:
    model = build(with_fields(MODELS["continuous"], fields), Event.of(halves()))
    assert isinstance(model, DiffusionModel)
    with pytest.raises(UserError, match=words):
        model.sample(Draws(seed=0, start=0, stop=2), torch.zeros(2, dtype=torch.int64), sampling)


def test_weights_of_other_fits_are_refused_by_a_model_that_names_none() -> None:
    with pytest.raises(UserError, match="takes no weights of other fits"):
        fit(spec(MODELS["classifier"]), halves(), execution=Execution.best(threads=1), inner=[{}])
