"""The front page: each question, its verdict on every data set, and how sure it is."""

from __future__ import annotations

import pandas as pd
import streamlit as st

import studies
from dashboard import gallery, live, source, words
from pipelines import axes, figures, verdict
from pipelines.vocabulary import in_text
from workbench.spec import Study

LEFT, RIGHT = 5, 4
store = source.current()


def claims(study: Study, table: pd.DataFrame, scopes: list[tuple[str, str]]) -> None:
    """A row a claim, a column a data set and scale: the answer and its interval."""
    widths = [2.2, *(1.6 for _ in scopes)]
    decided = {scope: verdict.decide(study, table_of(table, scope)) for scope in scopes}
    if len(scopes) > 1:
        for column, scope in zip(st.columns(widths)[1:], scopes, strict=True):
            column.caption(words.scope_label(*scope))
    for index, claim in enumerate(study.claims):
        columns = st.columns(widths, vertical_alignment="center")
        columns[0].markdown(claim.text)
        for column, scope in zip(columns[1:], scopes, strict=True):
            decision = decided[scope][index]
            shown = words.estimate(claim, decision)
            sure = words.sureness(decision) if decision.answer != "inconclusive" else decision.remark
            small = " · ".join(part for part in (shown, sure) if part)
            column.markdown(f"{words.BADGES[decision.answer]}  \n:small[:gray[{small}]]")


def table_of(table: pd.DataFrame, scope: tuple[str, str]) -> pd.DataFrame:
    """The network rows of one data set and scale."""
    rows = verdict.at(table, *scope)
    return rows[rows["panel"] == "network"]


def card(study: Study) -> None:
    """One question."""
    table = store.trials(study.name)
    scopes = verdict.slices(table[table["status"] == "FINISHED"]) if len(table) else []
    shown = [scope for scope in scopes if scope[1] != "smoke"] or scopes
    with st.container(border=True):
        st.markdown(f"### {study.question}")
        if not shown:
            st.caption(study.expectation)
            st.markdown(
                ":gray-badge[:material/hourglass_empty: not answered yet] Run it, here at laptop size:"
            )
            st.code(f"python -m pipelines.study {study.name}", language="bash")
            return
        left, right = st.columns([LEFT, RIGHT], gap="large")
        with left:
            st.caption(f"Expected: {study.expectation}")
            claims(study, table, shown[:3])
        with right:
            try:
                chart = figures.quality_chart(
                    axes.at_facet(verdict.at(table, *shown[0]), axes.axes_of(study)),
                    axes.axes_of(study),
                    study.primary,
                    height=400,
                    legend_columns=3,
                )
            except ValueError as error:
                st.caption(str(error))
            else:
                x = in_text(axes.axes_of(study).x)
                st.altair_chart(chart, alt=f"{study.question} {study.primary} against {x}")
                st.caption(f"{words.scope_label(*shown[0])} · dots: seeds · bars: 95 % intervals")
        rows = verdict.at(table, *shown[0])
        seeds = rows.loc[rows["panel"] == "network", "seed"].nunique()
        with st.container(horizontal=True, vertical_alignment="center"):
            st.page_link(
                "app_pages/study.py",
                label="See the evidence",
                icon=":material/arrow_forward:",
                query_params={"study": study.name},
            )
            st.caption(
                f"{words.scope_label(*shown[0])} · {len(rows)} trials · {seeds} seeds · last result "
                f"{words.when(rows['ended'].max())}",
                width="content",
            )


st.title("Diffusion workbench")
st.markdown(
    "Questions about diffusion models, answered with evidence that anyone can rerun: paired over training seeds, "
    "measured against real images, with the pictures behind every number."
)
every = [studies.study(name) for name in studies.names()]
live.watch(store, [study.name for study in every])
executed = [study for study in every if not store.trials(study.name).empty]
executed.sort(key=lambda study: store.trials(study.name)["started"].max(), reverse=True)
if executed:
    gallery.banner(store, executed)
else:
    st.info(
        "Nothing was executed yet. `make demo` answers the first question in minutes; each card below names its own "
        "command.",
        title="An empty store",
        icon=":material/science:",
    )
for study in [*executed, *(study for study in every if study not in executed)]:
    card(study)
