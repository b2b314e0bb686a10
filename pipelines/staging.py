"""A trial -> the stages that it takes. Imports neither torch, Ray nor MLflow's server."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines import names
from pipelines.stage import Resources, Stage
from workbench.expansion import Trial
from workbench.identity import canonical, key, to_json
from workbench.spec import (
    Arm,
    CheckpointSpec,
    ClassifierSpec,
    DataSpec,
    DiffusionSpec,
    FeatureSpec,
    FitSpec,
    LatentDiffusionSpec,
    MeasureSpec,
    ModelSpec,
    OracleSpec,
    ReadoutSpec,
    RecognitionSpec,
    Scale,
    Study,
    TrialSpec,
    fit_of,
    inner_fits,
)

GIB = 1 << 30
FIT_BYTES = 3 * GIB // 2
ONE_PASS_FIELDS = ("nfe", "rows", "seed")  # of a sampling, where there is no sampler


@dataclass(frozen=True, kw_only=True)
class ReferenceSpec:
    """What all trials of one data set compare with: features of the real rows, and the floors at `rows` real rows."""

    data: DataSpec
    measures: MeasureSpec
    rows: int


def generation(spec: Any) -> str:
    """A digest of a spec without its seeds: trials that differ in their seeds alone agree in it."""
    return _digest(json.dumps(_without_seeds(canonical(spec)), sort_keys=True))


def samples_key(spec: TrialSpec) -> str:
    """A digest of what samples depend on: their source and how they are drawn, not what is measured of them."""
    return _digest(to_json(spec.source) + to_json(spec.sampling))


def data_label(data: DataSpec) -> str:
    """The name of a data set; for the user's own data with the start of the digest that tells them apart."""
    return data.name if data.digest is None else f"{data.name}-{data.digest[:8]}"


def needed(spec: TrialSpec | RecognitionSpec, arm: Arm, scale: Scale) -> Iterator[Stage]:
    """The stages that a trial reads, each after those that it reads itself."""
    if isinstance(spec, RecognitionSpec):
        fit = fit_of(spec)
        if fit is not None:
            yield from _fit_stages(fit, _told_apart(fit), scale)
        if isinstance(spec.by, ReadoutSpec):
            yield _features_stage(spec.by.features, scale)
            if spec.by.drawn is not None:
                yield from needed(spec.by.drawn, arm, scale)
        return
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


def _told_apart(fit: FitSpec) -> Arm:
    """What tells apart the fits of one network in a study of classification: its images, its labels, its start."""
    told: list[tuple[str, Any]] = [("images", fit.budget.images_seen)]
    if isinstance(fit.budget, CheckpointSpec):
        told.append(("of", fit.budget.whole_images))
    if isinstance(fit.model, ClassifierSpec):
        told.append(("width", fit.model.width))
    told += [("labelled", fit.data.labelled)] * (fit.data.labelled != 1)
    told += [("data", "misleading")] * fit.data.shortcut
    told += [("model", "without labels")] * (getattr(fit.model, "conditional", True) is False)
    told += [("model", "pretrained")] * bool(inner_fits(fit))
    return tuple(told)


def _features_stage(spec: FeatureSpec, scale: Scale) -> Stage:
    data = data_label(spec.data)
    label = "untrained " * spec.untrained + spec.of
    told = () if spec.source is None else _told_apart(spec.source)
    told += (("rows", spec.train_share),) * (spec.train_share != 1)
    return Stage(
        kind="features",
        body="pipelines.recognition.features:features",
        key=key(spec),
        name=f"{label} {arm_text(told)}".rstrip() + f", seed {spec.seed}, {data} {scale}",
        spec=spec,
        experiment=names.FITS,
        needs=() if spec.source is None else (key(spec.source),),
        params=(("data", data), ("scale", scale), ("features", label)),
        resources=Resources(gpus=0.5, memory_bytes=2 * GIB),
    )


def _fit_stages(spec: FitSpec, varied: Arm, scale: Scale) -> Iterator[Stage]:
    """The stage of a fit after those of its inner fits."""
    for inner in inner_fits(spec):
        yield from _fit_stages(inner, _told_apart(inner), scale)
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


def trial_stage(
    study: Study, trial: Trial, data: DataSpec, scale: Scale, columns: Mapping[str, str]
) -> Stage:
    """The stage of one trial; `columns` names the column of each field that an arm of the study changes."""
    spec = trial.spec
    # An exact denoiser depends on no data set; naming one would tell apart rows that all executions share.
    exact = spec.source if isinstance(spec, TrialSpec) and isinstance(spec.source, OracleSpec) else None
    label = exact.name if exact else data_label(data)
    fields = _sampling_fields(spec) if isinstance(spec, TrialSpec) else {}
    fields |= {path: value for path in columns if (value := _field(spec, path)) is not _MISSING}
    fields |= dict(trial.arm)
    params = {"data": label, "scale": scale, "panel": trial.panel, "seed": str(trial.seed)}
    params |= {names.column_of(path): names.param_text(value) for path, value in fields.items()}
    tags = [(names.TAG_GENERATION, generation(spec))]
    body, work = "pipelines.recognition.trial:trial", 0.0
    if isinstance(spec, TrialSpec):
        body = "pipelines.oracle:trial" if exact else "pipelines.stages:trial"
        tags.append((names.TAG_SAMPLES, samples_key(spec)))
        passes = 2 if spec.sampling.guidance != 1 else 1
        work = float(spec.sampling.rows * spec.sampling.nfe * passes) * (exact is None)
    return Stage(
        kind="trial",
        body=body,
        key=key(spec),
        name=f"{arm_text(trial.arm)}, seed {trial.seed}, {label} {scale}",
        spec=spec,
        experiment=study.name,
        needs=tuple(stage.key for stage in needed(spec, trial.arm, scale)),
        params=tuple(params.items()),
        tags=tuple(tags),
        resources=Resources(gpus=0.0 if exact else 0.25, memory_bytes=GIB),
        work=work,
    )


def _sampling_fields(spec: TrialSpec) -> dict[str, Any]:
    """The fields of a sampling that mean something for its source."""
    model = spec.source.model if isinstance(spec.source, FitSpec) else None
    drawn_by_sampler = model is None or isinstance(model, DiffusionSpec | LatentDiffusionSpec)
    return {
        f"sampling.{f.name}": getattr(spec.sampling, f.name)
        for f in dataclasses.fields(spec.sampling)
        if drawn_by_sampler or f.name in ONE_PASS_FIELDS
    }


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
