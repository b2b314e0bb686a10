"""Tables -> Altair charts: pure functions, shared by the dashboard and the answer sheets.

A chart states what its axes are, in which unit and which direction is better. Fonts and the colours of axes and
text are left to where it is shown: Streamlit's theme in the dashboard, `on_paper` in a document.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import altair as alt
import numpy as np
import pandas as pd

from pipelines.axes import ONE, Axes, finished, log_ticks, pareto, spread_out, summary
from pipelines.verdict import Decision
from pipelines.vocabulary import ACCENT, NEUTRAL, Look, axis_title, field, looks, measure
from workbench.spec import Claim, Ratio

ANSWER_COLOURS = {"supported": "#2a9d5c", "refuted": "#d1495b", "inconclusive": NEUTRAL}
Draw = Callable[[], alt.LayerChart | alt.VConcatChart]


def quality_chart(
    table: pd.DataFrame,
    axes: Axes,
    name: str,
    *,
    panel: str = "network",
    height: int = 420,
    legend_columns: int = 4,
) -> alt.LayerChart:
    """A measure against the x axis of a study: each seed a dot, each arm its mean and 95 % interval, and the floor.

    Both axes are logarithmic where the measure is a distance. Curves at one x are drawn side by side.
    Raises ValueError where no finished row of the panel has the measure.
    """
    rows, series = _rows(table, axes, name, panel)
    geometric = measure(name).logarithmic and bool((rows["value"] > 0).any())
    rows = rows[rows["value"] > 0] if geometric else rows
    shift = spread_out(series)
    keys = Axes(axes.x, "series", axes.ticks, axes.names)
    means = summary(rows, keys, "value", geometric=geometric).assign(place=lambda d: _place(d, axes.x, shift))
    rows = rows.assign(place=_place(rows, axes.x, shift))
    floor = _floor(rows)

    look = looks(series)
    colour, shape = _scales(look, legend_columns)
    x = alt.X(
        "place:Q",
        title=field(axes.x),
        scale=alt.Scale(type="log", domain=_padded(axes.ticks), nice=False),
        axis=alt.Axis(values=list(axes.ticks), format="d", grid=False, labelOverlap="greedy"),
    )
    y_scale, y_axis = _y(rows["value"], floor, geometric)
    y = alt.Y("mean:Q", title=axis_title(name), scale=y_scale, axis=y_axis)
    many = len(series) > 1
    picked = alt.selection_point(name="picked", fields=["label"], bind="legend")
    strong = alt.condition(picked, alt.value(1.0), alt.value(0.08)) if many else alt.value(1.0)
    faint = alt.condition(picked, alt.value(0.5), alt.value(0.04)) if many else alt.value(0.5)
    legend = {"color": colour, "shape": shape}

    base = alt.Chart(_labelled(means, look)).encode(x=x)
    lines = base.mark_line(strokeWidth=2, interpolate="linear").encode(y=y, color=colour, opacity=strong)
    bars = base.mark_rule(strokeWidth=1.5, clip=True).encode(
        y=alt.Y("low:Q", scale=y_scale, axis=y_axis, title=axis_title(name)),
        y2="high:Q",
        color=colour,
        opacity=faint,
    )
    centres = base.mark_point(filled=True, size=64, strokeWidth=0).encode(
        y=y, opacity=strong, tooltip=_mean_tips(axes, name), **legend
    )
    seeds = (
        alt.Chart(_labelled(rows, look))
        .mark_point(filled=False, size=26, strokeWidth=1)
        .encode(
            x=x,
            y=alt.Y("value:Q", scale=y_scale, axis=y_axis, title=axis_title(name)),
            opacity=faint,
            tooltip=_row_tips(rows, axes, name),
            **legend,
        )
    )
    layers: list[alt.Chart] = [*_floor_layers(floor, y_scale, y_axis, name), bars, lines, seeds, centres]
    if many:
        layers[-1] = layers[-1].add_params(picked)
    return _layered(layers, height)


def cost_chart(
    table: pd.DataFrame,
    axes: Axes,
    name: str,
    *,
    cost: str = "sample_seconds",
    height: int = 360,
    legend_columns: int = 4,
) -> alt.LayerChart:
    """A measure against what it costs: each seed a dot, each arm its mean, and the Pareto front through those that no
    other arm beats in both. Raises ValueError where no finished row has both."""
    rows, series = _rows(table, axes, name, "network", cost=cost)
    geometric = measure(name).logarithmic and bool((rows["value"] > 0).any())
    rows = rows[(rows["cost"] > 0) & ((rows["value"] > 0) | (not geometric))]
    keys = Axes(axes.x, "series", axes.ticks, axes.names)
    means = summary(rows, keys, "value", geometric=geometric).merge(
        summary(rows, keys, "cost", geometric=True)[["series", axes.x, "mean"]].rename(
            columns={"mean": "cost"}
        ),
        on=["series", axes.x],
    )
    front = pareto(means, "cost", "mean", lower_is_better=measure(name).direction != "higher")
    floor = _floor(rows)
    look = looks(series)
    colour, shape = _scales(look, legend_columns)
    ticks = log_ticks(float(rows["cost"].min()) * 0.8, float(rows["cost"].max()) * 1.35)
    x_title = field(cost) + _how_many(rows)
    x_scale = alt.Scale(type="log", domain=[rows["cost"].min() * 0.8, rows["cost"].max() * 1.35], nice=False)
    x_axis = alt.Axis(values=ticks, format="~g", grid=False)
    y_scale, y_axis = _y(rows["value"], floor, geometric)
    y = alt.Y("mean:Q", title=axis_title(name), scale=y_scale, axis=y_axis)
    x = alt.X("cost:Q", title=x_title, scale=x_scale, axis=x_axis)
    centres = (
        alt.Chart(_labelled(means, look))
        .mark_point(filled=True, size=70, opacity=0.95, strokeWidth=0)
        .encode(
            x=x,
            y=y,
            color=colour,
            shape=shape,
            tooltip=[*_mean_tips(axes, name), alt.Tooltip("cost:Q", title=field(cost), format=".3~g")],
        )
    )
    seeds = (
        alt.Chart(_labelled(rows, look))
        .mark_point(filled=False, size=22, strokeWidth=1, opacity=0.35)
        .encode(
            x=alt.X("cost:Q", title=x_title, scale=x_scale, axis=x_axis),
            y=alt.Y("value:Q", title=axis_title(name), scale=y_scale, axis=y_axis),
            color=colour,
            shape=shape,
            tooltip=_row_tips(rows, axes, name),
        )
    )
    drawn = _labelled(front, look).assign(text=lambda d: d["label"] + " · " + d[axes.x].map("{:g}".format))
    if not axes.series:
        drawn = drawn.assign(text=drawn[axes.x].map("{:g}".format))
    steps = alt.Chart(drawn).mark_line(
        interpolate="step-after", strokeWidth=1.5, strokeDash=[2, 3], color=NEUTRAL, clip=True
    )
    words = alt.Chart(_apart(drawn[drawn["cost"] > 2.5 * drawn["cost"].min() * 0.8], "cost")).mark_text(
        align="right", baseline="top", dx=-4, dy=7, fontSize=11, color=NEUTRAL
    )
    layers = [
        *_floor_layers(floor, y_scale, y_axis, name),
        steps.encode(x=x, y=y),
        seeds,
        centres,
        words.encode(x=x, y=y, text="text:N"),
    ]
    return _layered(layers, height)


def claim_chart(claim: Claim, decision: Decision, *, height: int = 84) -> alt.LayerChart:
    """One claim: each seed's statistic as a tick, the mean with its 95 % interval, and the side that was claimed.

    Raises ValueError where the decision has no estimate.
    """
    if decision.estimate is None or decision.low is None or decision.high is None:
        raise ValueError(f"decision {decision.claim!r} has no estimate to draw")
    ratio = isinstance(claim.statistic, Ratio)
    shown = [decision.low, decision.high, claim.bound, *decision.per_seed.values()]
    low, high = _around(shown, ratio)
    scale = alt.Scale(type="log" if ratio else "linear", domain=[low, high], nice=False)
    ticks = alt.Axis(values=_few(log_ticks(low, high)), format="~g", grid=False, title=None)
    axis = ticks if ratio else alt.Axis(format="~g", grid=False, tickCount=6, title=None)
    x = alt.X("value:Q", scale=scale, axis=axis)
    colour = ANSWER_COLOURS[decision.answer]
    side = [claim.bound, high] if claim.relation == "at_least" else [low, claim.bound]
    sign = "at least" if claim.relation == "at_least" else "at most"
    claimed = alt.Chart(pd.DataFrame({"value": [side[0]], "end": [side[1]]})).mark_rect(
        color=ACCENT, opacity=0.13
    )
    bound = alt.Chart(pd.DataFrame({"value": [claim.bound], "claimed": [f"{sign} {claim.bound:g}"]}))
    points = pd.DataFrame(
        [{"value": v, "seed": s} for s, v in decision.per_seed.items()], columns=["value", "seed"]
    )
    span = pd.DataFrame({"value": [decision.low], "end": [decision.high]})
    centre = pd.DataFrame(
        {
            "value": [decision.estimate],
            "low": [decision.low],
            "high": [decision.high],
            "seeds": [decision.seeds],
        }
    )
    tips = [
        alt.Tooltip("value:Q", title="estimate", format=".4~g"),
        alt.Tooltip("low:Q", title="95 % interval from", format=".4~g"),
        alt.Tooltip("high:Q", title="to", format=".4~g"),
        alt.Tooltip("seeds:Q", title="seeds"),
    ]
    layers: list[alt.Chart] = [
        claimed.encode(x=x, x2="end:Q"),
        bound.mark_rule(color=ACCENT, strokeWidth=1.5, strokeDash=[4, 3]).encode(
            x=x, tooltip=[alt.Tooltip("claimed:N", title="claimed")]
        ),
        alt.Chart(span).mark_rule(color=colour, strokeWidth=4, opacity=0.55).encode(x=x, x2="end:Q"),
        alt.Chart(points)
        .mark_tick(color=NEUTRAL, thickness=1.5, size=22, opacity=0.9)
        .encode(x=x, tooltip=["seed:O", alt.Tooltip("value:Q", format=".4~g")]),
        alt.Chart(centre)
        .mark_point(color=colour, filled=True, size=110, opacity=1)
        .encode(x=x, tooltip=tips),
    ]
    return _layered(layers, height)


def claims_chart(pairs: Sequence[tuple[Claim, Decision]]) -> alt.VConcatChart:
    """The charts of several claims below each other, each with its sentence; for a document."""
    charts = [
        claim_chart(c, d).properties(title=f"{c.text} {d.answer.capitalize()}.", width=640) for c, d in pairs
    ]
    return alt.VConcatChart(vconcat=charts, spacing=14)


def curves_chart(curves: pd.DataFrame, *, title: str, height: int = 300) -> alt.Chart:
    """Learning curves: `value` against `images_seen`, one line for each `fit`."""
    positive = bool((curves["value"] > 0).all())
    hover = alt.selection_point(name="fit", fields=["fit"], bind="legend")
    chart: alt.Chart = (
        alt.Chart(curves)
        .mark_line(strokeWidth=1.6, clip=True)
        .encode(
            x=alt.X("images_seen:Q", title="Training images seen", axis=alt.Axis(format="~s", grid=False)),
            y=alt.Y(
                "value:Q", title=title, scale=alt.Scale(type="log" if positive else "linear", nice=False)
            ),
            color=alt.Color(
                "fit:N", title=None, legend=alt.Legend(orient="bottom", columns=2, labelLimit=360)
            ),
            opacity=alt.condition(hover, alt.value(0.95), alt.value(0.1)),
            tooltip=[
                alt.Tooltip("fit:N"),
                alt.Tooltip("images_seen:Q", title="images seen", format=",d"),
                alt.Tooltip("value:Q", title=title, format=".4~g"),
            ],
        )
        .properties(height=height)
        .add_params(hover)
    )
    return chart


def on_paper(
    chart: alt.LayerChart | alt.VConcatChart, *, width: int = 680
) -> alt.LayerChart | alt.VConcatChart:
    """The chart as a document shows it: a fixed width, a white ground, quiet axes, text that can be read in print."""
    ink, quiet = "#222831", "#d5d9de"
    drawn = chart.copy()
    if isinstance(drawn, alt.LayerChart):
        drawn.width = width
    drawn.background, drawn.padding = "white", 12
    drawn.config = alt.Config(
        font="Helvetica, Arial, sans-serif",
        view=alt.ViewConfig(stroke=None),
        title=alt.TitleConfig(anchor="start", fontSize=13, color=ink, fontWeight="normal"),
        axis=alt.AxisConfig(
            labelColor=ink,
            titleColor=ink,
            labelFontSize=12,
            titleFontSize=12.5,
            titleFontWeight="normal",
            titlePadding=8,
            domainColor=quiet,
            tickColor=quiet,
            gridColor="#eef0f2",
        ),
        legend=alt.LegendConfig(
            labelColor=ink, labelFontSize=12, symbolSize=90, columnPadding=16, rowPadding=4
        ),
    )
    return drawn


def _layered(layers: Sequence[alt.Chart], height: int) -> alt.LayerChart:
    return alt.LayerChart(layer=list(layers), height=height)


def _rows(
    table: pd.DataFrame, axes: Axes, name: str, panel: str, *, cost: str = "sample_seconds"
) -> tuple[pd.DataFrame, list[str]]:
    """The finished rows that have the measure, as columns `series`, x, `seed`, `value` and, where known, `floor`,
    `cost`, `rows`, `nfe_counted`; and the names of the curves in the order of the study."""
    rows = finished(table, panel)
    if name not in rows or axes.x not in rows:
        raise ValueError(f"no finished row of the {panel} panel has {name!r}")
    columns = {name: "value", f"floor {name}": "floor", cost: "cost"}
    slim = pd.DataFrame(
        {new: pd.to_numeric(rows[old], errors="coerce") for old, new in columns.items() if old in rows}
    )
    for column in (axes.x, "seed", "rows", "nfe_counted"):
        if column in rows:
            slim[column] = pd.to_numeric(rows[column], errors="coerce")
    slim["series"] = rows[axes.series].astype(str) if axes.series else ONE
    slim = slim[np.isfinite(slim["value"]) & np.isfinite(slim[axes.x])]
    if slim.empty:
        raise ValueError(f"no finished row of the {panel} panel has {name!r}")
    present = set(slim["series"])
    order = [*(n for n in axes.names if n in present), *sorted(present - set(axes.names))]
    return slim, order


def _place(rows: pd.DataFrame, x: str, shift: dict[str, float]) -> pd.Series:
    return rows[x].astype(float) * rows["series"].map(shift)


def _labelled(rows: pd.DataFrame, look: dict[str, Look]) -> pd.DataFrame:
    return rows.assign(label=rows["series"].map({name: entry.label for name, entry in look.items()}))


def _scales(look: dict[str, Look], columns: int) -> tuple[alt.Color, alt.Shape]:
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


def _floor(rows: pd.DataFrame) -> float | None:
    known = rows["floor"].dropna() if "floor" in rows else rows["value"].iloc[:0]
    return None if known.empty else float(known.mean())


def _floor_layers(floor: float | None, scale: alt.Scale, axis: alt.Axis, name: str) -> list[alt.Chart]:
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


def _y(values: pd.Series, floor: float | None, logarithmic: bool) -> tuple[alt.Scale, alt.Axis]:
    """The scale and axis of a measure: what the seeds span and the floor; wider intervals are cut."""
    shown = [float(v) for v in values]
    if floor is not None and (floor > 0 or not logarithmic):
        shown.append(floor)
    low, high = _around(shown, logarithmic)
    scale = alt.Scale(type="log" if logarithmic else "linear", domain=[low, high], nice=False, clamp=False)
    axis = (
        alt.Axis(values=log_ticks(low, high), format="~g")
        if logarithmic
        else alt.Axis(format="~g", tickCount=6)
    )
    return scale, axis


def _around(values: Sequence[float], logarithmic: bool) -> tuple[float, float]:
    """The range of the values with a margin of 6 % on both sides, of at least a tenth of a factor or unit."""
    if logarithmic:
        low, high = math.log(min(values)), math.log(max(values))
        margin = max(0.06 * (high - low), 0.05)
        return math.exp(low - margin), math.exp(high + margin)
    low, high = min(values), max(values)
    margin = max(0.06 * (high - low), 1e-3)
    return low - margin, high + margin


def _apart(points: pd.DataFrame, column: str, factor: float = 1.6) -> pd.DataFrame:
    """Points whose labels do not run into each other: from the right, each at least `factor` left of the last kept."""
    kept: list[int] = []
    for position in range(len(points) - 1, -1, -1):
        if not kept or points[column].iloc[position] * factor <= points[column].iloc[kept[-1]]:
            kept.append(position)
    return points.iloc[kept]


def _few(values: list[float]) -> list[float]:
    return values if len(values) <= 7 else values[:: math.ceil(len(values) / 7)]


def _padded(ticks: Sequence[float]) -> list[float]:
    return [ticks[0] * 0.85, ticks[-1] * 1.18]


def _how_many(rows: pd.DataFrame) -> str:
    """` (500 images)` where all rows agree in how many were drawn."""
    counts = rows["rows"].dropna().unique().tolist() if "rows" in rows else []
    return f" ({int(counts[0]):,} images)" if len(counts) == 1 else ""


def _mean_tips(axes: Axes, name: str) -> list[alt.Tooltip]:
    series = (
        [alt.Tooltip("label:N", title="sampler" if axes.series == "sampler" else axes.series)]
        if axes.series
        else []
    )
    return [
        *series,
        alt.Tooltip(f"{axes.x}:Q", title=field(axes.x), format="d"),
        alt.Tooltip("mean:Q", title=f"{measure(name).title}, mean over seeds", format=".4~g"),
        alt.Tooltip("low:Q", title="95 % interval from", format=".4~g"),
        alt.Tooltip("high:Q", title="to", format=".4~g"),
        alt.Tooltip("seeds:Q", title="seeds"),
    ]


def _row_tips(rows: pd.DataFrame, axes: Axes, name: str) -> list[alt.Tooltip]:
    series = (
        [alt.Tooltip("label:N", title="sampler" if axes.series == "sampler" else axes.series)]
        if axes.series
        else []
    )
    tips = [
        *series,
        alt.Tooltip(f"{axes.x}:Q", title=field(axes.x), format="d"),
        alt.Tooltip("seed:O", title="seed"),
        alt.Tooltip("value:Q", title=measure(name).title, format=".4~g"),
    ]
    for column, title in (("nfe_counted", "evaluations counted"), ("cost", "seconds to draw all")):
        if column in rows:
            tips.append(alt.Tooltip(f"{column}:Q", title=title, format=".3~g"))
    return tips
