"""Charts of a study of classification, as pure functions: layers, evaluations, confusions, corruptions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd
from scipy import stats

from pipelines.axes import log_ticks
from pipelines.recognition import evidence
from pipelines.vocabulary import NEUTRAL, Look, axis_title, measure, word

CELL = 44  # pixels
MOST_POINTS = 4_800  # of the maps of all cells together: Altair draws no more than 5,000 rows
LAYERS = (
    "Accuracy on the validation split of a linear readout of a part of the training rows, of the first seed, all cells "
    "on one grid. Framed: the cell that was chosen; below the map, how well it does on other grids."
)
EVALUATIONS = (
    "Each class asks for evaluations until it is clearly behind. Lines: training seeds and, bold, their mean."
)
TRAINING = (
    "One training as it stood at several times: the error of a linear readout of its features, and the distance of its "
    "samples from real images. Lines: training seeds and, bold, their mean."
)
WRONG = "From the left: the image, the same with noise added, and what the network restores from that under each class."
CORRUPTIONS = (
    "The same test images under noise, blur, shift and less contrast, at three severities; means over seeds, "
    "each method at the most labels that it was tried with."
)


def layers_chart(choice: dict[str, Any], classes: list[str]) -> alt.HConcatChart:
    """Validation accuracy by layer and noise level, and below by the grid in the chosen cell; a click on a cell shows
    its features there: the first two principal components of validation rows, coloured by class. The chosen cell is
    shown at first."""
    grid = pd.DataFrame(choice["grid"])
    grid["cell"] = [f"{layer}@{time:g}" for layer, time in zip(grid["layer"], grid["time"], strict=True)]
    chosen = f"{choice['layer']}@{choice['time']:g}"
    picked = alt.selection_point(
        name="cell", fields=["cell"], value=[{"cell": chosen}], toggle=False, empty=False
    )
    layers = list(dict.fromkeys(grid["layer"]))
    x = alt.X("time:O", title="Noise level t", axis=alt.Axis(labelAngle=0, format="~g"))
    y = alt.Y("layer:N", title="Layer, first to last", sort=layers)
    colour = alt.Color(
        "accuracy:Q",
        title="Validation accuracy",
        scale=alt.Scale(scheme="viridis"),
        legend=alt.Legend(format=".0%", orient="top"),
    )
    base = alt.Chart(grid)
    cells = base.mark_rect(cursor="pointer").encode(
        x=x,
        y=y,
        color=colour,
        tooltip=[
            alt.Tooltip("layer:N"),
            alt.Tooltip("time:Q", title="noise level t"),
            alt.Tooltip("accuracy:Q", title="validation accuracy", format=".1%"),
        ],
    )
    best_cell = (
        base.transform_filter(alt.datum.cell == chosen)
        .mark_rect(fill=None, stroke="#ff2e63", strokeWidth=3)
        .encode(x=x, y=y)
    )
    frame = (
        base.mark_rect(fill=None, stroke="white", strokeWidth=2, strokeDash=[4, 3])
        .encode(x=x, y=y, opacity=alt.condition(picked, alt.value(1), alt.value(0)))
        .add_params(picked)
    )
    middle = (grid["accuracy"].min() + grid["accuracy"].max()) / 2
    numbers = base.mark_text(fontSize=11).encode(
        x=x,
        y=y,
        text=alt.Text("accuracy:Q", format=".0%"),
        color=alt.condition(alt.datum.accuracy > middle, alt.value("black"), alt.value("white")),
    )
    heat = alt.layer(cells, numbers, best_cell, frame).properties(
        width=CELL * grid["time"].nunique(),
        height=CELL * len(layers),
        title=alt.Title(text=_at_sides(choice), orient="bottom", fontSize=11, fontWeight="normal"),
    )
    shown = MOST_POINTS // len(choice["map"]["places"])
    rows = [
        {"cell": cell, "first": place[0], "second": place[1], "class": classes[label]}
        for cell, places in choice["map"]["places"].items()
        for place, label in zip(places[:shown], choice["map"]["labels"][:shown], strict=True)
    ]
    plain = alt.Axis(labels=False, ticks=False, grid=False)
    points = (
        alt.Chart(pd.DataFrame(rows))
        .mark_point(filled=True, size=40, opacity=0.85)
        .encode(
            x=alt.X("first:Q", title="First principal component", axis=plain),
            y=alt.Y("second:Q", title="Second", axis=plain),
            color=alt.Color("class:N", title=None, sort=classes, scale=alt.Scale(scheme="tableau10")),
            tooltip=["class:N"],
        )
        .transform_filter(picked)
        .properties(width=300, height=CELL * len(layers))
    )
    chart: alt.HConcatChart = alt.hconcat(heat, points, spacing=36).resolve_scale(color="independent")
    return chart


def _at_sides(choice: dict[str, Any]) -> str:
    """How well the chosen cell does on each grid, coarse to fine."""
    sides = sorted(choice["sides"], key=lambda one: int(one["side"]))
    told = ", ".join(f"{one['side']} × {one['side']}: {one['accuracy']:.1%}" for one in sides)
    return f"The chosen cell on grids of {told}"


def evaluations_chart(curves: pd.DataFrame, look: Mapping[str, Look], *, height: int = 360) -> alt.LayerChart:
    """Accuracy of generative classifiers against network evaluations an image: each seed a faint line, the mean over
    seeds a strong one. Raises ValueError where there is none."""
    if curves.empty:
        raise ValueError("no generative classifier has a curve")
    used = [look[name] for name in dict.fromkeys(curves["method"])]
    rows = curves.assign(label=[look[name].label for name in curves["method"]])
    means = rows.groupby(["label", "pairs"], as_index=False)[["evaluations", "accuracy"]].mean()
    ticks = log_ticks(float(rows["evaluations"].min()), float(rows["evaluations"].max()))
    x = alt.X(
        "evaluations:Q",
        title="Network evaluations an image",
        scale=alt.Scale(type="log", nice=False),
        axis=alt.Axis(values=ticks, format="~g", grid=False),
    )
    y = alt.Y(
        "accuracy:Q",
        title="Accuracy (higher is better)",
        scale=alt.Scale(zero=False),
        axis=alt.Axis(format="%"),
    )
    labels = [one.label for one in used]
    colour = alt.Color(
        "label:N",
        title=None,
        scale=alt.Scale(domain=labels, range=[one.colour for one in used]),
        legend=alt.Legend(orient="top", labelLimit=260) if len(labels) > 1 else None,
    )
    tips = [
        alt.Tooltip("label:N", title="method"),
        alt.Tooltip("pairs:Q", title="pairs of noise level and noise"),
        alt.Tooltip("evaluations:Q", title="evaluations an image", format=".3~g"),
        alt.Tooltip("accuracy:Q", format=".1%"),
    ]
    seeds = (
        alt.Chart(rows).mark_line(strokeWidth=1, opacity=0.35).encode(x=x, y=y, color=colour, detail="seed:N")
    )
    strong = (
        alt.Chart(means).mark_line(strokeWidth=2.5, point=True).encode(x=x, y=y, color=colour, tooltip=tips)
    )
    return alt.LayerChart(layer=[seeds, strong], height=height)


def training_chart(
    rows: pd.DataFrame, colour: str, *, width: int = 300, height: int = 240
) -> alt.HConcatChart:
    """How the checkpoints of one training classify and how they draw, against the share of the training: each seed a
    faint line, the geometric mean over seeds a strong one. `rows` are those of `evidence.along_training`. Raises
    ValueError where there are none."""
    if rows.empty:
        raise ValueError("no checkpoint of a training was tried")
    x = alt.X(
        "share:Q",
        title="Share of the training",
        scale=alt.Scale(type="log", nice=False),
        axis=alt.Axis(values=sorted(set(rows["share"])), format=".3~g", grid=False),
    )
    panels = []
    for name in ("error", evidence.DRAWN):
        one = rows.rename(columns={name: "value"})[["share", "seed", "value"]]
        means = one.groupby("share")["value"].agg(stats.gmean).reset_index()
        y = alt.Y("value:Q", title=axis_title(name), scale=alt.Scale(zero=False))
        tips = [
            alt.Tooltip("share:Q", format=".3~g"),
            alt.Tooltip("value:Q", title=measure(name).title, format=".3~g"),
        ]
        seeds = (
            alt.Chart(one)
            .mark_line(strokeWidth=1, opacity=0.4, color=colour)
            .encode(x=x, y=y, detail="seed:N")
        )
        strong = (
            alt.Chart(means)
            .mark_line(strokeWidth=2.5, color=colour, point=alt.OverlayMarkDef(color=colour, size=60))
            .encode(x=x, y=y, tooltip=tips)
        )
        panels.append(alt.LayerChart(layer=[seeds, strong], width=width, height=height))
    return alt.hconcat(*panels, spacing=36)


def confusion_chart(classes: list[str], counts: list[list[int]], *, side: int = 340) -> alt.LayerChart:
    """Rows of each true class by the class that they were taken for, as shares of the true class."""
    records = [
        {"true": true, "told": told, "share": count / max(sum(line), 1), "rows": count}
        for true, line in zip(classes, counts, strict=True)
        for told, count in zip(classes, line, strict=True)
    ]
    base = alt.Chart(pd.DataFrame(records))
    x = alt.X("told:N", title="Taken for", sort=classes, axis=alt.Axis(labelAngle=-40))
    y = alt.Y("true:N", title="True class", sort=classes)
    cells = base.mark_rect().encode(
        x=x,
        y=y,
        color=alt.Color("share:Q", title=None, scale=alt.Scale(scheme="blues", domain=[0, 1]), legend=None),
        tooltip=["true:N", "told:N", alt.Tooltip("rows:Q"), alt.Tooltip("share:Q", format=".1%")],
    )
    numbers = base.mark_text(fontSize=10).encode(
        x=x,
        y=y,
        text=alt.Text("share:Q", format=".0%"),
        color=alt.condition(alt.datum.share > 0.5, alt.value("white"), alt.value("#333")),
        opacity=alt.condition(alt.datum.share >= 0.005, alt.value(1), alt.value(0)),
    )
    return alt.LayerChart(layer=[cells, numbers], width=side, height=side)


def corruptions_chart(
    rows: pd.DataFrame, look: Mapping[str, Look], *, width: int = 190, height: int = 220
) -> alt.HConcatChart:
    """Accuracy against severity, a panel for each corruption: each seed a ring, each method its mean. Raises ValueError
    where no trial was tried on corrupted images."""
    if rows.empty:
        raise ValueError("no trial was tried on corrupted images")
    used = [look[name] for name in dict.fromkeys(rows["method"])]
    shown = rows.assign(label=[look[name].label for name in rows["method"]])
    labels = [one.label for one in used]
    picked = alt.selection_point(name="curve", fields=["label"], bind="legend")
    strong = alt.condition(picked, alt.value(1.0), alt.value(0.08))
    colour = alt.Color(
        "label:N",
        title=None,
        scale=alt.Scale(domain=labels, range=[one.colour for one in used]),
        legend=alt.Legend(orient="bottom", columns=4, labelLimit=220),
    )
    shape = alt.Shape(
        "label:N", title=None, scale=alt.Scale(domain=labels, range=[one.shape for one in used])
    )
    panels = []
    for index, name in enumerate(dict.fromkeys(shown["corruption"])):
        one = shown[shown["corruption"] == name]
        means = one.groupby(["label", "severity"], as_index=False)["accuracy"].mean()
        x = alt.X("severity:O", title="Severity", axis=alt.Axis(labelAngle=0))
        y = alt.Y(
            "accuracy:Q",
            title="Accuracy" if index == 0 else None,
            scale=alt.Scale(domain=[0, 1]),
            axis=alt.Axis(format="%", labels=index == 0),
        )
        tips = [
            alt.Tooltip("label:N", title="method"),
            alt.Tooltip("severity:O"),
            alt.Tooltip("accuracy:Q", format=".1%"),
        ]
        lines = alt.Chart(means).mark_line(strokeWidth=2).encode(x=x, y=y, color=colour, opacity=strong)
        dots = (
            alt.Chart(means)
            .mark_point(filled=True, size=50)
            .encode(x=x, y=y, color=colour, shape=shape, opacity=strong, tooltip=tips)
        )
        layers = [lines, dots.add_params(picked) if index == 0 else dots]
        panels.append(
            alt.LayerChart(
                layer=layers,
                width=width,
                height=height,
                title=alt.Title(word(str(name)).capitalize(), color=NEUTRAL),
            )
        )
    return alt.hconcat(*panels, spacing=14)
