"""Tables -> Altair charts: pure functions, shared by the dashboard and the answer sheets.

A chart states what its axes are, in which unit and which direction is better. Fonts and the colours of axes and
text are left to where it is shown: Streamlit's theme in the dashboard, `on_paper` in a document.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import altair as alt
import pandas as pd

from pipelines import marks
from pipelines.axes import Axes, log_ticks, pareto, spread_out, summary
from pipelines.statistics import is_ratio
from pipelines.verdict import Decision
from pipelines.vocabulary import ACCENT, NEUTRAL, axis_title, field, looks, measure
from workbench.spec import Claim

ANSWER_COLOURS = {"supported": "#2a9d5c", "refuted": "#d1495b", "inconclusive": NEUTRAL}
Chart = alt.LayerChart | alt.VConcatChart | alt.HConcatChart | alt.ConcatChart
Draw = Callable[[], Chart]
OF_TRAINING = (
    "Large marks: arms, means over seeds; small ones: each seed. A line joins the arms of one curve, from little cost "
    "to much. Dotted: the Pareto front, the arms that no other beats in both. Where networks differ in size, the area "
    "of a large mark is in proportion to their parameters."
)
OF_SIZE = (
    "Networks that saw equally many images, whatever they are compared at, by what one evaluation costs. The sizes of "
    "a backbone are joined. Large marks: mean over seeds; small ones: each seed; bars: 95 % intervals."
)
TRAINING = ("training_flops", "fit_seconds")  # columns of what a network cost before it was drawn from


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
    rows, series = marks.slim_rows(table, axes, name, panel)
    geometric = measure(name).logarithmic and bool((rows["value"] > 0).any())
    rows = rows[rows["value"] > 0] if geometric else rows
    shift = spread_out(series)
    keys = Axes(axes.x, "series", axes.ticks, axes.names)
    means = summary(rows, keys, "value", geometric=geometric).assign(
        place=lambda d: marks.placed(d, axes.x, shift)
    )
    rows = rows.assign(place=marks.placed(rows, axes.x, shift))
    floor = marks.floor_of(rows)

    look = looks(series)
    colour, shape = marks.colour_and_shape(look, legend_columns)
    x = alt.X(
        "place:Q",
        title=field(axes.x),
        scale=alt.Scale(type="log", domain=marks.padded(axes.ticks), nice=False),
        axis=alt.Axis(values=list(axes.ticks), format="~g", grid=False, labelOverlap="greedy"),
    )
    y_scale, y_axis = marks.y_of(rows["value"], floor, geometric)
    y = alt.Y("mean:Q", title=axis_title(name), scale=y_scale, axis=y_axis)
    many = len(series) > 1
    picked = alt.selection_point(name="picked", fields=["label"], bind="legend")
    strong = alt.condition(picked, alt.value(1.0), alt.value(0.08)) if many else alt.value(1.0)
    faint = alt.condition(picked, alt.value(0.5), alt.value(0.04)) if many else alt.value(0.5)
    legend = {"color": colour, "shape": shape}

    base = alt.Chart(marks.labelled(means, look)).encode(x=x)
    lines = base.mark_line(strokeWidth=2, interpolate="linear").encode(y=y, color=colour, opacity=strong)
    bars = base.mark_rule(strokeWidth=1.5, clip=True).encode(
        y=alt.Y("low:Q", scale=y_scale, axis=y_axis, title=axis_title(name)),
        y2="high:Q",
        color=colour,
        opacity=faint,
    )
    centres = base.mark_point(filled=True, size=64, strokeWidth=0).encode(
        y=y, opacity=strong, tooltip=marks.mean_tips(axes, name), **legend
    )
    seeds = (
        alt.Chart(marks.labelled(rows, look))
        .mark_point(filled=False, size=26, strokeWidth=1)
        .encode(
            x=x,
            y=alt.Y("value:Q", scale=y_scale, axis=y_axis, title=axis_title(name)),
            opacity=faint,
            tooltip=marks.row_tips(rows, axes, name),
            **legend,
        )
    )
    layers: list[alt.Chart] = [*marks.floor_layers(floor, y_scale, y_axis, name), bars, lines, seeds, centres]
    if many:
        layers[-1] = layers[-1].add_params(picked)
    return marks.layered(layers, height)


def cost_chart(
    table: pd.DataFrame,
    axes: Axes,
    name: str,
    *,
    cost: str,
    height: int = 360,
    legend_columns: int = 4,
) -> alt.LayerChart:
    """A measure against what it costs: each seed a dot, each arm its mean, and the Pareto front through those that no
    other arm beats in both. Against the cost of training the arms of a curve are joined, so that crossings show, and
    marks are as large as the networks are, where these differ. Raises ValueError where no finished row has both."""
    rows, series = marks.slim_rows(table, axes, name, "network", cost=cost)
    geometric = measure(name).logarithmic and bool((rows["value"] > 0).any())
    rows = rows[(rows["cost"] > 0) & ((rows["value"] > 0) | (not geometric))]
    keys = Axes(axes.x, "series", axes.ticks, axes.names)
    means = summary(rows, keys, "value", geometric=geometric)
    of_training = cost in TRAINING
    for column in ("cost", *(["parameters"] if of_training and "parameters" in rows else [])):
        of_arm = summary(rows, keys, column, geometric=True).rename(columns={"mean": column})
        how = "inner" if column == "cost" else "left"  # what has no cost has no place
        means = means.merge(of_arm[["series", axes.x, column]], on=["series", axes.x], how=how)
    front = pareto(means, "cost", "mean", lower_is_better=measure(name).direction != "higher")
    floor = marks.floor_of(rows)
    look = looks(series)
    colour, shape = marks.colour_and_shape(look, legend_columns)
    ticks = log_ticks(float(rows["cost"].min()) * 0.8, float(rows["cost"].max()) * 1.35)
    x_title = field(cost) + ("" if of_training else marks.how_many(rows))
    x_scale = alt.Scale(type="log", domain=[rows["cost"].min() * 0.8, rows["cost"].max() * 1.35], nice=False)
    x_axis = alt.Axis(values=ticks, format=marks.number_format(cost), grid=False)
    y_scale, y_axis = marks.y_of(rows["value"], floor, geometric)
    y = alt.Y("mean:Q", title=axis_title(name), scale=y_scale, axis=y_axis)
    x = alt.X("cost:Q", title=x_title, scale=x_scale, axis=x_axis)
    base = alt.Chart(marks.labelled(means, look)).encode(x=x, y=y, color=colour)
    tips = [
        *marks.mean_tips(axes, name),
        alt.Tooltip("cost:Q", title=field(cost), format=f".3{marks.number_format(cost)}"),
    ]
    if of_training and "parameters" in means:
        tips.append(alt.Tooltip("parameters:Q", format=".3~s"))
    size = marks.size_by_parameters(means) if of_training else alt.SizeValue(marks.MARK)
    centres = base.mark_point(filled=True, opacity=0.95, strokeWidth=0).encode(
        shape=shape, size=size, tooltip=tips
    )
    curves = [base.mark_line(strokeWidth=1.5, opacity=0.7)] if of_training else []
    seeds = (
        alt.Chart(marks.labelled(rows, look))
        .mark_point(filled=False, size=22, strokeWidth=1, opacity=0.35)
        .encode(
            x=alt.X("cost:Q", title=x_title, scale=x_scale, axis=x_axis),
            y=alt.Y("value:Q", title=axis_title(name), scale=y_scale, axis=y_axis),
            color=colour,
            shape=shape,
            tooltip=marks.row_tips(rows, axes, name, cost=cost),
        )
    )
    drawn = marks.labelled(front, look).assign(
        text=lambda d: d["label"] + " · " + d[axes.x].map("{:g}".format)
    )
    if not axes.series:
        drawn = drawn.assign(text=drawn[axes.x].map("{:g}".format))
    steps = alt.Chart(drawn).mark_line(
        interpolate="step-after", strokeWidth=1.5, strokeDash=[2, 3], color=NEUTRAL, clip=True
    )
    # A label is about a seventh of the axis long; those that would reach over its left end are left out.
    factor = (rows["cost"].max() / rows["cost"].min()) ** (1 / 7)
    named = marks.apart(drawn[drawn["cost"] > factor * rows["cost"].min()], "cost", factor)
    words = alt.Chart(named).mark_text(align="right", baseline="top", dx=-4, dy=7, fontSize=11, color=NEUTRAL)
    layers = [
        *marks.floor_layers(floor, y_scale, y_axis, name),
        steps.encode(x=x, y=y),
        *curves,
        seeds,
        centres,
        words.encode(x=x, y=y, text="text:N"),
    ]
    return marks.layered(layers, height)


def claim_chart(claim: Claim, decision: Decision, *, height: int = 84) -> alt.LayerChart:
    """One claim: each seed's statistic as a tick, the mean with its 95 % interval, and the side that was claimed.

    Raises ValueError where the decision has no estimate.
    """
    if decision.estimate is None or decision.low is None or decision.high is None:
        raise ValueError(f"decision {decision.claim!r} has no estimate to draw")
    ratio = is_ratio(claim.statistic)
    shown = [decision.low, decision.high, claim.bound, *decision.per_seed.values()]
    low, high = marks.around(shown, ratio)
    scale = alt.Scale(type="log" if ratio else "linear", domain=[low, high], nice=False)
    ticks = alt.Axis(values=marks.few(log_ticks(low, high)), format="~g", grid=False, title=None)
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
    return marks.layered(layers, height)


def claims_chart(pairs: Sequence[tuple[Claim, Decision]]) -> alt.VConcatChart:
    """The charts of several claims below each other, each with its sentence; for a document."""
    charts = [
        claim_chart(c, d).properties(title=f"{c.text} {d.answer.capitalize()}.", width=640) for c, d in pairs
    ]
    return alt.VConcatChart(vconcat=charts, spacing=14)


def curves_chart(curves: pd.DataFrame, *, title: str, height: int = 420) -> alt.Chart:
    """Learning curves: `value` against `images_seen`, one line for each `fit`."""
    positive = bool((curves["value"] > 0).all())
    low, high = marks.around(curves["value"].tolist(), positive)
    scale = alt.Scale(type="log" if positive else "linear", domain=[low, high], nice=False)
    axis = alt.Axis(values=log_ticks(low, high), format="~g") if positive else alt.Axis(format="~g")
    picked = alt.selection_point(name="fit", fields=["fit"], bind="legend")
    chart: alt.Chart = (
        alt.Chart(curves)
        .mark_line(strokeWidth=1.6, clip=True)
        .encode(
            x=alt.X("images_seen:Q", title="Training images seen", axis=alt.Axis(format="~s", grid=False)),
            y=alt.Y("value:Q", title=title, scale=scale, axis=axis),
            color=alt.Color(
                "fit:N", title=None, legend=alt.Legend(orient="bottom", columns=2, labelLimit=360)
            ),
            opacity=alt.condition(picked, alt.value(0.95), alt.value(0.1)),
            tooltip=[
                alt.Tooltip("fit:N"),
                alt.Tooltip("images_seen:Q", title="images seen", format=",d"),
                alt.Tooltip("value:Q", title=title, format=".4~g"),
            ],
        )
        .properties(height=height)
        .add_params(picked)
    )
    return chart


def on_paper(chart: Chart, *, width: int = 680) -> Chart:
    """The chart as a document shows it: a fixed width, a white ground, quiet axes, text that can be read in print."""
    ink, quiet = "#222831", "#d5d9de"
    drawn = chart.copy()
    if isinstance(drawn, alt.LayerChart) and drawn.width is alt.Undefined:
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
