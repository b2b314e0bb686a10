"""The training seed of a trial reaches every fit in it and all that is drawn, and nothing that all seeds share."""

from __future__ import annotations

from workbench.presets.families import family
from workbench.presets.methods import method
from workbench.spec import (
    BayesSpec,
    DataSpec,
    FitSpec,
    ReadoutSpec,
    SupervisedSpec,
    TrunkClassifierSpec,
    fit_of,
    with_seed,
)


def test_a_trial_of_samples_has_the_seed_in_its_fit_and_its_sampling_but_not_in_its_judge() -> None:
    trial = with_seed(family(DataSpec(), "quick"), 7)
    assert isinstance(trial.source, FitSpec)
    assert (trial.source.seed, trial.sampling.seed) == (7, 7)
    assert trial.measures == family(DataSpec(), "quick").measures


def test_a_trial_of_classification_has_the_seed_everywhere() -> None:
    readout = with_seed(method(DataSpec(), "quick", method="diffusion_features"), 7)
    assert isinstance(readout.by, ReadoutSpec) and readout.by.features.source is not None
    assert (readout.seed, readout.by.features.seed, readout.by.features.source.seed) == (7, 7, 7)
    bayes = with_seed(method(DataSpec(), "quick", method="flow_bayes"), 7)
    assert isinstance(bayes.by, BayesSpec) and bayes.by.fit.seed == 7
    pixels = with_seed(method(DataSpec(), "quick"), 7)
    assert fit_of(pixels) is None and pixels.seed == 7


def test_the_fit_inside_a_fit_has_the_seed_too() -> None:
    trial = with_seed(method(DataSpec(), "quick", method="finetuned"), 7)
    assert isinstance(trial.by, SupervisedSpec)
    model = trial.by.fit.model
    assert isinstance(model, TrunkClassifierSpec) and model.start is not None
    assert trial.by.fit.seed == model.start.seed == 7


def test_each_seed_draws_few_labels_of_its_own_and_leaves_whole_data_alone() -> None:
    few = with_seed(method(DataSpec(), "quick", method="cnn", labelled=0.1), 7)
    whole = with_seed(method(DataSpec(), "quick", method="cnn"), 7)
    assert isinstance(few.by, SupervisedSpec) and isinstance(whole.by, SupervisedSpec)
    assert (few.by.fit.data.draw, whole.by.fit.data.draw) == (7, 0)
