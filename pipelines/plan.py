"""A study -> its stages in topological order, each cached or to do. Imports neither torch, Ray nor MLflow's server."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines import names
from workbench.expansion import Trial, expand
from workbench.identity import canonical, key, to_json
from workbench.spec import (
    Arm,
    DataSpec,
    DiffusionSpec,
    FitSpec,
    LatentDiffusionSpec,
    MeasureSpec,
    ModelSpec,
    Scale,
    Study,
    TrialSpec,
    inner_fits,
)

GIB = 1 << 30
FIT_BYTES = 3 * GIB // 2
ONE_PASS_FIELDS = ("nfe", "rows", "seed")  # of a sampling, where there is no sampler
FEW_FITS, LONG_FIT = 4, 1e6  # fits; evaluations, as of `Stage.work`


@dataclass(frozen=True, kw_only=True)
class ReferenceSpec:
    """What all trials of one data set compare with: features of the real rows, and the floors at `rows` real rows."""

    data: DataSpec
    measures: MeasureSpec
    rows: int


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a stage occupies while it runs. `gpus` count where there are any; a fraction is shared."""

    cpus: int = 1
    gpus: float = 0.0
    memory_bytes: int = 0


@dataclass(frozen=True)
class Done:
    """A finished stage: its run, the digests of its artifacts by file name, its metrics."""

    run_id: str
    artifacts: Mapping[str, str]
    metrics: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One unit of work, a run in MLflow when it is done. Small: it travels to wherever it is run.

    `body` is the function that does the work, as `module:name`, so that planning imports nothing heavy. `needs` are
    the keys of the stages whose results it reads, `samples` a finished run whose samples it can measure again.
    """

    kind: str
    body: str
    key: str
    name: str
    spec: Any
    experiment: str
    needs: tuple[str, ...] = ()
    params: tuple[tuple[str, str], ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    resources: Resources = Resources()
    samples: Done | None = None
    work: float = 0.0  # estimated evaluations of one row by the network, a backward pass counting as two


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
        for stage in _needed(trial.spec, trial.arm, scale):
            stages.setdefault(stage.key, stage)
    for trial in trials:
        stage = _trial_stage(study, trial, data, scale, columns)
        stages.setdefault(stage.key, stage)
    return Plan(stages=tuple(stages.values()))


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


def with_fit_cpus(plan: Plan, cpus: int = 0) -> Plan:
    """The plan with `cpus` CPUs for each fit. 0: one for each where many are to do, two where there are few long ones.

    Two fits side by side see a quarter more images a second than one on both CPUs, whose threads wait for each other;
    but of few fits each is wanted soon, and the last one should not leave a CPU idle.
    """
    to_do = [stage for stage in plan.to_do if stage.kind == "fit"]
    few_and_long = len(to_do) <= FEW_FITS and any(stage.work > LONG_FIT for stage in to_do)
    chosen = Resources(cpus=cpus or (2 if few_and_long else 1), gpus=1.0, memory_bytes=FIT_BYTES)
    stages = tuple(dataclasses.replace(s, resources=chosen) if s.kind == "fit" else s for s in plan.stages)
    return dataclasses.replace(plan, stages=stages)


def generation(spec: Any) -> str:
    """A digest of a spec without its seeds: trials that differ in their seeds alone agree in it."""
    return _digest(json.dumps(_without_seeds(canonical(spec)), sort_keys=True))


def samples_key(spec: TrialSpec) -> str:
    """A digest of what samples depend on: their source and how they are drawn, not what is measured of them."""
    return _digest(to_json(spec.source) + to_json(spec.sampling))


def data_label(data: DataSpec) -> str:
    """The name of a data set; for the user's own data with the start of the digest that tells them apart."""
    return data.name if data.digest is None else f"{data.name}-{data.digest[:8]}"


def _needed(spec: TrialSpec, arm: Arm, scale: Scale) -> Iterator[Stage]:
    """The stages that a trial reads, in order."""
    if isinstance(spec.source, FitSpec):
        varied = tuple((path, value) for path, value in arm if path.startswith("source.") or "." not in path)
        yield from _fit_stages(spec.source, varied, scale)
    if isinstance(spec.measures, MeasureSpec) and isinstance(spec.source, FitSpec):
        yield from _fit_stages(spec.measures.classifier, (), scale)
        yield _reference_stage(reference_of(spec), scale)


def reference_of(spec: TrialSpec) -> ReferenceSpec:
    """What a trial on real data compares with."""
    assert isinstance(spec.source, FitSpec) and isinstance(spec.measures, MeasureSpec)
    return ReferenceSpec(data=spec.source.data, measures=spec.measures, rows=spec.sampling.rows)


def _fit_stages(spec: FitSpec, varied: Arm, scale: Scale) -> Iterator[Stage]:
    """The stage of a fit after those of its inner fits."""
    for inner in inner_fits(spec):
        yield from _fit_stages(inner, (("images", inner.budget.images_seen),), scale)
    yield _fit_stage(spec, varied, scale)


