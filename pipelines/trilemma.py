"""Quality, diversity and speed of several families at once: who wins at which budget, and how likelihoods rank them."""

from __future__ import annotations

import altair as alt
import pandas as pd

from pipelines import marks
from pipelines.axes import Axes, finished, log_ticks, summary
from pipelines.vocabulary import NEUTRAL, axis_title, field, looks, measure

BUDGET, SPEED, LIKELIHOOD, ESTIMATE = "budget", "single_seconds", "bits_per_dim", "ode_bits_per_dim"
DIVERSITY = "coverage[cnn]"
HOW_TO_READ = (
    "At the whole budget. Down and to the left is better: closer to real images, sooner drawn. The larger a mark, the "
    "more of the real images have a generated one near them. Rings: training seeds."
)
APART = "Apart: the 95 % intervals of the two over training seeds do not overlap."
COST = ("parameters", "fit_seconds", "nfe_counted", "images_per_second")
COSTS = (
    "At the whole budget, means over training seeds. Seconds of training are those that were measured, on a machine "
    "with as much else to do as it had; budgets are set in images from the speeds of an idle one."
)
KINDS = (
    "At the whole budget. An exact density of dequantised images and a variational bound both understate the "
    "probability of the images; an estimate may be off to either side. Families that show their images without noise "
    "that their likelihood counts (DDPM, the autoregressive flow) do not compare with the others by it."
)


def applies(rows: pd.DataFrame, axes: Axes) -> bool:
    """Whether the study compares families over budgets, whose speed, diversity and likelihood were measured."""
    if axes.series is None or axes.x != BUDGET:
        return False
    done = _at_largest(finished(rows), axes)
    return all(name in done and done[name].notna().any() for name in (SPEED, DIVERSITY, LIKELIHOOD))


def winners(rows: pd.DataFrame, axes: Axes, name: str) -> pd.DataFrame:
    """One row for each value of x at which two families or more have finished: the family that is best by a measure,
    its mean, the next one and its mean, whether the 95 % intervals of the two over training seeds are `apart`, and how
    many seeds each has."""
    done = finished(rows)
    assert axes.series is not None
    geometric = measure(name).logarithmic
    means = summary(done, axes, name, geometric=geometric)
    ascending = measure(name).direction != "higher"
    look = looks(list(axes.names))
    records = []
    for x, group in means.groupby(axes.x, sort=True):
        ordered = group.sort_values("mean", ascending=ascending)
        if len(ordered) < 2:
            continue
        first, second = ordered.iloc[0], ordered.iloc[1]
        apart = first["high"] < second["low"] if ascending else first["low"] > second["high"]
        records.append(
            {
                axes.x: x,
                "best": look[str(first[axes.series])].label,
                "mean": first["mean"],
                "next": look[str(second[axes.series])].label,
                "next mean": second["mean"],
                "apart": bool(apart),
                "seeds": f"{first['seeds']} and {second['seeds']}",
            }
        )
    return pd.DataFrame(records)


def likelihoods(rows: pd.DataFrame, axes: Axes, quality: str) -> pd.DataFrame:
    """One row a family at the largest x: bits per dimension with their kind, its rank by them and by `quality`."""
    done = _at_largest(finished(rows), axes)
    assert axes.series is not None
    grouped = done.groupby(done[axes.series].astype(str))
    estimated = {"by the ODE, an estimate": grouped[ESTIMATE].mean()} if ESTIMATE in done else {}
    table = pd.DataFrame(
        {
            "bits per dimension": grouped[LIKELIHOOD].mean(),
            "deviation over seeds": grouped[LIKELIHOOD].std(),
            **estimated,
            "kind": grouped["likelihood_kind"].first().fillna("none"),
            measure(quality).title: _means(done, axes, quality),
        }
    )
    for rank, column in (("likelihood", "bits per dimension"), ("quality", measure(quality).title)):
        table[f"rank by {rank}"] = table[column].rank(method="min").astype("Int64")
    look = looks(list(axes.names))
    named = table.rename(index={name: entry.label for name, entry in look.items()})
    return named.rename_axis("family").sort_values("rank by quality").reset_index()


