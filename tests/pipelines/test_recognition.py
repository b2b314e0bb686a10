"""Trials of classification: errors and confusions are counted right, and what a model cannot do is refused before."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pipelines.preflight import check
from pipelines.recognition import checks, trial
from pipelines.recognition.features import at_best
from pipelines.recognition.trial import confusion, corruption_errors
from pipelines.stage import Done, Stage
from pipelines.staging import needed
from workbench.data import Dataset, Split, load, to_float
from workbench.execution import Execution
from workbench.identity import key
from workbench.models import DiffusionModel, Event, build
from workbench.presets.families import family
from workbench.presets.methods import method
from workbench.recognition import CORRUPTIONS, activations, layers
from workbench.registry import UserError
from workbench.spec import (
    BayesSpec,
    DataSpec,
    FeatureSpec,
    FitSpec,
    ReadoutSpec,
    RecognitionSpec,
    SupervisedSpec,
    with_fields,
)

DIGITS = load(DataSpec())
EVENT = Event.of(DIGITS)


def fit_of(name: str) -> FitSpec:
    found = family(DataSpec(), "smoke", family=name).source
    assert isinstance(found, FitSpec)
    return found


UNCONDITIONAL = with_fields(fit_of("diffusion"), {"model.conditional": False})
MISTAKES: dict[str, tuple[FeatureSpec | RecognitionSpec, str]] = {
    "a layer that is not there": (
        FeatureSpec(of="activations", data=DataSpec(), source=UNCONDITIONAL, layers=("up.9.0",)),
        r"features\.layers: unknown name 'up\.9\.0'.*up\.0\.0",
    ),
    "activations of no denoiser": (
        FeatureSpec(of="activations", data=DataSpec(), source=fit_of("vae")),
        "VAE is no denoiser",
    ),
    "latents without an encoder": (
        FeatureSpec(of="latents", data=DataSpec(), source=fit_of("gan")),
        "GAN has no encoder",
    ),
    "Bayes' rule without labels": (
        RecognitionSpec(by=BayesSpec(fit=UNCONDITIONAL)),
        "Diffusion is unconditional; to classify by Bayes' rule it has to be trained with labels",
    ),
    "Bayes' rule without a likelihood": (
        RecognitionSpec(by=BayesSpec(fit=fit_of("gan"))),
        "GAN tells no likelihood",
    ),
    "a model that tells no classes": (
        RecognitionSpec(by=SupervisedSpec(fit=fit_of("diffusion"))),
        "Diffusion tells no classes; a classifier does",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_a_model_cannot_do_is_refused_in_one_line(mistake: str) -> None:
    spec, line = MISTAKES[mistake]
    with pytest.raises(UserError, match=line) as raised:
        checks.check(spec, DIGITS)
    assert "\n" not in str(raised.value)


def test_it_is_refused_before_anything_runs() -> None:
    stage = Stage(
        kind="trial", body="", key="", name="", spec=MISTAKES["Bayes' rule without labels"][0], experiment=""
    )
    with pytest.raises(UserError, match="unconditional"):
        check([stage], DataSpec(), None)


def test_a_confusion_counts_true_classes_in_lines_and_told_ones_in_columns() -> None:
    told, truth = torch.tensor([0, 1, 1, 2, 0]), torch.tensor([0, 0, 1, 2, 2])
    assert confusion(told, truth, 3).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 1]]


def test_errors_of_corruptions_are_means_over_severities_and_over_all() -> None:
    first, *others = CORRUPTIONS
    accuracies = {(name, severity): 0.9 for name in others for severity in (1, 2, 3)}
    accuracies |= {(first, 1): 0.8, (first, 2): 0.6, (first, 3): 0.1}
    errors = corruption_errors(accuracies)
    assert errors[f"error[{first}]"] == pytest.approx(0.5)
    assert errors["error[corrupted]"] == pytest.approx((0.5 + 0.1 * len(others)) / (1 + len(others)))
    assert corruption_errors({}) == {}


def test_a_readout_needs_its_features_and_these_the_fit_that_they_are_of() -> None:
    spec = method(DataSpec(), "smoke", method="diffusion_features", labelled=0.1)
    assert isinstance(spec.by, ReadoutSpec)
    fit, features = needed(spec, (), "smoke")
    assert (fit.kind, features.kind) == ("fit", "features")
    assert features.needs == (fit.key,)
    early = method(DataSpec(), "smoke", method="diffusion_quarter", labelled=0.1)
    kinds = [stage.kind for stage in {stage.key: stage for stage in needed(early, (), "smoke")}.values()]
    assert kinds == ["fit", "features", "fit", "reference"]  # the fit, and the classifier of the measures
    (pixels,) = needed(method(DataSpec(), "smoke"), (), "smoke")
    assert pixels.kind == "features" and pixels.needs == ()


def test_how_a_checkpoint_is_drawn_from_is_checked_before_it_is_trained() -> None:
    early = method(DataSpec(), "smoke", method="diffusion_quarter", labelled=0.1)
    assert isinstance(early.by, ReadoutSpec) and early.by.drawn is not None
    wrong = replace(early, by=replace(early.by, drawn=with_fields(early.by.drawn, {"sampling.nfe": 0})))
    stage = Stage(kind="trial", body="", key="a", name="", spec=wrong, experiment="")
    with pytest.raises(UserError, match="nfe"):
        check([stage], DataSpec(), None)


def test_the_estimate_counts_what_is_looked_at() -> None:
    spec = FeatureSpec(
        of="activations",
        data=DataSpec(),
        source=UNCONDITIONAL,
        times=(0.1, 0.2),
        grid_rows=100,
        draws=3,
        train_share=0.5,
    )
    assert checks.readout_seconds(replace(spec, grid_rows=200), DIGITS) == 2 * checks.readout_seconds(
        spec, DIGITS
    )
    assert checks.readout_seconds(FeatureSpec(of="pixels", data=DataSpec()), DIGITS) == 0
    # 575 of 1,150 training rows, 147 of validation and 500 of test three times; 100 and 147 at two noise levels,
    # and at the better one again
    assert checks.rows_looked_at(spec, DIGITS) == 3 * (575 + 147 + 500) + 3 * (100 + 147)


def without_test_labels() -> Dataset:
    """The same digits with test labels that say nothing."""
    shuffled = DIGITS.test.labels[
        torch.randperm(len(DIGITS.test), generator=torch.Generator().manual_seed(0))
    ]
    return replace(DIGITS, test=Split(DIGITS.test.images, shuffled))


def test_layers_are_compared_on_one_grid_and_grids_at_the_best_layer() -> None:
    model = build(UNCONDITIONAL.model, EVENT).eval()
    assert isinstance(model, DiffusionModel)
    spec = FeatureSpec(
        of="activations", data=DataSpec(), times=(0.05, 0.3), sides=(2, 1, 8), grid_rows=100, draws=1
    )
    found = at_best(model, spec, DIGITS, Execution(threads=1))
    grid = {(cell["layer"], cell["time"]): cell["accuracy"] for cell in found.choice["grid"]}
    sides = {one["side"]: one["accuracy"] for one in found.choice["sides"]}
    assert len(grid) == len(layers(model)) * 2 and list(sides) == [2, 1, 8]
    best = found.choice["layer"], found.choice["time"]
    assert grid[best] == max(grid.values()) == sides[2]  # the first of `sides` is where layers were compared
    assert found.metrics["validation_accuracy"] == sides[found.choice["side"]] == max(sides.values())
    assert set(found.choice["map"]["places"]) == {f"{layer}@{time:g}" for layer, time in grid}
    layer, side, images = best[0], found.choice["side"], to_float(DIGITS.test.images[:3], DIGITS.levels)
    wanted = activations(
        model, images, layers=(layer,), time=best[1], sides=(side,), draws=1, seed=2, execution=Execution()
    )
    assert torch.allclose(found.view(images, 2), wanted[layer, side])


def test_test_labels_choose_no_layer_noise_level_or_grid() -> None:
    model = build(UNCONDITIONAL.model, EVENT).eval()
    assert isinstance(model, DiffusionModel)
    spec = FeatureSpec(of="activations", data=DataSpec(), times=(0.05, 0.3), grid_rows=100, draws=1)
    one, other = (
        at_best(model, spec, data, Execution(threads=1)) for data in (DIGITS, without_test_labels())
    )
    assert one.choice == other.choice and one.metrics == other.metrics


def test_test_labels_choose_no_regularisation_but_decide_the_accuracy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    by = ReadoutSpec(features=FeatureSpec(of="pixels", data=DataSpec()), labelled=0.1, draws=2)
    rows = {
        name: to_float(getattr(DIGITS, name).images, DIGITS.levels).flatten(1)
        for name in ("train", "validation", "test")
    }
    monkeypatch.setattr(trial, "stored", lambda work, features, key: rows)
    (tmp_path / "choice.json").write_text("{}")
    done = Done("run", {"choice.json": "digest"}, {"cost/classify_seconds": 1.0})
    work: Any = SimpleNamespace(
        inputs={key(by.features): done}, tracking=SimpleNamespace(fetch=lambda *_: tmp_path / "choice.json")
    )
    one, other = (trial.by_readout(work, by, 0, data) for data in (DIGITS, without_test_labels()))
    assert one.measures == other.measures
    assert torch.equal(one.classes, other.classes)
    assert one.accuracy is not None and other.accuracy is not None
    assert one.accuracy > 0.8 and other.accuracy < 0.2


OUT_OF_RANGE: dict[str, tuple[FeatureSpec | RecognitionSpec, str]] = {
    "labels": (
        RecognitionSpec(by=ReadoutSpec(features=FeatureSpec(of="pixels", data=DataSpec()), labelled=2.0)),
        r"labelled: 2 given; a number above 0 and up to 1",
    ),
    "pairs": (RecognitionSpec(by=BayesSpec(fit=fit_of("diffusion"), pairs=0)), r"pairs: 0 given"),
    "rows": (FeatureSpec(of="pixels", data=DataSpec(), train_share=0.0), r"features\.train_share: 0 given"),
    "classes among the rows": (
        FeatureSpec(of="pixels", data=DataSpec(), train_share=0.004),
        r"train_share: 0\.004 given, which is 5 training rows; . of 10 classes are among them",
    ),
    "classes among the rows of the choice": (
        FeatureSpec(of="activations", data=DataSpec(), source=UNCONDITIONAL, grid_rows=9),
        r"grid_rows: 9 given, which is 9 training rows; . of 10 classes",
    ),
    **{
        f"{field} {value}": (
            FeatureSpec(of="activations", data=DataSpec(), source=UNCONDITIONAL, **{field: value}),
            rf"features\.{field}: {re.escape(str(value))} given",
        )
        for field, value in (("times", ()), ("times", (0.1, 1.0)), ("sides", ()), ("sides", (4, 0)))
    },
}


@pytest.mark.parametrize("what", OUT_OF_RANGE)
def test_a_number_out_of_range_is_told(what: str) -> None:
    spec, line = OUT_OF_RANGE[what]
    with pytest.raises(UserError, match=line):
        checks.check(spec, DIGITS)
