"""Pictures of the networks that a study compares, drawn from the networks themselves: blocks, shapes, FLOPs."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd

from pipelines.axes import Axes
from pipelines.names import column_of
from pipelines.vocabulary import ACCENT, NEUTRAL, word
from workbench.expansion import expand
from workbench.spec import BackboneSpec, DataSpec, DiffusionSpec, FitSpec, Scale, Study

COLUMN = "backbone"  # the series of a study that compares networks
ROW_PIXELS, TITLE_PIXELS = (
    23,
    72,
)  # of a block; above the first, where a page fits a chart with its title into a height
LEAST_HALF = 0.07  # half the width of a block of one position, where the widest is 1
LANES, SHAPES, SHARES = 0.42, 1.6, 3.6  # room for skips; where the shapes begin and the shares end
COUNTING_SECONDS = 120.0
HOW_TO_READ = (
    "Counted on the networks themselves, from top to bottom in the order of computation. A block is as wide as the "
    "side of what it puts out; its shape for one image is channels × rows × columns, or patches × channels. The "
    "stronger its colour, the larger its share of the FLOPs of one evaluation, at the right. Lines are long skips. "
    "What has no matrix products is left out."
)


def applies(axes: Axes) -> bool:
    """Whether a study compares backbones."""
    return axes.series == COLUMN


def networks(study: Study, axes: Axes, data: str, scale: Scale, facet: str = "") -> dict[str, BackboneSpec]:
    """The backbone of each curve at the largest x, in one facet where there are such."""
    found: dict[str, BackboneSpec] = {}
    for trial in expand(study, DataSpec(name=data), scale, (0,)):
        columns = {column_of(path): value for path, value in trial.arm}
        source = getattr(trial.spec, "source", None)
        if facet and str(columns.get(str(axes.facet))) != facet:
            continue
        if isinstance(source, FitSpec) and isinstance(source.model, DiffusionSpec):
            found[str(columns[COLUMN])] = source.model.backbone
    return found


def differing(
    study: Study, axes: Axes, data: str, scale: Scale, facets: Sequence[str]
) -> dict[str, dict[str, BackboneSpec]]:
    """The networks of each facet, without the facets whose networks are those of one before them."""
    found: dict[str, dict[str, BackboneSpec]] = {}
    for facet in facets:
        backbones = networks(study, axes, data, scale, facet)
        if backbones not in found.values():
            found[facet] = backbones
    return found


def counted(
    backbones: Sequence[BackboneSpec], *, event_shape: tuple[int, ...], classes: int
) -> list[pd.DataFrame]:
    """For each backbone its parts, a row each in the order of computation: `name`, `shape`, `parameters`, `flops`,
    `skip`. Counted by another process, which takes seconds.

    Raises ValueError with its last line where it fails, as for rows that a network does not fit.
    """
    asked = {
        "backbones": [dataclasses.asdict(spec) for spec in backbones],
        "event_shape": event_shape,
        "classes": classes,
    }
    command = [sys.executable, "-m", "pipelines.count"]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            timeout=COUNTING_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"the networks were not counted within {COUNTING_SECONDS:g} s") from error
    if done.returncode:
        raise ValueError((done.stderr.strip().splitlines() or ["the networks could not be counted"])[-1])
    return [pd.DataFrame(parts) for parts in json.loads(done.stdout)]


def picture(parts: pd.DataFrame, label: str) -> alt.LayerChart:
    """One network, its blocks below each other; `label` is what it is called. Its height is that with the title."""
    blocks = _blocks(parts)
    names = blocks["name"].tolist()
    y = alt.Y(
        "name:N",
        sort=names,
        title=None,
        scale=alt.Scale(domain=names, paddingInner=0.16, paddingOuter=0.08),
        axis=alt.Axis(domain=False, ticks=False, labelPadding=6, labelLimit=120, labelOverlap=False),
    )

    def x(column: str) -> alt.X:
        return alt.X(f"{column}:Q", scale=alt.Scale(domain=[-1.0, SHARES], nice=False), axis=None)

    tips = [
        alt.Tooltip("name:N", title="block"),
        alt.Tooltip("shape_text:N", title="shape"),
        alt.Tooltip("share:Q", title="share of FLOPs", format=".2%"),
        alt.Tooltip("flops:Q", title="FLOPs", format=".3~s"),
        alt.Tooltip("parameters:Q", title="parameters", format=","),
    ]
    base = alt.Chart(blocks).encode(y=y)
    # An outline, so that a block of next to no FLOPs is seen as well.
    bodies = base.mark_bar(
        color=ACCENT, cornerRadius=3, stroke=ACCENT, strokeWidth=1, strokeOpacity=0.7
    ).encode(
        x=x("left"),
        x2="right:Q",
        fillOpacity=alt.FillOpacity(
            "strength:Q", scale=alt.Scale(domain=[0, 1], range=[0.06, 1]), legend=None
        ),
        tooltip=tips,
    )
    shapes = base.mark_text(align="left", color=NEUTRAL, fontSize=11).encode(
        x=x("shape_place"), text="shape_text:N"
    )
    shares = base.mark_text(align="right", color=NEUTRAL, fontSize=11, fontWeight=600).encode(
        x=x("share_place"), text="share_text:N"
    )
    layers = [bodies, shapes, shares]
    lanes = _lanes(blocks)
    if len(lanes):
        layers.append(
            alt.Chart(lanes)
            .mark_line(color=NEUTRAL, strokeWidth=1.5, strokeJoin="round")
            .encode(x=x("x"), y=y, detail="skip:N", order="step:Q")
        )
    title = alt.TitleParams(label, subtitle=_totals(parts), subtitleColor=NEUTRAL, subtitlePadding=4)
    return alt.LayerChart(layer=layers, title=title, height=ROW_PIXELS * len(names) + TITLE_PIXELS)


def beside(
    backbones: Mapping[str, BackboneSpec],
    *,
    event_shape: tuple[int, ...],
    classes: int,
    columns: int = 3,
    width: int = 300,
) -> alt.ConcatChart:
    """Several networks by name, counted and drawn beside each other, for a document. Raises as `counted` does."""
    found = counted(list(backbones.values()), event_shape=event_shape, classes=classes)
    drawn = [picture(parts, word(name)) for name, parts in zip(backbones, found, strict=True)]
    sized = [one.properties(width=width, height=one.height - TITLE_PIXELS) for one in drawn]
    return alt.concat(*sized, columns=columns, spacing=28)


def _totals(parts: pd.DataFrame) -> str:
    """`1.02 million parameters, 122 million FLOPs`."""
    parameters, flops = (float(parts[name].sum()) / 1e6 for name in ("parameters", "flops"))
    return f"{parameters:.2f} million parameters, {flops:.3g} million FLOPs"


def _blocks(parts: pd.DataFrame) -> pd.DataFrame:
    """The parts that have FLOPs, with what is drawn of them."""
    blocks = parts[parts["flops"] > 0].reset_index(drop=True)
    sides = blocks["shape"].map(_side)
    half = (sides / sides.max()).clip(lower=LEAST_HALF)
    share = blocks["flops"] / parts["flops"].sum()
    return blocks.assign(
        left=-half,
        right=half,
        share=share,
        strength=share / share.max(),
        shape_place=SHAPES,
        share_place=SHARES,
        shape_text=blocks["shape"].map(lambda shape: " × ".join(map(str, shape))),
        share_text=share.map(lambda part: f"{100 * part:.1f} %" if part >= 0.0005 else "< 0.1 %"),
    )


def _side(shape: Sequence[int]) -> float:
    """The side of the square that has as many positions as rows [C, *S] or tokens [P, C] of that shape."""
    return math.sqrt({1: 1, 2: shape[0]}.get(len(shape), math.prod(shape[1:])))


def _lanes(blocks: pd.DataFrame) -> pd.DataFrame:
    """The way of each skip: out of its source to the right, down, and into its target."""
    right = dict(zip(blocks["name"], blocks["right"], strict=True))
    skips = [
        (row.skip, row.name_) for row in blocks.rename(columns={"name": "name_"}).itertuples() if row.skip
    ]
    records = []
    for lane, (source, target) in enumerate(skips):
        beside = 1.08 + LANES * lane / max(len(skips), 4)
        way = [(right[source], source), (beside, source), (beside, target), (right[target], target)]
        records += [
            {"skip": f"{source} to {target}", "step": step, "x": x, "name": name}
            for step, (x, name) in enumerate(way)
        ]
    return pd.DataFrame(records)
