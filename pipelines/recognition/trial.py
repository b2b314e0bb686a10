"""The stage that tells the classes of test images in one way, and how often it errs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from pipelines import drawing, names, shared, stages
from pipelines.recognition.evidence import EVIDENCE, WRONG
from pipelines.recognition.features import CHOICE, corrupted, stored
from pipelines.stage import Done
from pipelines.work import Product, Work
from workbench import rng
from workbench.data import Dataset, few_rows, marked_classes, of_each_class, to_bytes, to_display, to_float
from workbench.execution import Execution
from workbench.identity import key
from workbench.models import Classifies, DiffusionModel, GenerativeModel, Model
from workbench.recognition import (
    CORRUPTIONS,
    SEVERITIES,
    Bayes,
    bound_classifier,
    density_classifier,
    fit_probe,
)
from workbench.registry import UserError
from workbench.spec import BayesSpec, ReadoutSpec, RecognitionSpec, SupervisedSpec, data_of, fit_of

WRONG_SHOWN = 6  # images
# The noise level from which they are restored under each class; at half of it all classes look alike.
WRONG_TIME = 0.8


@dataclass(kw_only=True)
class Told:
    """What was told of the first test rows, int64 [n]; the accuracy of each corruption and severity; what else is to be
    kept: measures, evidence for the page, a picture of images that were told wrongly."""

    classes: Tensor
    accuracy: float | None = None  # where it is a mean over several readouts
    corrupted: dict[tuple[str, int], float] = field(default_factory=dict)
    measures: dict[str, float] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)
    evidence: dict[str, Any] = field(default_factory=dict)
    wrong: Image | None = None


def trial(work: Work) -> Product:
    """Tell the classes of the test rows, count the errors, and keep what a reader wants to see of them."""
    execution = shared.execution(work)
    spec: RecognitionSpec = work.stage.spec
    data = shared.dataset(data_of(spec), work.setting.data_location)
    match spec.by:
        case ReadoutSpec():
            told = by_readout(work, spec.by, spec.seed, data)
        case BayesSpec():
            told = _by_bayes(work, spec.by, spec.seed, data, execution)
        case SupervisedSpec():
            told = _by_network(work, spec.by, data, execution)
    truth = data.test.labels[: len(told.classes)]
    accuracy = told.accuracy if told.accuracy is not None else _accuracy(told.classes, truth)
    measured = {"accuracy": accuracy, "error": 1 - accuracy, "test_rows": float(len(truth))}
    measured |= told.measures | corruption_errors(told.corrupted)
    if data_of(spec).shortcut:
        marked = marked_classes(data.test.images[: len(truth)], len(data.classes))
        measured["misled"] = _accuracy(told.classes, marked)
    evidence = told.evidence | {
        "classes": data.classes,
        "confusion": confusion(told.classes, truth, len(data.classes)).tolist(),
        "corruptions": [
            {"corruption": name, "severity": severity, "accuracy": value}
            for (name, severity), value in told.corrupted.items()
        ],
    }
    (work.folder / EVIDENCE).write_text(json.dumps(evidence))
    if told.wrong is not None:
        told.wrong.save(work.folder / WRONG, optimize=True)
    fit = fit_of(spec)
    source = work.inputs[key(fit)] if fit is not None else None
    drawn: dict[str, float] = {}
    pictures: dict[str, Image] = {}
    if source is not None and isinstance(spec.by, ReadoutSpec) and spec.by.drawn is not None:
        rows = stages.drawn(work, spec.by.drawn, source, data, execution)
        drawn = stages.measured(work, spec.by.drawn, data, rows)
        pictures = {"samples": drawing.grid(to_display(rows.images, data.levels))}
    return Product(
        metrics={names.QUALITY + names.stored(name): value for name, value in measured.items()}
        | _inherited(source)
        | {names.COST + name: value for name, value in told.cost.items()}
        | drawn,
        tags={names.TAG_FIT_RUN: source.run_id} if source is not None else {},
        images=pictures,
    )


def corruption_errors(accuracies: Mapping[tuple[str, int], float]) -> dict[str, float]:
    """The mean error over severities of each corruption, and over all; nothing where none was tried."""
    errors = {
        f"error[{name}]": 1 - float(np.mean([accuracies[name, severity] for severity in SEVERITIES]))
        for name in CORRUPTIONS
        if (name, SEVERITIES[0]) in accuracies
    }
    return errors | ({"error[corrupted]": float(np.mean(list(errors.values())))} if errors else {})


def confusion(told: Tensor, truth: Tensor, classes: int) -> Tensor:
    """How many rows of each true class (lines) were told to be of each class (columns): int64 [classes, classes]."""
    counts = torch.bincount(truth * classes + told, minlength=classes**2)
    return counts.reshape(classes, classes)


def by_readout(work: Work, by: ReadoutSpec, seed: int, data: Dataset) -> Told:
    """A readout of stored features, once for each random choice of few labels."""
    done = work.inputs[key(by.features)]
    rows = stored(work, by.features, key(by.features))
    seen, classes = data.train.labels[: len(rows["train"])], len(data.classes)
    each = of_each_class(by.labelled, len(data.train), classes)
    clean, under = [], dict[tuple[str, int], list[float]]()
    began = time.perf_counter()
    for draw in range(by.draws):
        chosen = torch.arange(len(seen))
        if by.labelled < 1:
            chosen = few_rows(seen, classes=classes, each=each, draw=by.draws * seed + draw)
        fitted = fit_probe(
            by.head,
            rows["train"][chosen],
            seen[chosen],
            rows["validation"],
            data.validation.labels,
            classes=classes,
            seed=seed,
        )
        asked = time.perf_counter()
        told = fitted.probe(rows["test"]).argmax(1)
        answering = 1000 * (time.perf_counter() - asked) / len(told)
        clean.append(_accuracy(told, data.test.labels))
        for name, severity in _tried(by.features.corrupted_rows):
            damaged = rows[f"{name}.{severity}"]
            accuracy = _accuracy(fitted.probe(damaged).argmax(1), data.test.labels[: len(damaged)])
            under.setdefault((name, severity), []).append(accuracy)
    choice = json.loads(work.tracking.fetch(done.run_id, CHOICE, done.artifacts[CHOICE]).read_text())
    prefix = names.QUALITY + "chosen_"
    return Told(
        classes=told,
        accuracy=float(np.mean(clean)),
        corrupted={one: float(np.mean(values)) for one, values in under.items()},
        measures={
            "labels": float(len(chosen)),
            "readout_choice": fitted.choice,
            **{n.removeprefix(names.QUALITY): v for n, v in done.metrics.items() if n.startswith(prefix)},
        },
        cost={
            "classify_seconds": done.metrics[names.COST + "classify_seconds"] + answering,
            "readout_seconds": (time.perf_counter() - began) / by.draws,
        },
        evidence={"choice": choice} if choice else {},
    )


def _by_network(work: Work, by: SupervisedSpec, data: Dataset, execution: Execution) -> Told:
    """A trained classifier."""
    model = shared.model(work, by.fit)
    if not isinstance(model, Classifies):
        raise UserError(f"model: {type(model).__name__} tells no classes; a classifier does")
    execution.place(model)

    def tell(images: Tensor) -> Tensor:
        return shared.probabilities(model, images, execution).argmax(1)

    images = to_float(data.test.images, data.levels)
    began = time.perf_counter()
    told = tell(images)
    seconds = time.perf_counter() - began
    return Told(
        classes=told,
        corrupted=_under(data, by.corrupted_rows, tell),
        measures={"labels": float(len(shared.dataset(by.fit.data, work.setting.data_location).train))},
        cost={"classify_seconds": 1000 * seconds / len(images)},
    )


def _by_bayes(work: Work, by: BayesSpec, seed: int, data: Dataset, execution: Execution) -> Told:
    """A generative model as a classifier by Bayes' rule."""
    model = shared.model(work, by.fit)
    execution.place(model)
    images = to_float(data.test.images[: by.rows], data.levels)
    tell = _teller(model, by, seed, execution)
    began = time.perf_counter()
    found = tell(images)
    seconds = time.perf_counter() - began
    truth = data.test.labels[: len(images)]
    told = Told(
        classes=found.labels,
        corrupted=_under(data, by.corrupted_rows, lambda damaged: tell(damaged).labels),
        measures={"labels": float(len(data.train))},
        cost={"classify_seconds": 1000 * seconds / len(images), "evaluations_per_image": found.evaluations},
        evidence={
            "curve": [
                {
                    "pairs": step.pairs,
                    "evaluations": step.evaluations,
                    "accuracy": _accuracy(step.labels, truth),
                }
                for step in found.curve
            ]
        },
    )
    wrong = (found.labels != truth).nonzero().flatten()[:WRONG_SHOWN]
    if isinstance(model, DiffusionModel) and len(wrong):
        told.wrong = restored(model, data, wrong, seed, execution)
        told.evidence["wrong"] = [
            {"row": row, "told": int(found.labels[row]), "true": int(truth[row])} for row in wrong.tolist()
        ]
    return told


