"""The stage that computes the features of all rows of a data set, at a layer and noise level that validation chose."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipelines import names, shared
from pipelines.recognition.checks import CHOSEN_FROM
from pipelines.work import Product, Work
from workbench.data import Dataset, to_bytes, to_float
from workbench.execution import Execution
from workbench.models import DiffusionModel, GenerativeModel
from workbench.recognition import (
    CORRUPTIONS,
    SEVERITIES,
    activations,
    choose,
    latents,
    layers,
    principal,
    randomised,
)
from workbench.registry import UserError
from workbench.spec import FeatureSpec

FEATURES, CHOICE = "features.npz", "choice.json"
MAPPED_ROWS = 240
TRAIN, VALIDATION, TEST, CORRUPTED = range(4)  # addresses of the noise

# Images [N, *S] and the address of their noise -> features [N, D].
View = Callable[[Tensor, int], Tensor]
Cell = tuple[str, float, int]  # layer, noise level t, cells a side


@dataclass(frozen=True, kw_only=True)
class Viewed:
    """A way to look at images, what is told of how it was chosen, and the measures of that choice."""

    view: View
    choice: dict[str, Any]
    metrics: dict[str, float]


def features(work: Work) -> Product:
    """Choose how to look, where there is a choice, and look at all rows."""
    execution = shared.execution(work)
    spec: FeatureSpec = work.stage.spec
    data = shared.dataset(spec.data, work.setting.data_location)
    seen = _viewed(work, spec, data, execution)
    rows = math.ceil(spec.train_share * len(data.train))

    def look(images: Tensor, address: int) -> np.ndarray:
        found: np.ndarray = seen.view(images, address).half().numpy()  # half the bytes to keep and to send
        return found

    arrays = {
        "train": look(to_float(data.train.images[:rows], data.levels), TRAIN),
        "validation": look(to_float(data.validation.images, data.levels), VALIDATION),
    }
    began = time.perf_counter()
    arrays["test"] = look(to_float(data.test.images, data.levels), TEST)
    seconds = (time.perf_counter() - began) / len(data.test) * 1000
    for name, severity, images in corrupted(data, spec.corrupted_rows):
        arrays[f"{name}.{severity}"] = look(images, CORRUPTED)
    np.savez(work.folder / FEATURES, allow_pickle=False, **arrays)
    (work.folder / CHOICE).write_text(json.dumps(seen.choice))
    dimensions = {"dimensions": float(arrays["train"].shape[1])}
    quality = {names.QUALITY + name: value for name, value in (seen.metrics | dimensions).items()}
    return Product(metrics=quality | {names.COST + "classify_seconds": seconds})


def corrupted(data: Dataset, rows: int) -> Iterator[tuple[str, int, Tensor]]:
    """The first test rows under each corruption at each severity: (name, severity, images [rows, *S]), which are images
    of the data's levels again, as a likelihood is one of such images alone."""
    images = to_float(data.test.images[:rows], data.levels)
    for name in CORRUPTIONS if rows else ():
        for severity in SEVERITIES:
            damaged = to_bytes(CORRUPTIONS[name](images, severity, 0), data.levels)
            yield name, severity, to_float(damaged, data.levels)


