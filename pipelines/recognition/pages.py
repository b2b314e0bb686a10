"""The part of an answer sheet about classification: charts of layers, evaluations, confusions and corruptions."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException

from pipelines.axes import Axes
from pipelines.recognition import charts, evidence
from pipelines.vocabulary import looks

PROBLEMS = (OSError, ValueError, KeyError, MlflowException)
Fetch = Callable[[str, str], Path]
Save = Callable[
    [str, Callable[[], Any], str], str
]  # name, what draws it, its words -> the line that shows it


def parts(rows: pd.DataFrame, axes: Axes, save: Save, folder: Path, fetch: Fetch) -> list[str]:
    """The paragraphs, with figures that `save` writes; none for a study that tells no classes."""
    if not evidence.applies(rows):
        return []

    def read(run_id: str) -> evidence.Kept:
        kept: evidence.Kept = json.loads(fetch(run_id, evidence.EVIDENCE).read_text())
        return kept

    kept = evidence.gathered(rows, axes, read, PROBLEMS)
    return list(_parts(rows, kept, axes, save, folder, fetch)) if len(kept) else []


def _parts(
    rows: pd.DataFrame, kept: pd.DataFrame, axes: Axes, save: Save, folder: Path, fetch: Fetch
) -> Iterator[str]:
    look = looks(axes.names)
    classes = next(iter(kept["evidence"]))["classes"]
    choices = evidence.choices(kept)
    if choices:
        name, choice = next(iter(choices.items()))
        yield f"## Where the features are: {look[name].label}"
        yield save("layers", partial(charts.layers_chart, choice, classes), "Layer and noise level")
        yield charts.LAYERS
    along = evidence.along_training(rows, axes)
    if len(along):
        yield "## Along the training"
        yield save(
            "training",
            partial(charts.training_chart, along, look[along["method"].iloc[-1]].colour),
            "Error and distance along the training",
        )
        yield charts.TRAINING
    curves = evidence.curves(kept)
    if len(curves):
        yield "## The model as a classifier"
        yield save(
            "evaluations", lambda: charts.evaluations_chart(curves, look), "Accuracy against evaluations"
        )
        yield charts.EVALUATIONS
        yield from _wrong(kept, folder, fetch)
    yield "## What is taken for what"
    for name, (names, counts) in evidence.confusions(kept).items():
        if name in evidence.FIRST:
            yield f"### {look[name].label}"
            yield save(
                f"confusion-{name}",
                partial(charts.confusion_chart, names, counts),
                "Confusion matrix",
            )
    tried = evidence.corruptions(kept)
    if len(tried):
        yield "## Corrupted images"
        yield save(
            "corruptions", lambda: charts.corruptions_chart(tried, look), "Accuracy on corrupted images"
        )
        yield charts.CORRUPTIONS


def _wrong(kept: pd.DataFrame, folder: Path, fetch: Fetch) -> Iterator[str]:
    """The first picture of images that a generative classifier took for another class."""
    for row in kept.to_dict("records"):
        if not row["evidence"].get("wrong"):
            continue
        with contextlib.suppress(*PROBLEMS):  # the next one may be there
            shutil.copyfile(fetch(row["run_id"], evidence.WRONG), folder / evidence.WRONG)
            yield f"![Images taken for another class]({folder.name}/{evidence.WRONG})"
            yield f"{evidence.wrong_words(row['evidence'])} {charts.WRONG}"
            return
