"""What trials of classification keep beside their measures, gathered from their runs into tables."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from pipelines.axes import Axes, finished
from workbench.presets.methods import CHECKPOINTS

EVIDENCE, WRONG = "recognition.json", "wrong.png"
DRAWN = "frechet[cnn]"  # of samples of the fit whose features are read
FIRST = ("diffusion_features", "diffusion_bayes", "cnn")  # shown first where there are many
Kept = Mapping[str, Any]


def applies(rows: pd.DataFrame) -> bool:
    """Whether the rows are of a study of classification."""
    done = finished(rows)
    return "error" in done and "test_rows" in done and bool(done["error"].notna().any())


def gathered(
    rows: pd.DataFrame, axes: Axes, read: Callable[[str], Kept], problems: tuple[type[Exception], ...]
) -> pd.DataFrame:
    """One row a finished trial at the most labels that its method was tried with: `method`, `labelled`, `seed`,
    `run_id` and `evidence`, what the trial kept as `read` gives it by run id; trials for which that raises one of
    `problems` are left out."""
    assert axes.series is not None
    done = finished(rows)
    most = done.groupby(axes.series)[axes.x].transform("max")
    found = []
    for row in done[done[axes.x] == most].to_dict("records"):
        with contextlib.suppress(*problems):  # the others are shown
            kept = read(row["run_id"])
            found.append(
                {
                    "method": str(row[axes.series]),
                    "labelled": float(row[axes.x]),
                    "seed": int(row["seed"]),
                    "run_id": row["run_id"],
                    "evidence": kept,
                }
            )
    order = {name: index for index, name in enumerate(axes.names)}
    table = pd.DataFrame(found, columns=["method", "labelled", "seed", "run_id", "evidence"])
    return table.sort_values(["method", "seed"], key=lambda c: c.map(order) if c.name == "method" else c)


def corruptions(kept: pd.DataFrame) -> pd.DataFrame:
    """One row a trial, corruption and severity: `method`, `seed`, `corruption`, `severity`, `accuracy`."""
    return _long(kept, "corruptions", ["corruption", "severity", "accuracy"])


def curves(kept: pd.DataFrame) -> pd.DataFrame:
    """One row a step of a generative classifier: `method`, `seed`, `pairs`, `evaluations` an image, `accuracy`."""
    return _long(kept, "curve", ["pairs", "evaluations", "accuracy"])


def along_training(rows: pd.DataFrame, axes: Axes) -> pd.DataFrame:
    """One row a checkpoint and seed: its `method`, the `share` of the training, `seed`, and the columns `error` and
    DRAWN; none for a study without checkpoints."""
    assert axes.series is not None
    done = finished(rows)
    columns = ["method", "share", "seed", "error", DRAWN]
    if DRAWN not in done:
        return pd.DataFrame(columns=columns)
    found = done[done[axes.series].isin(CHECKPOINTS)].dropna(subset=["error", DRAWN])
    method = found[axes.series].astype(str)
    found = found.assign(method=method, share=method.map(CHECKPOINTS).astype(float))
    return found[columns].sort_values(["seed", "share"], ignore_index=True)


def choices(kept: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """For each method that chose a layer, the choice of its first seed: `layer`, `time`, `side`, `grid`, `sides`,
    `map`."""
    found: dict[str, dict[str, Any]] = {}
    for row in kept.to_dict("records"):
        choice = row["evidence"].get("choice")
        if choice and {"grid", "sides"} <= set(choice):
            found.setdefault(row["method"], choice)
    return found


def confusions(kept: pd.DataFrame) -> dict[str, tuple[list[str], list[list[int]]]]:
    """For each method its classes and the confusion matrix, summed over seeds."""
    found: dict[str, tuple[list[str], list[list[int]]]] = {}
    for method, group in kept.groupby("method", sort=False):
        matrices = [one["confusion"] for one in group["evidence"]]
        total = [[sum(cell) for cell in zip(*lines, strict=True)] for lines in zip(*matrices, strict=True)]
        found[str(method)] = (list(group["evidence"].iloc[0]["classes"]), total)
    return found


def wrong_words(evidence: Kept) -> str:
    """The lines of the picture of images that were taken for another class, in words."""
    names = evidence["classes"]
    told = [f"{names[one['true']]} taken for {names[one['told']]}" for one in evidence["wrong"]]
    return f"From above: {', '.join(told)}."


def _long(kept: pd.DataFrame, name: str, columns: list[str]) -> pd.DataFrame:
    records = [
        {"method": row["method"], "seed": row["seed"], **{column: entry[column] for column in columns}}
        for row in kept.to_dict("records")
        for entry in row["evidence"].get(name, [])
    ]
    return pd.DataFrame(records, columns=["method", "seed", *columns])
