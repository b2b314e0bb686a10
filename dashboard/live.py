"""What runs right now, and the renewal of a page when there is something new to show."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard import words
from dashboard.source import Source, Unavailable
from pipelines import verdict

BUSY_SECONDS, IDLE_SECONDS = 10, 20  # a look at some hundred runs costs the server about half a second


def running(executions: pd.DataFrame) -> pd.DataFrame:
    """The executions that run now, one row each."""
    if executions.empty:
        return executions
    return executions[executions["status"] == "RUNNING"].drop_duplicates("run_id")


def signature(source: Source, names: list[str]) -> tuple[tuple[object, ...], ...]:
    """What changes when there is something new to show: how many trials of each study are in which state."""
    found = []
    for name in names:
        counts = source.trials(name)["status"].value_counts()
        busy = tuple(running(source.executions(name))["run_id"])
        found.append((name, int(counts.get("FINISHED", 0)), int(counts.get("FAILED", 0)), busy))
    return tuple(found)


def watch(source: Source, names: list[str]) -> None:
    """Show the progress of what runs, and render the page anew when results arrive."""
    st.session_state["seen"] = signature(source, names)
    busy = any(not running(source.executions(name)).empty for name in names)

    @st.fragment(run_every=BUSY_SECONDS if busy else IDLE_SECONDS)
    def poll() -> None:
        try:
            if signature(source, names) != st.session_state.get("seen"):
                st.rerun()
            for name in names:
                for _, execution in running(source.executions(name)).iterrows():
                    _progress(source, name, execution)
        except Unavailable as error:
            st.caption(f":material/cloud_off: not up to date: {error}")

    poll()


def _progress(source: Source, name: str, execution: pd.Series) -> None:
    table = verdict.at(source.trials(name), str(execution["data"]), str(execution["scale"]))
    seeds = [int(word) for word in str(execution["seeds"]).split()]
    table = table[table["seed"].isin(seeds) | (table["panel"] == "oracle")]
    done = int((table["status"] == "FINISHED").sum())
    failed = int((table["status"] == "FAILED").sum())
    total = int(execution["trials"]) if pd.notna(execution.get("trials")) else 0
    fits = source.fits()
    training = fits.loc[fits["status"] == "RUNNING", "name"].tolist() if "status" in fits else []
    doing = f" · training {training[0]}" if training else ""
    bad = f" · {failed} failed" if failed else ""
    scope = words.scope_label(str(execution["data"]), str(execution["scale"]))
    elapsed = (pd.Timestamp.now(tz="UTC") - execution["started"]).total_seconds()
    text = f"**{words.study_title(name)}** on {scope} · {done} of {total} trials · {words.duration(elapsed)}"
    st.progress(min(1.0, done / total) if total else 0.0, text=f":material/autorenew: {text}{bad}{doing}")
