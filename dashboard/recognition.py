"""The page of a study of classification: layers and noise levels, generative classifiers, confusions, corruptions."""

from __future__ import annotations

import json

import pandas as pd
import streamlit as st

from dashboard.source import Source, Unavailable
from pipelines.axes import Axes
from pipelines.recognition import charts, evidence
from pipelines.vocabulary import Look, looks

PROBLEMS = (Unavailable, OSError, ValueError, KeyError)


@st.cache_data(max_entries=256, show_spinner=False)
def _kept(_source: Source, uri: str, run_id: str) -> str:
    return _source.artifact(run_id, evidence.EVIDENCE).read_text()


def section(source: Source, rows: pd.DataFrame, axes: Axes) -> None:
    """All of it, for a study whose trials tell classes; nothing for another."""
    if not evidence.applies(rows):
        return
    kept = evidence.gathered(rows, axes, lambda run: json.loads(_kept(source, source.uri, run)), PROBLEMS)
    if kept.empty:
        return
    look = looks(axes.names)
    _layers(kept, look)
    _training(rows, axes, look)
    _bayes(source, kept, look)
    _confusions(kept, look)
    _corruptions(kept, look)


@st.fragment
def _layers(kept: pd.DataFrame, look: dict[str, Look]) -> None:
    choices = evidence.choices(kept)
    if not choices:
        return
    st.header("Where the features are", anchor="layers")
    name = st.segmented_control(
        "Features of",
        list(choices),
        default=next(iter(choices)),
        format_func=lambda one: look[one].label,
        key="features_of",
        required=True,
    )
    classes = next(iter(kept["evidence"]))["classes"]
    st.altair_chart(
        charts.layers_chart(choices[name], classes),
        alt="Validation accuracy of a linear readout by layer and noise level, and a map of the features of a cell",
    )
    st.caption(f"{charts.LAYERS} Click a cell to see validation images by its features on the right.")


def _training(rows: pd.DataFrame, axes: Axes, look: dict[str, Look]) -> None:
    along = evidence.along_training(rows, axes)
    if along.empty:
        return
    st.header("Along the training", anchor="training")
    st.altair_chart(
        charts.training_chart(along, look[along["method"].iloc[-1]].colour, width=420, height=300),
        alt="Error of features and distance of samples of checkpoints of one training",
    )
    st.caption(charts.TRAINING)


def _bayes(source: Source, kept: pd.DataFrame, look: dict[str, Look]) -> None:
    curves = evidence.curves(kept)
    if curves.empty:
        return
    st.header("The model as a classifier", anchor="bayes")
    st.altair_chart(
        charts.evaluations_chart(curves, look, height=420),
        alt="Accuracy of generative classifiers against network evaluations an image",
    )
    st.caption(charts.EVALUATIONS)
    for row in kept.to_dict("records"):
        wrong = row["evidence"].get("wrong")
        if not wrong:
            continue
        try:
            picture = source.artifact(row["run_id"], evidence.WRONG)
        except PROBLEMS:
            continue
        st.markdown("#### Images that it takes for another class")
        st.image(
            str(picture), width="content", alt="Images told wrongly, and what is restored under each class"
        )
        st.caption(f"{evidence.wrong_words(row['evidence'])} {charts.WRONG}")
        return


@st.fragment
def _confusions(kept: pd.DataFrame, look: dict[str, Look]) -> None:
    found = evidence.confusions(kept)
    st.header("What is taken for what", anchor="confusions")
    names = list(found)
    shown = st.pills(
        "Methods",
        names,
        default=[name for name in evidence.FIRST if name in names] or names[:2],
        selection_mode="multi",
        format_func=lambda one: look[one].label,
        key="confusions",
    )
    shown = [name for name in names if name in shown][:3] or names[:1]
    for column, name in zip(st.columns(len(shown), gap="medium"), shown, strict=True):
        with column:
            st.markdown(f"**{look[name].label}**")
            classes, counts = found[name]
            st.altair_chart(
                charts.confusion_chart(classes, counts),
                alt=f"Confusion matrix of {look[name].label}, as shares of the true class",
            )
    st.caption("Test images, all training seeds together; each line adds up to 100 %.")


def _corruptions(kept: pd.DataFrame, look: dict[str, Look]) -> None:
    rows = evidence.corruptions(kept)
    if rows.empty:
        return
    st.header("Corrupted images", anchor="corruptions")
    st.altair_chart(
        charts.corruptions_chart(rows, look),
        alt="Accuracy against severity of four corruptions, for each method",
    )
    st.caption(f"{charts.CORRUPTIONS} Click the legend to single one out.")
