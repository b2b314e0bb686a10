"""The pictures of an answer sheet: one start in every arm, samples of several arms, the way of one image."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
from mlflow.exceptions import MlflowException

from pipelines import pictures
from pipelines.axes import Axes, finished, one_start, present, run_of
from pipelines.pictures import Bytes, Samples
from pipelines.vocabulary import in_text, looks

SIDE = 1100  # pixels of a picture as wide as the page
FAVOURITES = ("ddpm", "ddim", "dpmpp_2m", "unipc")
SHOWN, WAY_SHOWN = (
    10.0,
    20.0,
)  # evaluations at which samplers are put side by side, and at which one is followed
ROW = 2
WAY = (
    "Above, a real image as it is noised. Below, a sample as it is denoised ({}), and in the last line what the "
    "network takes the clean image to be."
)
SAME_NOISE = "the same cell of two grids began with the same noise."
SAME_SEED = (
    "the same cell of two grids has one seed: the same noise where both models start from noise of one shape."
)
LATENT_SPACE = (
    "Above, test images and below them their reconstructions, decoded from their latents. Then in each row the way "
    "from one test image to another of its class: the image, eight latents decoded, the other image. Spherical "
    "interpolation keeps the length of latents, for families whose latents are standard normal a priori; linear is "
    "for those whose law is learned."
)
PROBLEMS = (OSError, ValueError, KeyError, MlflowException)
Fetch = Callable[[str, str], Path]


def every_arm(
    rows: pd.DataFrame, axes: Axes, seed: int, row: int, look_up: Callable[[str], Samples | None]
) -> tuple[list[list[Bytes | None]], list[str], list[str]]:
    """One row of the samples of every arm: cells (a line a curve, a column a value of x), and the names of both."""
    names, values = present(rows, axes)
    cells: list[list[Bytes | None]] = []
    for name in names:
        line: list[Bytes | None] = []
        for value in values:
            run_id = run_of(rows, axes, name, value, seed)
            found = look_up(run_id) if run_id else None
            line.append(found.images[row] if found is not None and row < len(found.images) else None)
        cells.append(line)
    look = looks(names)
    labels = [look[name].label if axes.series else "sample" for name in names]
    return cells, labels, [f"{value:g}" for value in values]


def with_encoder(
    rows: pd.DataFrame, axes: Axes, seed: int, x: float | None = None
) -> list[tuple[str, float, str, str]]:
    """The arms that stored pictures of their latents, at x or, where none is given, each curve's at its largest:
    (name, x, run id, how they were interpolated)."""
    if "interpolation" not in rows:
        return []
    told = rows[rows["interpolation"].notna()]
    if told.empty:
        return []
    kinds = dict(zip(told["run_id"], told["interpolation"], strict=True))
    places = {name: most_of(told, axes, name) if x is None else x for name in present(told, axes)[0]}
    found = [(name, at, run_of(told, axes, name, at, seed)) for name, at in places.items()]
    return [(name, at, run_id, str(kinds[run_id])) for name, at, run_id in found if run_id is not None]


def most_of(rows: pd.DataFrame, axes: Axes, name: str) -> float:
    """The largest x that one curve has."""
    curve = rows[rows[axes.series].astype(str) == name] if axes.series else rows
    return float(curve[axes.x].astype(float).max())


def shared_x(rows: pd.DataFrame, axes: Axes) -> float:
    """The x at which most curves have rows, of equals the largest."""
    curves = rows.groupby(rows[axes.x].astype(float))[axes.series or axes.x].nunique()
    return float(curves[curves == curves.max()].index.max())


def parts(rows: pd.DataFrame, axes: Axes, folder: Path, fetch: Fetch) -> list[str]:
    """Save the pictures of the first seed to `folder`; returns the paragraphs that show them, none without samples."""
    done = finished(rows)
    if done.empty:
        return []
    seed = int(done["seed"].min())
    known: dict[str, Samples | None] = {}

    def look_up(run_id: str) -> Samples | None:
        if run_id not in known:
            known[run_id] = None
            with contextlib.suppress(*PROBLEMS):  # the cell stays empty
                known[run_id] = pictures.read_samples(fetch(run_id, "samples.npz"))
        return known[run_id]

    cells, lines, columns = every_arm(done, axes, seed, ROW, look_up)
    if all(cell is None for line in cells for cell in line):
        return []
    pictures.labelled_sheet(cells, lines, columns, side=SIDE).save(folder / "sheet.png", optimize=True)
    start = "the same noise" if one_start(done) else "the same class and seed"
    return [
        "## Pictures",
        f"![One start, every arm]({folder.name}/sheet.png)",
        f"One start, every arm: {start}, from left to right with more {in_text(axes.x)}.",
        _grids(done, axes, seed, folder, look_up),
        *_way(done, axes, seed, folder, fetch),
        *_latent_space(done, axes, seed, folder, fetch),
    ]


def _chosen(done: pd.DataFrame, axes: Axes) -> list[tuple[str, str, float]]:
    """The arms whose samples are put side by side: (label, name, x)."""
    names, values = present(done, axes)
    if not axes.series:
        return [
            (f"{axes.x} {value:g}", names[0], value)
            for value in (values[0], values[len(values) // 2], values[-1])
        ]
    look, shown = looks(names), [name for name in FAVOURITES if name in names]
    if not shown:  # whole models rather than samplers: all of them, at their best
        most = {name: most_of(done, axes, name) for name in names}
        return [(f"{look[name].label}, {x:g}", name, x) for name, x in most.items()]
    value = SHOWN if SHOWN in values else values[len(values) // 2]
    chosen = [(f"{look[name].label}, {value:g}", name, value) for name in shown]
    return [*chosen, (f"{look[shown[0]].label}, {values[-1]:g}", shown[0], values[-1])]


def _grids(
    done: pd.DataFrame, axes: Axes, seed: int, folder: Path, look_up: Callable[[str], Samples | None]
) -> str:
    """A table of grids, two beside each other."""
    cells: list[str] = []
    for label, name, value in _chosen(done, axes):
        run_id = run_of(done, axes, name, value, seed)
        found = look_up(run_id) if run_id else None
        if found is None:
            continue
        file = f"samples-{len(cells) + 1}.png"
        pictures.grid(found, rows=4, side=SIDE // 2).save(folder / file, optimize=True)
        cells.append(f"**{label}**<br>![{label}]({folder.name}/{file})")
    lines = [cells[i : i + 2] for i in range(0, len(cells), 2)]
    body = "\n".join(f"| {' | '.join([*line, ''][:2])} |" for line in lines)
    return (
        f"| | |\n| :-- | :-- |\n{body}\n\nA column is a class; {SAME_NOISE if one_start(done) else SAME_SEED}"
    )


def _way(done: pd.DataFrame, axes: Axes, seed: int, folder: Path, fetch: Fetch) -> Sequence[str]:
    names, values = present(done, axes)
    first = [name for name in ("dpmpp_2m",) if name in names]
    for value in sorted(values, key=lambda one: abs(one - WAY_SHOWN)):
        for name in [*first, *names]:
            run_id = run_of(done, axes, name, value, seed)
            if run_id is None:
                continue
            with contextlib.suppress(*PROBLEMS):  # another arm may do
                found = pictures.read_trajectory(fetch(run_id, "samples.npz"))
                pictures.way(found, 0, side=SIDE).save(folder / "way.png", optimize=True)
                label = f"{looks([name])[name].label}, {value:g}" if axes.series else f"{axes.x} {value:g}"
                return [f"![From picture to noise and back]({folder.name}/way.png)", WAY.format(label)]
    return []


def _latent_space(done: pd.DataFrame, axes: Axes, seed: int, folder: Path, fetch: Fetch) -> list[str]:
    """Reconstructions and interpolations of the arms with an encoder, each at its largest x."""
    cells: list[str] = []
    for name, x, run_id, how in with_encoder(done, axes, seed):
        with contextlib.suppress(*PROBLEMS):  # the others are shown
            found = pictures.read_latent(fetch(run_id, "latent.npz"))
            label = looks([name])[name].label if axes.series else "the model"
            files = [f"{kind}-{len(cells) + 1}.png" for kind in ("reconstructions", "interpolations")]
            drawn = (
                pictures.reconstructions(found, rows=1, side=SIDE // 2),
                pictures.interpolations(found, rows=4, side=SIDE // 2),
            )
            for file, picture in zip(files, drawn, strict=True):
                picture.save(folder / file, optimize=True)
            shown = "<br>".join(f"![{label}]({folder.name}/{file})" for file in files)
            cells.append(f"**{label}**, {x:g}, {how} interpolation<br>{shown}")
    if not cells:
        return []
    lines = [cells[i : i + 2] for i in range(0, len(cells), 2)]
    body = "\n".join(f"| {' | '.join([*line, ''][:2])} |" for line in lines)
    return ["### Latent space", f"| | |\n| :-- | :-- |\n{body}", LATENT_SPACE]
