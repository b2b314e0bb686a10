"""Every trial of a study as a table, what failed and why, and how to make it all again."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from dashboard.source import Source
from pipelines.axes import Axes, measures_of
from pipelines.names import experiment_page, run_page, study_command
from pipelines.vocabulary import SAMPLERS, axis_title, measure
from workbench.spec import Study

COST = ("sample_seconds", "images_per_second", "nfe_counted", "flops_per_evaluation", "peak_memory_bytes")
HEADS = {"nfe": "NFE", "timesteps": "T"}
MEASURED = ("endpoint_error", "sliced_wasserstein")  # of the exact panel
NUMBERS = {
    "sample_seconds": ("Seconds", "%.3g", "Wall-clock seconds to draw all samples"),
    "images_per_second": ("Images/s", "%.4g", "Samples drawn a second"),
    "nfe_counted": ("NFE counted", "%d", "Network evaluations per sample, counted while sampling"),
    "flops_per_evaluation": (
        "FLOPs/evaluation",
        "%.3g",
        "Floating-point operations of one evaluation for one sample",
    ),
    "peak_memory_bytes": ("Peak memory", "bytes", "The most memory that the process held"),
}


def experiment_id(source: Source, study: str) -> str:
    """MLflow's id of the experiment of a study; empty where there is none."""
    known = source.studies()
    found = known.loc[known["study"] == study, "experiment_id"]
    return "" if found.empty else str(found.iloc[0])


def failures(rows: pd.DataFrame) -> None:
    """The trials that did not finish, with their reasons."""
    bad = rows[rows["status"].isin(["FAILED", "KILLED"])]
    if bad.empty:
        return
    plural = "s" * (len(bad) > 1)
    with st.expander(f"{len(bad)} trial{plural} did not finish", icon=":material/warning:", expanded=True):
        shown = bad[["name", "status", "reason"]].fillna({"reason": "no reason was stored"})
        st.dataframe(shown, hide_index=True, alt="Trials that did not finish, with their reasons")


@st.fragment
def trials(source: Source, study: Study, rows: pd.DataFrame, axes: Axes) -> None:
    """The table of trials with filters and a download."""
    st.header("Every trial", anchor="trials")
    failures(rows)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        names = sorted(rows[axes.series].dropna().astype(str).unique()) if axes.series else []
        wanted = (
            st.multiselect(
                str(axes.series).capitalize(),
                names,
                format_func=lambda name: SAMPLERS[name].label if name in SAMPLERS else name,
                placeholder="all",
                key="only",
                bind="query-params",
                width=340,
            )
            if names
            else []
        )
        states = sorted(rows["status"].unique())
        status = (
            st.segmented_control("Status", states, selection_mode="multi", key="status")
            if len(states) > 1
            else []
        )
        panels = sorted(rows["panel"].dropna().unique())
        panel = (
            st.segmented_control("Panel", panels, selection_mode="multi", default=panels[:1], key="panel")
            if len(panels) > 1
            else []
        )
        text = st.text_input("Contains", key="contains", placeholder="name or reason", width=220)
    found = filtered(rows, axes, wanted, status, panel, text)
    if found.empty:
        st.caption("No trial is like that.")
        return
    experiment = experiment_id(source, study.name)
    measures = [*measures_of(study, found), *(name for name in MEASURED if name in found)]
    measures = [name for name in measures if name not in COST]
    columns = [
        *axes.columns,
        "seed",
        "status",
        "reason",
        *measures,
        *(name for name in COST if name in found),
    ]
    order = {name: position for position, name in enumerate(axes.names)}
    links = [run_page(source.uri, experiment, run) for run in found["run_id"]]
    table = found[columns].assign(run=links).dropna(axis="columns", how="all")
    table = table.sort_values(
        [*axes.columns, "seed"],
        key=lambda column: column.map(order) if column.name == axes.series else column,
    )
    config: dict[str, Any] = {
        name: st.column_config.NumberColumn(measure(name).title, format="%.4g", help=axis_title(name))
        for name in measures
    }
    config |= {
        name: st.column_config.NumberColumn(title, format=form, help=explained)
        for name, (title, form, explained) in NUMBERS.items()
    }
    config |= {
        name: st.column_config.Column(HEADS.get(name, name.capitalize()), pinned=True)
        for name in (*axes.columns, "seed")
    }
    config |= {name: st.column_config.Column(name.capitalize()) for name in ("status", "reason")}
    config["run"] = st.column_config.LinkColumn("Run", display_text="MLflow", help="This run in MLflow")
    st.dataframe(table, hide_index=True, column_config=config, height=420, alt=f"Trials of {study.name}")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button(
            "Download as CSV",
            found.to_csv(index=False).encode(),
            file_name=f"{study.name}.csv",
            mime="text/csv",
            icon=":material/download:",
        )
        st.caption(f"{len(found)} of {len(rows)} trials; the file holds every column.", width="content")


def filtered(
    rows: pd.DataFrame, axes: Axes, names: list[str], status: list[str], panel: list[str], text: str
) -> pd.DataFrame:
    """The rows that meet every filter; an empty filter lets all through."""
    keep = pd.Series(True, index=rows.index)
    if names and axes.series:
        keep &= rows[axes.series].astype(str).isin(names)
    if status:
        keep &= rows["status"].isin(status)
    if panel:
        keep &= rows["panel"].isin(panel)
    if text:
        words_of = rows["name"].fillna("") + " " + rows["reason"].fillna("").astype(str)
        keep &= words_of.str.contains(text, case=False, regex=False)
    return rows[keep]


def reproduce(source: Source, study: Study, network: pd.DataFrame, data: str, scale: str) -> None:
    """The command that makes these results again, the executions that made them, and the way into MLflow."""
    st.header("Make it again", anchor="again")
    seeds = sorted(int(seed) for seed in network["seed"].dropna().unique())
    st.code(study_command(study.name, data, scale, seeds), language="bash")
    st.caption(
        "Trials that are done are found and not run again; the same command goes on after an interruption."
    )
    experiment = experiment_id(source, study.name)
    with st.container(horizontal=True):
        st.link_button(
            "Experiment in MLflow",
            experiment_page(source.uri, experiment),
            icon=":material/open_in_new:",
        )
    executions = source.executions(study.name)
    if executions.empty:
        return
    once = executions.drop_duplicates("run_id")
    shown = [
        "started",
        "status",
        "data",
        "scale",
        "seeds",
        "executor",
        "trials",
        "cached",
        "failed",
        "seconds",
        "reason",
    ]
    table = once[[name for name in shown if name in once]].dropna(axis="columns", how="all")
    table = table.assign(run=[run_page(source.uri, experiment, run) for run in once["run_id"]])
    st.dataframe(
        table,
        hide_index=True,
        column_config={
            **{name: st.column_config.Column(name.capitalize()) for name in table},
            "started": st.column_config.DatetimeColumn("Started", format="D MMM YYYY, HH:mm"),
            "seconds": st.column_config.NumberColumn("Seconds", format="%.1f"),
            "run": st.column_config.LinkColumn("Run", display_text="MLflow"),
        },
        alt=f"Executions of {study.name}, newest first",
    )
