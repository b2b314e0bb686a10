"""What the charts are made of: the rows that they show, scales, ticks, floors and tooltips."""

from __future__ import annotations

import math
from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd

from pipelines.axes import ONE, Axes, differ, finished, log_ticks
from pipelines.vocabulary import NEUTRAL, Look, axis_title, field, in_text, measure

MARK, LARGEST_MARK = 70, 260  # areas in square pixels


def layered(layers: Sequence[alt.Chart], height: int) -> alt.LayerChart:
    """The layers on top of each other, the first lowest; `height` in pixels, with the legend."""
    return alt.LayerChart(layer=list(layers), height=height)


def slim_rows(
    table: pd.DataFrame, axes: Axes, name: str, panel: str, *, cost: str = "sample_seconds"
) -> tuple[pd.DataFrame, list[str]]:
    """The finished rows that have the measure, as columns `series`, x, `seed`, `value` and, where known, `floor`,
    `cost`, `rows`, `nfe_counted`, `parameters`; and the names of the curves in the order of the study."""
    rows = finished(table, panel)
    if name not in rows or axes.x not in rows:
        raise ValueError(f"no finished row of the {panel} panel has {name!r}")
    columns = {"value": name, "floor": f"floor {name}", "cost": cost}
    slim = pd.DataFrame(
        {new: pd.to_numeric(rows[old], errors="coerce") for new, old in columns.items() if old in rows}
    )
    for column in (axes.x, "seed", "rows", "nfe_counted", "parameters"):
        if column in rows:
            slim[column] = pd.to_numeric(rows[column], errors="coerce")
    slim["series"] = rows[axes.series].astype(str) if axes.series else ONE
    slim = slim[np.isfinite(slim["value"]) & np.isfinite(slim[axes.x])]
    if slim.empty:
        raise ValueError(f"no finished row of the {panel} panel has {name!r}")
    present = set(slim["series"])
    order = [*(n for n in axes.names if n in present), *sorted(present - set(axes.names))]
    return slim, order


def placed(rows: pd.DataFrame, x: str, shift: dict[str, float]) -> pd.Series:
    """Where points are drawn: x, moved by the factor of their curve."""
    return rows[x].astype(float) * rows["series"].map(shift)


def labelled(rows: pd.DataFrame, look: dict[str, Look]) -> pd.DataFrame:
    """The rows with a column `label`: what their curve is called."""
    return rows.assign(label=rows["series"].map({name: entry.label for name, entry in look.items()}))


def colour_and_shape(look: dict[str, Look], columns: int) -> tuple[alt.Color, alt.Shape]:
    """The encodings of the curves, with a legend of that many columns where there are several."""
    labels = [entry.label for entry in look.values()]
    legend = (
        None
        if len(look) < 2
        else alt.Legend(orient="top", title=None, columns=columns, labelLimit=220, symbolOpacity=1)
    )
    colour = alt.Color(
        "label:N",
        legend=legend,
        scale=alt.Scale(domain=labels, range=[entry.colour for entry in look.values()]),
    )
    shape = alt.Shape(
        "label:N",
        legend=legend,
        scale=alt.Scale(domain=labels, range=[entry.shape for entry in look.values()]),
    )
    return colour, shape


def number_format(cost: str) -> str:
    """How a cost is written: operations with a prefix of the power of ten, seconds as they are."""
    return "~s" if cost == "training_flops" else "~g"


def size_by_parameters(means: pd.DataFrame) -> alt.Size | alt.SizeValue:
    """The area of marks: in proportion to the network's parameters, where arms differ in them."""
    if "parameters" not in means or means["parameters"].isna().any() or not differ(means["parameters"]):
        return alt.SizeValue(MARK)
    ends = [float(means["parameters"].min()), float(means["parameters"].max())]
    legend = alt.Legend(orient="top", format=".2~s", title="Parameters", values=ends)
    scale = alt.Scale(type="linear", domain=[0, ends[1]], range=[0, LARGEST_MARK])
    return alt.Size("parameters:Q", legend=legend, scale=scale)


def floor_of(rows: pd.DataFrame) -> float | None:
    """The mean floor of the rows; None where none is known."""
    known = rows["floor"].dropna() if "floor" in rows else rows["value"].iloc[:0]
    return None if known.empty else float(known.mean())