def _fit_stage(spec: FitSpec, varied: Arm, scale: Scale) -> Stage:
    data, label = data_label(spec.data), model_label(spec.model)
    # What the label says already, as that the backbone is a U-Net, is not said again.
    told = tuple(
        (path, value) for path, value in varied if names.param_text(value).replace("_", " ") not in label
    )
    return Stage(
        kind="fit",
        body="pipelines.fits:fit",
        key=key(spec),
        name=f"{label} {arm_text(told)}".rstrip() + f", seed {spec.seed}, {data} {scale}",
        spec=spec,
        experiment=names.FITS,
        needs=tuple(map(key, inner_fits(spec))),
        params=(("data", data), ("scale", scale), *flat_params(spec)),
        resources=Resources(gpus=1.0, memory_bytes=FIT_BYTES),
        work=3.0 * spec.budget.images_seen,
    )


def _reference_stage(spec: ReferenceSpec, scale: Scale) -> Stage:
    data = data_label(spec.data)
    return Stage(
        kind="reference",
        body="pipelines.stages:reference",
        key=key(spec),
        name=f"reference of {spec.measures.rows} rows, {data} {scale}",
        spec=spec,
        experiment=names.FITS,
        needs=(key(spec.measures.classifier),),
        params=(
            ("data", data),
            ("scale", scale),
            ("rows", str(spec.rows)),
            ("reference_rows", str(spec.measures.rows)),
            ("extractors", " ".join(spec.measures.extractors)),
        ),
        resources=Resources(gpus=0.25, memory_bytes=GIB),
    )


def _trial_stage(
    study: Study, trial: Trial, data: DataSpec, scale: Scale, columns: Mapping[str, str]
) -> Stage:
    spec, network = trial.spec, isinstance(trial.spec.source, FitSpec)
    # An exact denoiser depends on no data set; naming one would tell apart rows that all executions share.
    label = data_label(data) if isinstance(spec.source, FitSpec) else spec.source.name
    model = spec.source.model if isinstance(spec.source, FitSpec) else None
    drawn_by_sampler = model is None or isinstance(model, DiffusionSpec | LatentDiffusionSpec)
    fields = {
        f"sampling.{f.name}": getattr(spec.sampling, f.name)
        for f in dataclasses.fields(spec.sampling)
        if drawn_by_sampler or f.name in ONE_PASS_FIELDS
    }
    fields |= {path: value for path in columns if (value := _field(spec, path)) is not _MISSING}
    fields |= dict(trial.arm)
    params = {"data": label, "scale": scale, "panel": trial.panel, "seed": str(trial.seed)}
    params |= {names.column_of(path): names.param_text(value) for path, value in fields.items()}
    return Stage(
        kind="trial",
        body="pipelines.stages:trial" if network else "pipelines.oracle:trial",
        key=key(spec),
        name=f"{arm_text(trial.arm)}, seed {trial.seed}, {label} {scale}",
        spec=spec,
        experiment=study.name,
        needs=tuple(stage.key for stage in _needed(spec, trial.arm, scale)),
        params=tuple(params.items()),
        tags=(
            (names.TAG_SAMPLES, samples_key(spec)),
            (names.TAG_GENERATION, generation(spec)),
        ),
        resources=Resources(gpus=0.25 if network else 0.0, memory_bytes=GIB),
        work=float(spec.sampling.rows * spec.sampling.nfe * (2 if spec.sampling.guidance != 1 else 1))
        * network,
    )


def model_label(spec: ModelSpec) -> str:
    """A family in words, with its network where it can have several: `diffusion unet`, `coupling flow`."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(spec).__name__.removesuffix("Spec"))
    network = getattr(spec, "backbone", spec)
    return " ".join(filter(None, (words.lower(), getattr(network, "name", "").replace("_", " "))))


def arm_text(arm: Arm) -> str:
    """An arm in words: `ddim uniform_t nfe 20`."""
    return " ".join(
        value if isinstance(value, str) else f"{names.column_of(path)} {names.param_text(value)}"
        for path, value in arm
    )


def flat_params(spec: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """All fields of a spec and of the specs in it, by their dotted names, as text."""
    for entry in dataclasses.fields(spec):
        value, path = getattr(spec, entry.name), f"{prefix}{entry.name}"
        if dataclasses.is_dataclass(value):
            yield from flat_params(value, f"{path}.")
        else:
            yield path, names.param_text(value)


_MISSING = object()


def _field(spec: Any, path: str) -> Any:
    for part in path.split("."):
        spec = getattr(spec, part, _MISSING)
    return spec


def _without_seeds(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_seeds(item) for name, item in value.items() if name != "seed"}
    return [_without_seeds(item) for item in value] if isinstance(value, list) else value


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
