"""Plans: order, keys, what is cached, what is measured again."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

import studies
from pipelines import names
from pipelines.plan import Plan, apply_cache, plan, with_fit_cpus, with_fit_memory
from pipelines.stage import Done, Stage
from pipelines.staging import data_label, generation, samples_key
from workbench.identity import key
from workbench.spec import (
    DataSpec,
    FitSpec,
    LatentDiffusionSpec,
    Scale,
    Study,
    TrialSpec,
    whole_training,
    with_fields,
)

SWEEP = studies.study("step_sweep")
EXPERIMENTS = {names.FITS: "1", SWEEP.name: "2"}


def planned(study: Study = SWEEP, seeds: tuple[int, ...] = (0, 1)) -> Plan:
    return plan(study, DataSpec(), "smoke", seeds)


def trials(a_plan: Plan) -> list[Stage]:
    return [stage for stage in a_plan.stages if stage.kind == "trial"]


def finished(a_plan: Plan, *, artifacts: bool = True) -> Iterator[tuple[dict[str, str], Done]]:
    """What MLflow would tell after all stages of a plan were run."""
    for stage in a_plan.stages:
        held = {"samples.npz": "digest"} if stage.kind == "trial" and artifacts else {}
        tags = {names.TAG_KEY: stage.key, names.TAG_KIND: stage.kind, **dict(stage.tags)}
        yield tags, Done(f"run of {stage.key}", held, {})


@pytest.mark.parametrize("name", studies.names())
def test_each_stage_comes_after_what_it_needs_and_no_key_comes_twice(name: str) -> None:
    seen: set[str] = set()
    for stage in planned(studies.study(name)).stages:
        assert set(stage.needs) <= seen
        assert stage.key not in seen
        seen.add(stage.key)


def test_an_autoencoder_is_fitted_before_what_learns_its_latents_and_has_a_name_of_its_own() -> None:
    whole = plan(studies.study("why_diffusion"), DataSpec(), "quick", (0,))
    stages = {stage.key: stage for stage in whole.stages}
    order = list(stages)
    latent = [s for s in whole.stages if s.kind == "fit" and isinstance(s.spec.model, LatentDiffusionSpec)]
    assert len(latent) == 3  # budgets
    for stage in latent:
        inner = stages[key(stage.spec.model.autoencoder)]
        assert stage.needs == (inner.key,)
        assert order.index(inner.key) < order.index(stage.key)
        (trial,) = (s for s in trials(whole) if stage.key in s.needs)
        assert inner.key in trial.needs and dict(trial.params)["sampler"] == "dpmpp_2m"
    names_of = [stage.name for stage in whole.stages if stage.kind == "fit"]
    assert len(set(names_of)) == len(names_of)


def test_a_training_goes_on_from_its_longest_checkpoint_and_no_image_is_counted_twice() -> None:
    whole = plan(studies.study("features"), DataSpec(), "quick", (0,))
    stages = {stage.key: stage for stage in whole.stages}
    going_on = [stage for stage in whole.stages if stage.continues]
    assert len(going_on) == 3  # a quarter from a sixteenth, a half from a quarter, the whole from a half
    for stage in going_on:
        shorter = stages[stage.continues]
        assert shorter.key in stage.needs and shorter.kind == stage.kind == "fit"
        assert whole_training(shorter.spec) == whole_training(stage.spec)
        images = stage.spec.budget.images_seen - shorter.spec.budget.images_seen
        assert stage.work == pytest.approx(3 * images) and images > 0
    assert len({stage.continues for stage in going_on}) == 3


def test_studies_share_fits() -> None:
    sweep, steps = (planned(studies.study(name)).stages for name in ("step_sweep", "diffusion_steps"))
    assert {s.key for s in sweep if s.kind == "fit"} & {s.key for s in steps if s.kind == "fit"}


def test_what_is_finished_is_not_to_do_and_the_rest_is() -> None:
    fresh = planned()
    assert len(fresh.to_do) == len(fresh.stages)
    history = list(finished(fresh))
    assert apply_cache(fresh, history, EXPERIMENTS).to_do == ()
    missing = history.pop(7)[0][names.TAG_KEY]
    assert [stage.key for stage in apply_cache(fresh, history, EXPERIMENTS).to_do] == [missing]


def test_few_long_fits_take_two_cpus_each_and_many_take_one() -> None:
    def cpus(name: str, scale: Scale, asked: int = 0) -> set[int]:
        whole = plan(studies.study(name), DataSpec(name="fashion_mnist"), scale, (0, 1, 2))
        stages = with_fit_cpus(whole, asked).stages
        assert {stage.resources.cpus for stage in stages if stage.kind != "fit"} == {1}
        return {stage.resources.cpus for stage in stages if stage.kind == "fit"}

    assert cpus("step_sweep", "standard") == {2}
    assert cpus("step_sweep", "smoke") == {1}
    assert cpus("diffusion_steps", "standard") == {1}
    assert cpus("diffusion_steps", "standard", asked=4) == {4}


def test_a_fit_reserves_what_it_needs_where_that_is_more_than_usual() -> None:
    whole = planned()
    first, second = [stage for stage in whole.stages if stage.kind == "fit"][:2]
    grown = with_fit_memory(whole, {first.key: 9 << 30, second.key: 1})
    reserved = {stage.key: stage.resources.memory_bytes for stage in grown.stages}
    assert reserved[first.key] == 9 << 30 and reserved[second.key] == second.resources.memory_bytes


def test_of_several_results_the_newest_counts() -> None:
    fresh = planned()
    key = fresh.stages[0].key
    history = [({names.TAG_KEY: key}, Done(run, {}, {})) for run in ("newest", "older")]
    assert apply_cache(fresh, history, EXPERIMENTS).done[key].run_id == "newest"


def test_new_seeds_leave_finished_ones_alone() -> None:
    grown = apply_cache(planned(seeds=(0, 1, 2)), finished(planned(seeds=(0, 1))), EXPERIMENTS)
    seeds = {dict(stage.params)["seed"] for stage in grown.to_do}
    assert seeds == {"2"}


def test_another_measure_measures_stored_samples_again_and_changes_no_fit() -> None:
    before = planned()
    changed = []
    for stage in before.stages:
        if isinstance(stage.spec, TrialSpec) and isinstance(stage.spec.source, FitSpec):
            spec = with_fields(stage.spec, {"measures.names": ("frechet",)})
            changed.append(dataclasses.replace(stage, key=f"new {stage.key}", spec=spec))
        else:
            changed.append(stage)
    after = apply_cache(Plan(stages=tuple(changed)), finished(before), EXPERIMENTS)
    assert {stage.kind for stage in after.to_do} == {"trial"}
    assert all(stage.samples is not None for stage in after.to_do)
    without = apply_cache(Plan(stages=tuple(changed)), finished(before, artifacts=False), EXPERIMENTS)
    assert all(stage.samples is None for stage in without.to_do)


def test_samples_depend_on_how_they_are_drawn_and_not_on_what_is_measured() -> None:
    spec = trials(planned())[0].spec
    assert samples_key(with_fields(spec, {"measures.names": ("kernel",)})) == samples_key(spec)
    for field, value in {"sampling.nfe": 7, "sampling.seed": 9, "source.seed": 5}.items():
        assert samples_key(with_fields(spec, {field: value})) != samples_key(spec)


def test_a_generation_is_blind_to_seeds_and_to_nothing_else() -> None:
    spec = trials(planned())[0].spec
    assert generation(with_fields(spec, {"source.seed": 7, "sampling.seed": 7})) == generation(spec)
    assert generation(with_fields(spec, {"source.budget.images_seen": 7})) != generation(spec)


def test_parameters_are_the_columns_of_the_arm() -> None:
    for stage in trials(planned()):
        params = dict(stage.params)
        assert params["sampler"] == stage.spec.sampling.sampler
        assert names.param_value(params["nfe"]) == stage.spec.sampling.nfe
        assert params["panel"] in ("network", "oracle")
        assert params["data"] == ("digits" if params["panel"] == "network" else "mixture")


def test_stages_of_one_kind_have_names_of_their_own() -> None:
    for name in studies.names():
        stages = planned(studies.study(name)).stages
        assert len({(stage.kind, stage.name) for stage in stages}) == len(stages)


def test_own_data_are_told_apart_by_their_digest() -> None:
    assert data_label(DataSpec(name="digits")) == "digits"
    assert data_label(DataSpec(name="folder", digest="0123456789")) == "folder-01234567"
