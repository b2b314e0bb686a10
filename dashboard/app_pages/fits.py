"""Every training: its learning curves and what it cost."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard import source, words
from pipelines import figures

COLUMNS = {
    "name": st.column_config.TextColumn("Fit", pinned=True),
    "status": st.column_config.TextColumn("Status"),
    "fit_seconds": st.column_config.NumberColumn(
        "Seconds", format="%.1f", help="Wall-clock seconds of training"
    ),
    "images_per_second": st.column_config.NumberColumn(
        "Images/s", format="%.0f", help="Training images seen a second"
    ),
    "parameters": st.column_config.NumberColumn("Parameters", format="compact"),
    "peak_memory_bytes": st.column_config.NumberColumn("Peak memory", format="bytes"),
    "accuracy_test": st.column_config.NumberColumn("Test accuracy", format="percent", help="Of a classifier"),
    "gradient_variation": st.column_config.NumberColumn("Gradient variation", format="%.3g"),
    "reason": st.column_config.TextColumn("Reason"),
}
store = source.current()

st.title("Fits")
st.markdown("Every training that a study needed. Studies share them: the same fit is made once.")


@st.fragment(run_every=10)
def page() -> None:
    """The curves and the table, renewed while trainings run."""
    fits = store.fits().dropna(subset=["data", "scale"])  # a run that began this moment has none
    if fits.empty:
        st.info("No training was run yet. `make demo` runs the first ones.", title="An empty store")
        return
    groups = {f"{data} {scale}": rows for (data, scale), rows in fits.groupby(["data", "scale"])}
    newest = max(groups, key=lambda name: groups[name]["started"].max())
    chosen = st.selectbox(
        "Data and scale", list(groups), index=list(groups).index(newest), key="fits_on", width=260
    )
    rows = groups[chosen].sort_values("started", ascending=False)
    done = rows[rows["status"] == "FINISHED"]
    seconds = pd.to_numeric(done.get("fit_seconds", pd.Series(dtype=float)))
    memory = pd.to_numeric(done.get("peak_memory_bytes", pd.Series(dtype=float)))
    with st.container(horizontal=True):
        st.metric("Fits finished", f"{len(done)} of {len(rows)}", border=True)
        st.metric("Training time, sum", words.duration(trained_seconds(done)), border=True)
        st.metric("Longest", words.duration(float(seconds.max())) if len(seconds) else "–", border=True)
        st.metric("Most memory", f"{memory.max() / 1e9:.2f} GB" if len(memory) else "–", border=True)
    curves(rows)
    present = [name for name in COLUMNS if name in rows and rows[name].notna().any()]
    st.dataframe(
        rows[present],
        hide_index=True,
        column_config={name: COLUMNS[name] for name in present},
        alt="Fits with their cost",
    )


def trained_seconds(fits: pd.DataFrame) -> float:
    """The seconds of all fits together, those of a shorter fit that a longer one went on from counted once."""
    if fits.empty:
        return 0.0
    seconds = pd.to_numeric(fits.set_index("run_id")["fit_seconds"])
    return float(seconds.sum() - fits["continued_from"].map(seconds).sum())


def curves(rows: pd.DataFrame) -> None:
    """The learning curves of the fits that the reader picks."""
    newest = rows.drop_duplicates("name")  # of an earlier revision there may be one of the same name
    names = dict(zip(newest["name"], newest["run_id"], strict=True))
    kinds = pd.Series([name.split()[0] for name in names])
    first = kinds.mode()[0]  # a classifier's curves would flatten those of the many
    default = [name for name in names if name.startswith(first)][:5]
    picked = st.multiselect("Curves of", list(names), default=default, key="picked", max_selections=8)
    parts = []
    for name in picked:
        curve = store.learning_curve(names[name])
        parts += [
            curve[column].dropna().rename("value").reset_index().assign(fit=name, curve=column)
            for column in curve
        ]
    if not parts:
        st.caption("No learning curve yet.")
        return
    table = pd.concat(parts, ignore_index=True)
    every = sorted(table["curve"].unique(), key=lambda name: ("loss" not in name, name))
    kind = st.selectbox("Curve", every, key="curve", format_func=title, width=340)
    shown = table[table["curve"] == kind].drop(columns="curve")
    st.altair_chart(
        figures.curves_chart(shown, title=title(kind)), alt=f"{title(kind)} against training images seen"
    )


def title(curve: str) -> str:
    """`train/gradient_norm` -> `Gradient norm, train`."""
    part, _, name = curve.rpartition("/")
    words_of = name.replace("_", " ")
    return f"{words_of[:1].upper()}{words_of[1:]}" + (f", {part}" if part else "")


page()
