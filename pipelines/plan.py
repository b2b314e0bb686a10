"""A study -> its stages in topological order, each cached or to do. Imports neither torch, Ray nor MLflow's server."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pipelines import names, staging
from pipelines.stage import Done, Resources, Stage
from workbench.expansion import expand
from workbench.identity import key
from workbench.spec import DataSpec, Scale, Study, whole_training

FEW_FITS, LONG_FIT = 4, 1e6  # fits; evaluations, as of `Stage.work`


@dataclass(kw_only=True)
class Plan:
    """The stages of a study in an order in which each comes after what it needs; `done` holds those that are cached."""

    stages: tuple[Stage, ...]
    done: dict[str, Done] = field(default_factory=dict)

    @property
    def to_do(self) -> tuple[Stage, ...]:
        """The stages that have no finished run, in order."""
        return tuple(stage for stage in self.stages if stage.key not in self.done)


def plan(study: Study, data: DataSpec, scale: Scale, seeds: Sequence[int]) -> Plan:
    """All stages of a study, none cached yet, each on one CPU. Raises as `expansion.expand` does."""
    trials = expand(study, data, scale, seeds)
    columns = {path: names.column_of(path) for trial in trials for path, _ in trial.arm}
    stages: dict[str, Stage] = {}
    for trial in trials:
        for stage in staging.needed(trial.spec, trial.arm, scale):
            stages.setdefault(stage.key, stage)
    for trial in trials:
        stage = staging.trial_stage(study, trial, data, scale, columns)
        stages.setdefault(stage.key, stage)
    return Plan(stages=_in_order(_continuing(stages)))


def _continuing(stages: Mapping[str, Stage]) -> dict[str, Stage]:
    """The stages with each fit going on from the longest of the shorter fits of the same training, its checkpoints."""
    trainings: dict[str, list[Stage]] = {}
    for stage in stages.values():
        if stage.kind == "fit":
            trainings.setdefault(key(whole_training(stage.spec)), []).append(stage)
    result = dict(stages)
    for fits in trainings.values():
        fits.sort(key=lambda stage: stage.spec.budget.images_seen)
        for shorter, longer in itertools.pairwise(fits):
            result[longer.key] = dataclasses.replace(
                longer,
                needs=(*longer.needs, shorter.key),
                continues=shorter.key,
                work=longer.work - shorter.work,
            )
    return result


def _in_order(stages: Mapping[str, Stage]) -> tuple[Stage, ...]:
    """The stages in their order, but each after what it needs."""
    placed: dict[str, Stage] = {}

    def place(stage: Stage) -> None:
        for need in stage.needs:
            if need not in placed:
                place(stages[need])
        placed.setdefault(stage.key, stage)

    for stage in stages.values():
        place(stage)
    return tuple(placed.values())


def apply_cache(
    plan: Plan, finished: Iterable[tuple[Mapping[str, str], Done]], experiments: Mapping[str, str]
) -> Plan:
    """The plan with what is done: `finished` are tags and results of FINISHED runs, newest first.

    A trial whose samples are stored, though other measures were taken of them, is given them to measure.
    """
    known: dict[str, Done] = {}
    samples: dict[str, Done] = {}
    for tags, done in finished:
        known.setdefault(tags[names.TAG_KEY], done)
        if names.TAG_SAMPLES in tags and "samples.npz" in done.artifacts:
            samples.setdefault(tags[names.TAG_SAMPLES], done)
    stages = []
    for stage in plan.stages:
        stored = samples.get(dict(stage.tags).get(names.TAG_SAMPLES, ""))
        reuse = stored if stage.key not in known else None
        experiment = experiments[stage.experiment]
        stages.append(
            dataclasses.replace(
                stage, experiment=experiment, samples=reuse, work=0.0 if reuse is not None else stage.work
            )
        )
    return Plan(stages=tuple(stages), done={s.key: known[s.key] for s in stages if s.key in known})


def with_fit_memory(plan: Plan, memory: Mapping[str, int]) -> Plan:
    """The plan with the bytes that each fit needs, by its key, where they are more than usual."""

    def needed(stage: Stage) -> Resources:
        bytes_ = max(stage.resources.memory_bytes, memory.get(stage.key, 0))
        return dataclasses.replace(stage.resources, memory_bytes=bytes_)

    return dataclasses.replace(
        plan, stages=tuple(dataclasses.replace(s, resources=needed(s)) for s in plan.stages)
    )


def with_fit_cpus(plan: Plan, cpus: int = 0) -> Plan:
    """The plan with `cpus` CPUs for each fit. 0: one for each where many are to do, two where there are few long ones.

    Two fits side by side see a quarter more images a second than one on both CPUs, whose threads wait for each other;
    but of few fits each is wanted soon, and the last one should not leave a CPU idle.
    """
    to_do = [stage for stage in plan.to_do if stage.kind == "fit"]
    few_and_long = len(to_do) <= FEW_FITS and any(stage.work > LONG_FIT for stage in to_do)
    chosen = Resources(cpus=cpus or (2 if few_and_long else 1), gpus=1.0, memory_bytes=staging.FIT_BYTES)
    stages = tuple(dataclasses.replace(s, resources=chosen) if s.kind == "fit" else s for s in plan.stages)
    return dataclasses.replace(plan, stages=stages)
