"""Trials of classification: errors and confusions are counted right, and what a model cannot do is refused before."""

from __future__ import annotations

import pytest
import torch

from pipelines.preflight import check
from pipelines.recognition import checks
from pipelines.recognition.trial import confusion, corruption_errors
from pipelines.stage import Stage
from pipelines.staging import needed
from workbench.data import load
from workbench.models import Event
from workbench.presets.families import family
from workbench.presets.methods import method
from workbench.recognition import CORRUPTIONS
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
        checks.check(spec, EVENT)
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
    (pixels,) = needed(method(DataSpec(), "smoke"), (), "smoke")
    assert pixels.kind == "features" and pixels.needs == ()


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
    rows = 0.5 * len(DIGITS.train) + len(DIGITS.validation) + len(DIGITS.test)
    assert checks.rows_looked_at(spec, DIGITS) == 3 * rows + 2 * (100 + checks.CHOSEN_FROM)
