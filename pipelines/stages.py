"""The stages that describe the real rows and that draw and measure generated ones. Training is in `fits`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from pipelines import drawing, latent, names, probes, shared
from pipelines.drawing import Drawn
from pipelines.stage import Done
from pipelines.staging import ReferenceSpec, reference_of
from pipelines.work import Product, Work
from workbench import metrics
from workbench.data import Dataset, Split, from_display, to_display
from workbench.execution import Execution, peak_memory_bytes
from workbench.identity import key
from workbench.models import GenerativeModel
from workbench.registry import UserError
from workbench.spec import DiffusionSpec, FitSpec, MeasureSpec, TrialSpec, inner_fits

MEASURE_SEED = 0  # the random choices inside measures are the same for all trials
FORWARD_AND_BACKWARD = 3  # evaluations of a row that a training step costs
SAMPLES = "samples.npz"  # images and labels, and the trace of a family that draws step by step


def reference(work: Work) -> Product:
    """Describe the reference rows, and measure as many real rows as are generated against them: the floors."""
    shared.execution(work)
    spec: ReferenceSpec = work.stage.spec
    measures, location = spec.measures, work.setting.data_location
    data = shared.dataset(spec.data, location)
    judge = shared.classifier(work, measures)
    count = measures.rows
    real = shared.described(data.test.images[:count], data.test.labels[:count], data, measures, judge)
    others = held_out(data, count, spec.rows)
    described = shared.described(others.images, others.labels, data, measures, judge)
    train = metrics.with_copy_threshold(metrics.Rows(images=shared.train_images(spec.data, location)))
    floors = metrics.floors(measures.names, measures.extractors, described, real, train, MEASURE_SEED)
    arrays = {f"features.{name}": features.numpy() for name, features in real.features.items()}
    arrays["copy_threshold"] = np.array(train.copy_threshold)
    if real.probabilities is not None:
        arrays["probabilities"] = real.probabilities.numpy()
    np.savez(work.folder / shared.REFERENCE, allow_pickle=False, **arrays)
    return Product(metrics={names.FLOOR + names.stored(name): value for name, value in floors.items()})


def held_out(data: Dataset, reference_rows: int, rows: int) -> Split:
    """Real rows that are not among the reference rows: such as no network has seen where there are enough of them,
    else training rows."""
    images = torch.cat([data.test.images[reference_rows:], data.validation.images])
    labels = torch.cat([data.test.labels[reference_rows:], data.validation.labels])
    if len(images) < rows:
        images, labels = data.train.images, data.train.labels
    return Split(images[:rows], labels[:rows])


def trial(work: Work) -> Product:
    """Draw rows from a trained network, or take those that are stored, and measure them."""
    execution = shared.execution(work)
    spec: TrialSpec = work.stage.spec
    assert isinstance(spec.source, FitSpec) and isinstance(spec.measures, MeasureSpec)
    data = shared.dataset(spec.source.data, work.setting.data_location)
    source = work.inputs[key(spec.source)]
    there = work.stage.samples is not None
    rows = stored(work, data) if there else drawn(work, spec, source, data, execution)
    shown, labels = to_display(rows.images, data.levels), rows.labels
    given = labels if labels is not None else torch.full((len(shown),), -1)
    arrays = {"images": shown.numpy(), "labels": given.numpy(), **(rows.trace or {})}
    np.savez_compressed(work.folder / SAMPLES, allow_pickle=False, **arrays)
    of_fit = starting_with(names.QUALITY, source.metrics)
    probed: dict[str, float] = {}
    probe_tags: dict[str, str] = {}
    network = execution.place(generative(work, spec.source))
    if spec.measures.probes:
        probed, probe_tags = probes.take(spec.measures.probes, network, data, spec.sampling, execution)
    pictures, picture_tags = latent.take(network, data, execution, work.folder)
    return Product(
        metrics=of_fit | rows.cost | measured(work, spec, data, rows) | probed,
        tags={names.TAG_FIT_RUN: source.run_id, **probe_tags, **picture_tags},
        images={"samples": drawing.grid(shown), **pictures},
    )


def measured(work: Work, spec: TrialSpec, data: Dataset, rows: Drawn) -> dict[str, float]:
    """The measures of drawn rows and their floors, by the names under which they are stored."""
    assert isinstance(spec.measures, MeasureSpec)
    needed = reference_of(spec)
    real, train = shared.reference_rows(work, needed)
    generated = shared.described(
        rows.images, rows.labels, data, spec.measures, shared.classifier(work, spec.measures)
    )
    wanted = [name for name in spec.measures.names if rows.labels is not None or name != "recognised"]
    values = metrics.measure(wanted, spec.measures.extractors, generated, real, train, MEASURE_SEED)
    quality = {names.QUALITY + names.stored(name): value for name, value in values.items()}
    return quality | starting_with(names.FLOOR, work.inputs[key(needed)].metrics)


def drawn(work: Work, spec: TrialSpec, source: Done, data: Dataset, execution: Execution) -> Drawn:
    """Rows drawn now; their cost has the names under which it is stored."""
    assert isinstance(spec.source, FitSpec)
    network = generative(work, spec.source)
    execution.place(network)
    shared.reset_peak_memory()
    rows = drawing.draw(network, data, spec.sampling, execution, warm=shared.is_warm(network))
    flops = shared.flops_per_evaluation(network, execution)
    cost = {
        **rows.cost,
        **training_flops(spec.source, flops),
        "flops_per_evaluation": flops,
        "peak_memory_bytes": float(peak_memory_bytes(execution.device)),
        "threads": float(torch.get_num_threads()),
        "concurrency": float(work.setting.concurrency),
    }
    inherited = {
        names.COST + "parameters": source.metrics[names.COST + "parameters"],
        names.COST + "fit_seconds": fit_seconds(work, spec.source),
    }
    named = inherited | {names.COST + name: value for name, value in cost.items()}
    return replace(rows, cost=named)


def training_flops(spec: FitSpec, per_evaluation: float) -> dict[str, float]:
    """The operations of a fit of the network that is evaluated in drawing, its backward pass counting as two; nothing
    for a model that is trained in other passes than it is drawn in."""
    if not isinstance(spec.model, DiffusionSpec):
        return {}
    return {"training_flops": FORWARD_AND_BACKWARD * per_evaluation * spec.budget.images_seen}


def fit_seconds(work: Work, spec: FitSpec) -> float:
    """The seconds of a fit and of the fits that it took weights from."""
    own = work.inputs[key(spec)].metrics[names.COST + "fit_seconds"]
    return own + sum(fit_seconds(work, inner) for inner in inner_fits(spec))


def generative(work: Work, spec: FitSpec) -> GenerativeModel:
    """The trained model of a fit. Raises UserError when it draws nothing."""
    network = shared.model(work, spec)
    if not isinstance(network, GenerativeModel):
        raise UserError(f"model: {type(network).__name__} draws no samples; a generative model does")
    return network


def stored(work: Work, data: Dataset) -> Drawn:
    """Rows that an earlier trial drew, with what they cost then."""
    samples = work.stage.samples
    assert samples is not None
    with np.load(work.tracking.fetch(samples.run_id, SAMPLES, samples.artifacts[SAMPLES])) as arrays:
        images, labels = torch.from_numpy(arrays["images"]), torch.from_numpy(arrays["labels"])
        trace = {name: arrays[name] for name in arrays.files if name not in ("images", "labels")}
    return Drawn(
        images=from_display(images, data.levels),
        labels=labels if bool((labels >= 0).all()) else None,
        cost=starting_with(names.COST, samples.metrics),
        trace=trace or None,
    )


def starting_with(prefix: str, metrics_of: Mapping[str, float]) -> dict[str, float]:
    """The metrics whose names start with the prefix."""
    return {name: value for name, value in metrics_of.items() if name.startswith(prefix)}