def floor_layers(floor: float | None, scale: alt.Scale, axis: alt.Axis, name: str) -> list[alt.Chart]:
    """A dashed line at the floor, with its words; nothing where there is none that the axis could show."""
    if floor is None or (scale.type == "log" and floor <= 0):
        return []
    data = pd.DataFrame({"floor": [floor], "text": ["real against real"]})
    y = alt.Y("floor:Q", scale=scale, axis=axis, title=axis_title(name))
    tip = [alt.Tooltip("floor:Q", title="floor: real against real, same number of rows", format=".4~g")]
    rule = (
        alt.Chart(data).mark_rule(strokeDash=[6, 4], strokeWidth=1.5, color=NEUTRAL).encode(y=y, tooltip=tip)
    )
    text = (
        alt.Chart(data)
        .mark_text(
            align="left", baseline="bottom", dx=4, dy=-4, fontSize=11, fontStyle="italic", color=NEUTRAL
        )
        .encode(x=alt.value(0), y=y, text="text:N")
    )
    return [rule, text]


def y_of(values: pd.Series, floor: float | None, logarithmic: bool) -> tuple[alt.Scale, alt.Axis]:
    """The scale and axis of a measure: what the seeds span and the floor; wider intervals are cut."""
    shown = [float(v) for v in values]
    if floor is not None and (floor > 0 or not logarithmic):
        shown.append(floor)
    low, high = around(shown, logarithmic)
    scale = alt.Scale(type="log" if logarithmic else "linear", domain=[low, high], nice=False, clamp=False)
    axis = (
        alt.Axis(values=log_ticks(low, high), format="~g")
        if logarithmic
        else alt.Axis(format="~g", tickCount=6)
    )
    return scale, axis


def around(values: Sequence[float], logarithmic: bool) -> tuple[float, float]:
    """The range of the values with a margin of 6 % on both sides, of at least a tenth of a factor or unit."""
    if logarithmic:
        low, high = math.log(min(values)), math.log(max(values))
        margin = max(0.06 * (high - low), 0.05)
        return math.exp(low - margin), math.exp(high + margin)
    low, high = min(values), max(values)
    margin = max(0.06 * (high - low), 1e-3)
    return low - margin, high + margin


def apart(points: pd.DataFrame, column: str, factor: float) -> pd.DataFrame:
    """Points whose labels do not run into each other: from the right, each at least `factor` left of the last kept."""
    kept: list[int] = []
    for position in range(len(points) - 1, -1, -1):
        if not kept or points[column].iloc[position] * factor <= points[column].iloc[kept[-1]]:
            kept.append(position)
    return points.iloc[kept]


def few(values: list[float]) -> list[float]:
    """At most seven of the values."""
    return values if len(values) <= 7 else values[:: math.ceil(len(values) / 7)]


def padded(ticks: Sequence[float]) -> list[float]:
    """The domain of a logarithmic x axis: the ticks and a margin."""
    return [ticks[0] * 0.85, ticks[-1] * 1.18]


def how_many(rows: pd.DataFrame) -> str:
    """` (500 images)` where all rows agree in how many were drawn."""
    counts = rows["rows"].dropna().unique().tolist() if "rows" in rows else []
    return f" ({int(counts[0]):,} images)" if len(counts) == 1 else ""


def mean_tips(axes: Axes, name: str) -> list[alt.Tooltip]:
    """What is told of an arm under the pointer."""
    series = (
        [alt.Tooltip("label:N", title="sampler" if axes.series == "sampler" else axes.series)]
        if axes.series
        else []
    )
    return [
        *series,
        alt.Tooltip(f"{axes.x}:Q", title=field(axes.x), format="~g"),
        alt.Tooltip("mean:Q", title=f"{measure(name).title}, mean over seeds", format=".4~g"),
        alt.Tooltip("low:Q", title="95 % interval from", format=".4~g"),
        alt.Tooltip("high:Q", title="to", format=".4~g"),
        alt.Tooltip("seeds:Q", title="seeds"),
    ]


def row_tips(rows: pd.DataFrame, axes: Axes, name: str, *, cost: str = "sample_seconds") -> list[alt.Tooltip]:
    """What is told of one seed under the pointer."""
    series = (
        [alt.Tooltip("label:N", title="sampler" if axes.series == "sampler" else axes.series)]
        if axes.series
        else []
    )
    tips = [
        *series,
        alt.Tooltip(f"{axes.x}:Q", title=field(axes.x), format="~g"),
        alt.Tooltip("seed:O", title="seed"),
        alt.Tooltip("value:Q", title=measure(name).title, format=".4~g"),
    ]
    for column, title, shape in (
        ("nfe_counted", "evaluations counted", ".3~g"),
        ("cost", in_text(cost), f".3{number_format(cost)}"),
    ):
        if column in rows:
            tips.append(alt.Tooltip(f"{column}:Q", title=title, format=shape))
    return tips