def costs(rows: pd.DataFrame, axes: Axes, quality: str) -> pd.DataFrame:
    """One row a family at the largest x: what it took to train and to draw, means over seeds, and how far seeds lie
    apart; `failed` counts the seeds without a result."""
    assert axes.series is not None
    whole = _at_largest(rows[rows["panel"] == "network"], axes)
    whole = whole.reindex(columns=[*whole.columns, *(one for one in COST if one not in whole)])
    name = whole[axes.series].astype(str)
    done = finished(whole)
    grouped = done.groupby(done[axes.series].astype(str))
    spread = grouped[quality].std() / grouped[quality].mean()
    table = pd.DataFrame(
        {
            "parameters": grouped["parameters"].mean().map(lambda count: f"{count:,.0f}", na_action="ignore"),
            "seconds of training": grouped["fit_seconds"].mean(),
            "evaluations an image": grouped["nfe_counted"].mean(),
            "seconds for 1,000 images, one by one": 1000 * grouped[SPEED].mean(),
            "in batches": 1000 / grouped["images_per_second"].mean(),
            f"deviation of {measure(quality).title} over its mean": spread,
            "failed seeds": (whole["status"] == "FAILED").groupby(name).sum(),
        }
    )
    look = looks(list(axes.names))
    order = [entry for entry in axes.names if entry in table.index]
    named = table.loc[order].rename(index={entry: look[entry].label for entry in order})
    return named.rename_axis("family").reset_index()


def _at_largest(rows: pd.DataFrame, axes: Axes) -> pd.DataFrame:
    """The rows at the largest x."""
    return rows[rows[axes.x].astype(float) == max(axes.ticks)]


def _means(done: pd.DataFrame, axes: Axes, name: str) -> pd.Series:
    """The mean of a measure over seeds by family, of rows at one x: geometric where it is read by its logarithm."""
    means = summary(done, axes, name, geometric=measure(name).logarithmic)
    return means.set_index(means[axes.series].astype(str))["mean"]


def chart(rows: pd.DataFrame, axes: Axes, quality: str, *, height: int = 420) -> alt.LayerChart:
    """Quality against the seconds that one image takes, at the largest x; the larger a mark, the more of the real
    images are covered. Each seed is a small ring, each family its mean."""
    done = _at_largest(finished(rows), axes)
    assert axes.series is not None
    columns = {"value": quality, "speed": SPEED, "covered": DIVERSITY}
    points = pd.DataFrame({new: pd.to_numeric(done[old], errors="coerce") for new, old in columns.items()})
    points = points.assign(series=done[axes.series].astype(str), seed=done["seed"]).dropna()
    names = [name for name in axes.names if name in set(points["series"])]
    look = looks(names)
    means = pd.DataFrame({new: _means(done, axes, old) for new, old in columns.items()}).dropna()
    means = means.rename_axis("series").reset_index()
    colour, _ = marks.colour_and_shape(look, 4)
    low, high = points["speed"].min() * 0.6, points["speed"].max() * 6  # room for the last name
    x = alt.X(
        "speed:Q",
        title=f"{measure(SPEED).title} (log scale)",
        scale=alt.Scale(type="log", domain=[low, high], nice=False),
        axis=alt.Axis(values=log_ticks(low, high), format="~g", grid=False),
    )
    y_scale, y_axis = marks.y_of(points["value"], None, True)
    y = alt.Y("value:Q", title=axis_title(quality), scale=y_scale, axis=y_axis)
    size = alt.Size(
        "covered:Q",
        title=f"{measure(DIVERSITY).title}",
        scale=alt.Scale(type="sqrt", domain=[0, 1], range=[20, 700]),
        legend=alt.Legend(
            orient="bottom",
            values=[0.2, 0.5, 0.8],
            format=".0%",
            symbolFillColor=NEUTRAL,
            symbolStrokeColor=NEUTRAL,
        ),
    )
    tips = [
        alt.Tooltip("label:N", title=field(axes.series)),
        alt.Tooltip("value:Q", title=measure(quality).title, format=".3~g"),
        alt.Tooltip("speed:Q", title=measure(SPEED).title, format=".3~g"),
        alt.Tooltip("covered:Q", title=measure(DIVERSITY).title, format=".0%"),
    ]
    labelled = marks.labelled(means, look)
    rings = alt.Chart(marks.labelled(points, look)).mark_point(
        filled=False, size=26, strokeWidth=1, opacity=0.5
    )
    centres = alt.Chart(labelled).mark_point(filled=True, opacity=0.85)
    words = alt.Chart(labelled).mark_text(align="left", dx=14, fontSize=11, color=NEUTRAL)
    return marks.layered(
        [
            rings.encode(x=x, y=y, color=colour, tooltip=[*tips, alt.Tooltip("seed:O")]),
            centres.encode(x=x, y=y, color=colour, size=size, tooltip=tips),
            words.encode(x=x, y=y, text="label:N"),
        ],
        height,
    )


