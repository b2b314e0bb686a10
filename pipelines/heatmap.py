"""A measure over the whole grid of a study at one look: a cell an arm, coloured and with its value in it."""

from __future__ import annotations

import math

import altair as alt
import pandas as pd

from pipelines.answer import number
from pipelines.axes import Axes, finished, present, summary
from pipelines.vocabulary import axis_title, field, looks, measure

LEAST_PLACES = 3  # with fewer values of x there is nothing to see that the curves do not show
ROW_PIXELS, AROUND_PIXELS = 44, 60  # of a curve's cells; of title and axis
GAP = 0.04  # between cells, as a share of one
HOW_TO_READ = "A cell is an arm, its number the mean over training seeds; the brighter, the better."


def applies(rows: pd.DataFrame, axes: Axes) -> bool:
    """Whether rows make a grid worth colouring: several curves over at least three values of x."""
    names, places = present(finished(rows), axes)
    return len(names) > 1 and len(places) >= LEAST_PLACES


def chart(table: pd.DataFrame, axes: Axes, name: str) -> alt.LayerChart:
    """The mean of a measure over seeds, curves as rows and x as columns; on a logarithmic scale where it is a distance.

    Arms without a finished row are left blank. Raises ValueError where no finished row has the measure.
    """
    cells = _cells(table, axes, name)
    entry, label = measure(name), looks(present(finished(table), axes)[0])
    names = [look.label for look in label.values()]
    columns = [f"{x:g}" for x in axes.ticks if x in set(cells[axes.x])]
    cells = cells.assign(
        label=cells[axes.series].map({one: look.label for one, look in label.items()}),
        column=cells[axes.x].map("{:g}".format),
        text=cells["mean"].map(number),
    )
    place = alt.Chart(cells).encode(
        x=alt.X(
            "column:O",
            sort=columns,
            title=field(axes.x),
            scale=alt.Scale(paddingInner=GAP, paddingOuter=0.0),
            axis=alt.Axis(labelAngle=0, domain=False, ticks=False, labelPadding=6),
        ),
        y=alt.Y(
            "label:N",
            sort=names,
            title=None,
            scale=alt.Scale(paddingInner=GAP, paddingOuter=0.0),
            axis=alt.Axis(domain=False, ticks=False, labelPadding=8, labelLimit=220),
        ),
    )
    tips = [
        alt.Tooltip("label:N", title=field(str(axes.series))),
        alt.Tooltip("column:N", title=field(axes.x)),
        alt.Tooltip("mean:Q", title=f"{entry.title}, mean over seeds", format=".4~g"),
        alt.Tooltip("low:Q", title="95 % interval from", format=".4~g"),
        alt.Tooltip("high:Q", title="to", format=".4~g"),
        alt.Tooltip("seeds:Q", title="seeds"),
    ]
    tiles = place.mark_rect(cornerRadius=3).encode(
        color=alt.Color(
            "brightness:Q", scale=alt.Scale(scheme="viridis", domain=[0, 1]), legend=None, title=None
        ),
        tooltip=tips,
    )
    values = place.mark_text(fontSize=13, fontWeight=500).encode(
        text="text:N",
        color=alt.condition("datum.brightness > 0.45", alt.value("#10141a"), alt.value("white")),
        tooltip=tips,
    )
    return alt.LayerChart(
        layer=[tiles, values], title=axis_title(name), height=ROW_PIXELS * len(names) + AROUND_PIXELS
    )


def _cells(table: pd.DataFrame, axes: Axes, name: str) -> pd.DataFrame:
    """One row an arm: its curve, x, `mean`, `low`, `high`, `seeds` and `brightness`, 1 for the best cell and 0 for the
    worst, by the logarithm of the mean where the measure is a distance."""
    done = finished(table)
    if name not in done or done[name].dropna().empty:
        raise ValueError(f"no finished row of the network panel has {name!r}")
    entry = measure(name)
    geometric = entry.logarithmic and bool((done[name].dropna() > 0).all())
    means = summary(done, axes, name, geometric=geometric)
    height = means["mean"].map(math.log if geometric else float)
    span = float(height.max() - height.min())
    rise = (height - height.min()) / span if span else height * 0.0 + 0.5
    return means.assign(brightness=rise if entry.direction == "higher" else 1.0 - rise)
