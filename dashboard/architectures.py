"""The networks that a study compares, side by side."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard import gallery
from dashboard.source import Source
from pipelines import architecture
from pipelines.axes import Axes, finished
from pipelines.vocabulary import word
from workbench.spec import SCALES, BackboneSpec, Study

COLUMNS = 3


@st.cache_data(max_entries=32, show_spinner="Counting what the networks cost")
def _counted(backbones: tuple[BackboneSpec, ...], shape: tuple[int, ...], classes: int) -> list[pd.DataFrame]:
    return architecture.counted(backbones, event_shape=shape, classes=classes)


def section(source: Source, study: Study, rows: pd.DataFrame, axes: Axes, facet: str) -> None:
    """A picture of each network; nothing for a study that compares none, or has no samples that tell their size."""
    if not architecture.applies(axes):
        return
    done = finished(rows)
    if done.empty:
        return
    scale = next(one for one in SCALES if one == done["scale"].iloc[0])
    sample = gallery.samples(source, str(done["run_id"].iloc[-1]))
    if sample is None:
        return
    backbones = architecture.networks(study, axes, str(done["data"].iloc[0]), scale, facet)
    st.header("Architectures", anchor="architectures")
    try:
        shape = tuple(sample.images.shape[1:])
        counted = _counted(tuple(backbones.values()), shape, sample.classes)
    except ValueError as error:
        st.caption(f"The networks could not be drawn: {error}.")
        return
    pictures = list(zip(backbones, counted, strict=True))
    for start in range(0, len(pictures), COLUMNS):
        for column, (name, parts) in zip(st.columns(COLUMNS, gap="large"), pictures[start:], strict=False):
            column.altair_chart(
                architecture.picture(parts, word(name)),
                alt=f"The blocks of {word(name)} with their shapes and shares of the FLOPs",
            )
    st.caption(architecture.HOW_TO_READ)
