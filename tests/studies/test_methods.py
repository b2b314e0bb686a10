"""The ways to classify that are compared: known by name, of stated cost, refused where they make no sense."""

from __future__ import annotations

import pytest

import studies
from pipelines.vocabulary import LABELS
from workbench.identity import key
from workbench.presets.families import family
from workbench.presets.methods import BUDGET, CHECKPOINTS, DENOISER, LONGER, METHODS, method
from workbench.registry import UserError
from workbench.spec import (
    DataSpec,
    FitSpec,
    ReadoutSpec,
    SupervisedSpec,
    TrunkClassifierSpec,
    data_of,
    fit_of,
    with_seed,
)

ARMS = studies.study("features").arms


def fit(name: str, labelled: float = 1.0, data: str = "digits") -> FitSpec:
    found = fit_of(method(DataSpec(name=data), "quick", method=name, labelled=labelled))
    assert found is not None
    return found


def test_every_method_is_compared_and_has_a_name() -> None:
    assert {dict(one)["method"] for one in ARMS} == set(METHODS)
    assert set(METHODS) <= set(LABELS)


@pytest.mark.parametrize("data", ["digits", "fashion_mnist"])
@pytest.mark.parametrize(
    ("name", "of"), [("diffusion_bayes", DENOISER), ("vae_bayes", "vae"), ("flow_bayes", "coupling_flow")]
)
def test_generative_classifiers_are_families_trained_for_as_long_as_the_models_of_features(
    name: str, of: str, data: str
) -> None:
    source = family(DataSpec(name=data), "quick", family=of, budget=BUDGET).source
    assert key(fit(name, data=data)) == key(source)


@pytest.mark.parametrize(
    "name", ["diffusion_features", "vae_features", "random_features", "finetuned", "diffusion_misled"]
)
def test_models_whose_features_are_read_never_see_a_label(name: str) -> None:
    by = method(DataSpec(), "quick", method=name).by
    source = by.fit.model.start if isinstance(by, SupervisedSpec) else by.features.source
    assert not source.model.conditional


def test_few_labels_are_seen_by_the_readout_and_by_the_supervised_network_alone() -> None:
    readout = method(DataSpec(), "quick", method="diffusion_features", labelled=0.01)
    assert isinstance(readout.by, ReadoutSpec)
    assert readout.by.labelled == 0.01 and readout.by.draws > 1
    assert data_of(readout).labelled == 1.0
    few, all_of_them = fit("cnn", 0.01), fit("cnn")
    assert few.data.labelled == 0.01 and all_of_them.data.labelled == 1.0
    assert few.budget == all_of_them.budget


def test_checkpoints_are_of_one_training_and_of_one_fit_what_is_told_and_what_is_drawn() -> None:
    whole = fit("diffusion_last", 0.1)
    assert key(whole) == key(fit("diffusion_features"))
    for name, share in CHECKPOINTS.items():
        by = with_seed(method(DataSpec(), "quick", method=name, labelled=0.1), 2).by
        assert isinstance(by, ReadoutSpec) and by.drawn is not None and by.features.source is not None
        assert key(by.drawn.source) == key(by.features.source) and by.drawn.sampling.seed == 2
        budget = by.features.source.budget
        assert budget.images_seen == pytest.approx(share * whole.budget.images_seen, abs=1)
        assert budget.decay_images == whole.budget.images_seen


def test_the_cnn_trained_longer_differs_in_that_alone() -> None:
    one, longer = fit("cnn"), fit("cnn_best")
    assert longer.budget.images_seen == LONGER * one.budget.images_seen and longer.model == one.model


def test_the_trunk_from_scratch_differs_in_its_start_alone() -> None:
    one, other = (method(DataSpec(), "quick", method=name).by for name in ("finetuned", "scratch"))
    assert isinstance(one, SupervisedSpec) and isinstance(other, SupervisedSpec)
    assert one.fit.budget == other.fit.budget and one.fit.optimiser == other.fit.optimiser
    assert one.fit.model != other.fit.model
    assert isinstance(one.fit.model, TrunkClassifierSpec) and one.fit.model.start is not None
    assert one.fit.budget == one.fit.model.start.budget


def test_misled_methods_are_trained_and_tried_with_a_shortcut() -> None:
    for name in METHODS:
        assert data_of(method(DataSpec(), "quick", method=name)).shortcut == name.endswith("_misled")


def test_mistakes_are_told() -> None:
    with pytest.raises(UserError, match="method: unknown name"):
        method(DataSpec(), "quick", method="cnnn")
    with pytest.raises(
        UserError, match=r"labelled: 0\.1 given; the method .flow_bayes. is trained with all labels"
    ):
        method(DataSpec(), "quick", method="flow_bayes", labelled=0.1)