def panels(rows: pd.DataFrame, axes: Axes, quality: str, *, width: int = 230) -> alt.HConcatChart:
    """Quality, diversity and speed beside each other at the largest x, a line a family, the best in quality first: the
    mean over seeds with its 95 % interval, each seed a ring."""
    done = _at_largest(finished(rows), axes)
    assert axes.series is not None
    order = _means(done, axes, quality).sort_values(ascending=measure(quality).direction != "higher")
    look = looks(list(axes.names))
    names = [str(name) for name in order.index]
    labels = [look[name].label for name in names]
    colour = alt.Color(
        "label:N", legend=None, scale=alt.Scale(domain=labels, range=[look[name].colour for name in names])
    )
    shown = []
    for index, name in enumerate((quality, DIVERSITY, SPEED)):
        entry = measure(name)
        points = pd.DataFrame(
            {"series": done[axes.series].astype(str), "value": done[name], "seed": done["seed"]}
        )
        points = marks.labelled(points.dropna(), look)
        means = marks.labelled(
            summary(done, axes, name, geometric=entry.logarithmic).rename(columns={axes.series: "series"}),
            look,
        )
        scale, axis = marks.y_of(points["value"], None, entry.logarithmic)
        x = alt.X("value:Q", title=axis_title(name), scale=scale, axis=axis)
        y = alt.Y(
            "label:N", title=None, sort=labels, axis=alt.Axis(labels=index == 0, grid=True, labelLimit=180)
        )
        tips = [
            alt.Tooltip("label:N", title=field(axes.series)),
            alt.Tooltip("mean:Q", title=entry.title, format=".3~g"),
            alt.Tooltip("low:Q", title="95 % interval from", format=".3~g"),
            alt.Tooltip("high:Q", title="to", format=".3~g"),
        ]
        layers = [
            alt.Chart(means)
            .mark_rule(strokeWidth=3, opacity=0.4, clip=True)
            .encode(
                x=alt.X("low:Q", title=axis_title(name), scale=scale, axis=axis),
                x2="high:Q",
                y=y,
                color=colour,
            ),
            alt.Chart(points)
            .mark_point(filled=False, size=24, strokeWidth=1, opacity=0.6)
            .encode(x=x, y=y, color=colour, tooltip=["seed:O", alt.Tooltip("value:Q", format=".3~g")]),
            alt.Chart(means)
            .mark_point(filled=True, size=80, opacity=0.95)
            .encode(
                x=alt.X("mean:Q", title=axis_title(name), scale=scale, axis=axis),
                y=y,
                color=colour,
                tooltip=tips,
            ),
        ]
        shown.append(alt.LayerChart(layer=layers, width=width, height=26 * len(labels)))
    return alt.hconcat(*shown, spacing=16)
