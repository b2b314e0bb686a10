"""Every study: it expands at every scale, its claims speak of arms and measures that it has, its names are known."""

from __future__ import annotations

from dataclasses import replace

import pytest

import studies
from pipelines.probes import PROBES
from pipelines.statistics import arms_needed, cells_needed, places
from workbench import expansion
from workbench.diffusion.schedule import schedule_from
from workbench.expansion import default_seeds, expand
from workbench.identity import key
from workbench.metrics import METRICS, metric_of
from workbench.models import MODELS, Event, build
from workbench.presets.common import SIZES, classifier_fit, continuous
from workbench.registry import UserError
from workbench.sampling import sampler_from, time_grid
from workbench.spec import (
    SCALES,
    Claim,
    DataSpec,
    DiffusionSpec,
    FitSpec,
    MeasureSpec,
    RatioSlope,
    RecognitionSpec,
    Scale,
    Slope,
    Study,
    TrialSpec,
    arm,
    fit_of,
    grid,
    with_fields,
    zipped,
)

TOLD = {
    "error",
    "accuracy",
    "error[corrupted]",
    "chosen_time",
    "chosen_behind_middle",
    "misled",
}  # of classification
STUDIES = [studies.study(name) for name in studies.names()]
EVENTS = {
    "digits": Event(shape=(1, 8, 8), classes=10, levels=17, std=0.75),
    "fashion_mnist": Event(shape=(1, 28, 28), classes=10, levels=256, std=0.7),
    "cifar10": Event(shape=(3, 32, 32), classes=10, levels=256, std=0.5),
}


@pytest.mark.parametrize("data", SIZES)
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_expands_to_distinct_trials(study: Study, scale: Scale, data: str) -> None:
    trials = expand(study, DataSpec(name=data), scale, default_seeds(scale))
    assert len({key(trial.spec) for trial in trials}) == len(trials)
    for trial in trials:
        if isinstance(trial.spec, RecognitionSpec):
            fit = fit_of(trial.spec)
            assert fit is None or type(fit.model) in MODELS
            continue
        sampler = sampler_from(trial.spec.sampling)
        assert sampler.steps_for(trial.spec.sampling.nfe) >= 1
        if isinstance(trial.spec.source, FitSpec):
            model = trial.spec.source.model
            assert type(model) in MODELS
            if isinstance(model, DiffusionSpec):
                grid_of = trial.spec.sampling.time_grid
                assert len(time_grid(grid_of, schedule_from(model.schedule), 3)) == 4


@pytest.mark.parametrize("data", SIZES)
@pytest.mark.parametrize("scale", ["smoke", "quick", "standard"])
def test_presets_build(scale: Scale, data: str) -> None:
    trial = expand(STUDIES[0], DataSpec(name=data), scale, [0])[0]
    assert isinstance(trial.spec, TrialSpec)
    assert isinstance(trial.spec.source, FitSpec)
    for fit in (trial.spec.source, classifier_fit(DataSpec(name=data), scale)):
        assert sum(p.numel() for p in build(fit.model, EVENTS[data]).parameters()) > 1000


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_claims_speak_of_what_is_run(study: Study) -> None:
    assert study.name == study.name.lower()
    assert study.question.endswith("?")
    fields = {name for one in study.arms for name, _ in one}
    measured = {f"{name}[cnn]" if metric.per_extractor else name for name, metric in METRICS.items()}
    known = measured | {"sample_seconds", "gradient_variation", *PROBES} | TOLD
    assert study.primary in measured | TOLD
    assert len({claim.name for claim in study.claims}) == len(study.claims)
    for claim in study.claims:
        needed = arms_needed(claim.statistic, study.arms)
        assert {name for _, name in cells_needed(claim.statistic, needed)} <= known
        assert set(needed) <= set(study.arms)
        if isinstance(claim.statistic, (Slope, RatioSlope)):
            assert claim.statistic.field in fields
            assert len(set(places(claim.statistic, needed))) > 1
        else:
            assert set(needed) <= set(study.smoke_arms), "at smoke scale the decision is exercised too"


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_measures_are_known(study: Study) -> None:
    for trial in expand(study, DataSpec(), "quick", [0]):
        if isinstance(trial.spec, TrialSpec) and isinstance(trial.spec.measures, MeasureSpec):
            assert {metric_of(name).name for name in trial.spec.measures.names} <= set(METRICS)


def test_arms() -> None:
    assert grid(sampling__nfe=(1, 2), sampling__eta=(0.0,)) == (
        (("sampling.nfe", 1), ("sampling.eta", 0.0)),
        (("sampling.nfe", 2), ("sampling.eta", 0.0)),
    )
    assert zipped(a=(1, 2), b=(3, 4)) == ((("a", 1), ("b", 3)), (("a", 2), ("b", 4)))
    assert arm(source__seed=3) == (("source.seed", 3),)
    with pytest.raises(ValueError, match="shorter"):
        zipped(a=(1, 2), b=(3,))


def test_a_field_that_is_not_there_is_told() -> None:
    with pytest.raises(ValueError, match=r"sampling\.nfee.*nfe"):
        with_fields(expand(STUDIES[0], DataSpec(), "smoke", [0])[0].spec, {"sampling.nfee": 3})


def test_plain_names_of_an_arm_are_arguments_of_the_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    def sized(data: DataSpec, scale: Scale, *, rows: int = 1) -> TrialSpec:
        return with_fields(continuous(data, scale), {"sampling.rows": rows})

    monkeypatch.setitem(expansion.PRESETS, "sized", sized)
    study = replace(STUDIES[0], preset="sized", arms=grid(rows=(3, 5), sampling__nfe=(2,)), oracle=None)
    found = [trial.spec.sampling for trial in expand(study, DataSpec(), "quick", [0])]
    assert [(one.rows, one.nfe) for one in found] == [(3, 2), (5, 2)]
    with pytest.raises(ValueError, match=r"argument 'row'.*takes rows"):
        expand(replace(study, arms=grid(row=(3,))), DataSpec(), "quick", [0])


@pytest.mark.parametrize("seeds", [(), (0, 0), (-1,)])
def test_wrong_seeds_are_told(seeds: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="seeds"):
        expand(STUDIES[0], DataSpec(), "smoke", seeds)


def test_the_nearest_study_is_named() -> None:
    with pytest.raises(UserError, match="step_sweep"):
        studies.study("stepsweep")


def test_a_claim_may_be_altered_only_by_a_copy() -> None:
    claim = STUDIES[0].claims[0]
    assert isinstance(replace(claim, bound=2.0), Claim)
    with pytest.raises(AttributeError):
        claim.bound = 2.0