def _viewed(work: Work, spec: FeatureSpec, data: Dataset, execution: Execution) -> Viewed:
    if spec.of == "pixels":
        return Viewed(view=lambda images, _: images.flatten(1), choice={}, metrics={})
    if spec.of == "principal":
        train = to_float(data.train.images, data.levels).flatten(1)
        # Half of the values at most: all of them would be the pixels again, turned.
        project = principal(train, min(spec.components, len(train), max(1, train.shape[1] // 2)))
        return Viewed(view=lambda images, _: project(images.flatten(1)), choice={}, metrics={})
    assert spec.source is not None
    model = shared.model(work, spec.source)
    execution.place(model)
    if spec.of == "latents":
        if not isinstance(model, GenerativeModel):
            raise UserError(f"features: {type(model).__name__} has no encoder, so no latents")
        encoder = model  # typed as what it was found to be
        return Viewed(view=lambda images, _: latents(encoder, images, execution), choice={}, metrics={})
    if not isinstance(model, DiffusionModel):
        raise UserError(
            f"features: {type(model).__name__} is no denoiser; activations are those of a diffusion model"
        )
    if spec.untrained:
        model = execution.place(randomised(model, spec.seed))
    return at_best(model, spec, data, execution)


def at_best(model: DiffusionModel, spec: FeatureSpec, data: Dataset, execution: Execution) -> Viewed:
    """Activations at the layer and noise level of most validation accuracy, and there at the grid of most."""
    known = layers(model)
    wanted = spec.layers or known
    train, held_out = data.train, data.validation
    few = slice(0, spec.grid_rows), slice(0, CHOSEN_FROM)

    def looked(
        images: Tensor, *, address: int, layers: Sequence[str], at: float, sides: Sequence[int], draws: int
    ) -> dict[tuple[str, int], Tensor]:
        return activations(
            model,
            images,
            layers=layers,
            time=at,
            sides=sides,
            draws=draws,
            seed=_address(spec.seed, address),
            execution=execution,
        )

    mapped: dict[str, Tensor] = {}

    def cells(
        layers: Sequence[str], times: Sequence[float], sides: Sequence[int]
    ) -> Iterator[tuple[Cell, Tensor, Tensor]]:
        for at in times:
            of_train, of_held_out = (
                looked(
                    to_float(rows, data.levels), address=address, layers=layers, at=at, sides=sides, draws=1
                )
                for rows, address in (
                    (train.images[few[0]], TRAIN),
                    (held_out.images[few[1]], VALIDATION),
                )
            )
            for layer, side in of_train:
                mapped.setdefault(f"{layer}@{at:g}", of_held_out[layer, side][:MAPPED_ROWS].clone())
                yield (layer, at, side), of_train[layer, side], of_held_out[layer, side]

    def chosen(
        layers: Sequence[str], times: Sequence[float], sides: Sequence[int]
    ) -> tuple[Cell, dict[Cell, float]]:
        labels = train.labels[few[0]], held_out.labels[few[1]]
        return choose(cells(layers, times, sides), *labels, classes=len(data.classes))

    def view(images: Tensor, address: int) -> Tensor:
        found = looked(images, address=address, layers=(layer,), at=at, sides=(side,), draws=spec.draws)
        return found[layer, side]

    (layer, at, _), grid = chosen(wanted, spec.times, spec.sides[:1])
    best, at_sides = chosen((layer,), (at,), spec.sides)
    side = best[2]
    behind = known.index(layer) > (len(known) - 1) / 2
    return Viewed(
        view=view,
        choice={
            "layer": layer,
            "time": at,
            "side": side,
            "grid": [{"layer": name, "time": t, "accuracy": found} for (name, t, _), found in grid.items()],
            "sides": [{"side": length, "accuracy": found} for (*_, length), found in at_sides.items()],
            "map": _map(mapped, held_out.labels),
        },
        metrics={
            "chosen_time": at,
            "chosen_side": float(side),
            "chosen_behind_middle": float(behind),
            "validation_accuracy": at_sides[best],
        },
    )


def _map(mapped: dict[str, Tensor], labels: Tensor) -> dict[str, Any]:
    """A flat picture of validation rows by their features in each cell: their first two principal components, scaled to
    unit deviation."""
    places: dict[str, list[list[float]]] = {}
    for cell, rows in mapped.items():
        flat = principal(rows, 2)(rows)
        places[cell] = (flat / flat.std(0).clamp_min(1e-6)).double().round(decimals=2).tolist()
    return {"labels": labels[:MAPPED_ROWS].tolist(), "places": places}


def _address(seed: int, address: int) -> int:
    """A seed of the noise for each split, so that no test row is seen through the noise of a training row."""
    return 4 * seed + address


def stored(work: Work, spec: FeatureSpec, key: str) -> dict[str, Tensor]:
    """The features of a finished stage, by the names of the rows that they are of, in float32."""
    done = work.inputs[key]
    with np.load(work.tracking.fetch(done.run_id, FEATURES, done.artifacts[FEATURES])) as arrays:
        return {name: torch.from_numpy(arrays[name]).float() for name in arrays.files}