def _teller(model: Model, by: BayesSpec, seed: int, execution: Execution) -> Callable[[Tensor], Bayes]:
    if isinstance(model, DiffusionModel):
        return lambda images: bound_classifier(model, images, draws=by.pairs, seed=seed, execution=execution)
    if not isinstance(model, GenerativeModel):
        raise UserError(f"model: {type(model).__name__} tells no likelihood; Bayes' rule needs one")

    def tell(images: Tensor) -> Bayes:
        densities = density_classifier(model, images, seed=seed, execution=execution)
        return Bayes(labels=densities.argmax(1), evaluations=float(densities.shape[1]), curve=())

    return tell


def restored(model: DiffusionModel, data: Dataset, rows: Tensor, seed: int, execution: Execution) -> Image:
    """Test rows that were taken for another class, a line each: the image, the image noised to WRONG_TIME, and what the
    denoiser restores of that under each class."""
    images = to_float(data.test.images[rows], data.levels)
    noise = rng.normal_rows(seed, "restored", start=0, stop=len(rows), shape=data.shape)
    t = torch.tensor(WRONG_TIME, dtype=torch.float64)
    alpha, sigma = (float(value) for value in model.preconditioned.schedule(t))
    x_t = alpha * images + sigma * noise
    columns = [images, x_t]
    with torch.no_grad(), execution.autocast():
        for label in range(model.classes):
            cond = torch.full((len(rows),), label, device=execution.device)
            at = t.to(execution.device, torch.float32)
            columns.append(model.preconditioned(x_t.to(execution.device), at, cond).float().cpu())
    shown = to_display(to_bytes(torch.stack(columns, dim=1).flatten(0, 1), data.levels), data.levels)
    return drawing.grid(shown, columns=len(columns))


def _under(data: Dataset, rows: int, tell: Callable[[Tensor], Tensor]) -> dict[tuple[str, int], float]:
    truth = data.test.labels[:rows]
    return {
        (name, severity): _accuracy(tell(images), truth) for name, severity, images in corrupted(data, rows)
    }


def _tried(rows: int) -> list[tuple[str, int]]:
    return [(name, severity) for name in CORRUPTIONS for severity in SEVERITIES] if rows else []


def _accuracy(told: Tensor, truth: Tensor) -> float:
    return float((told == truth).double().mean())


def _inherited(source: Done | None) -> dict[str, float]:
    """What the fit cost that the trial rests on."""
    wanted = [names.COST + name for name in ("parameters", "fit_seconds")]
    return {name: source.metrics[name] for name in wanted if source is not None and name in source.metrics}
