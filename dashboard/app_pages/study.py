"""The evidence for one question: verdicts, quality, cost, pictures, every trial, and how to make it again."""

from __future__ import annotations

import streamlit as st

import studies
from dashboard import architectures, evidence, gallery, ledger, live, recognition, source
from pipelines import axes, verdict
from pipelines.vocabulary import field, word

store = source.current()
names = list(studies.names())
executed = [name for name in names if not store.trials(name).empty]

with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
    chosen = st.selectbox(
        "Study",
        names,
        index=names.index(executed[0]) if executed else 0,
        key="study",
        bind="query-params",
        width=240,
    )
    study = studies.study(chosen)
    table = store.trials(study.name)
    scopes = verdict.slices(table[table["status"] == "FINISHED"]) if len(table) else []
    # In an order that new results do not change, so that an address means the same later.
    labels = {" ".join(scope): scope for scope in sorted(scopes, key=lambda one: (one[1] == "smoke", one))}
    scope_label = (
        st.selectbox("Data and scale", list(labels), key="on", bind="query-params", width=260)
        if labels
        else None
    )

st.title(study.question)
st.markdown(f"**Expected.** {study.expectation}")
with st.expander("How to read this page", icon=":material/menu_book:"):
    st.markdown(study.how_to_read)
    st.markdown("\n".join(f"- {caveat}" for caveat in study.caveats))
live.watch(store, [study.name])

if scope_label is None:
    ledger.failures(table)
    st.info(
        f"This study has no finished trial yet. Answer it on this machine:\n\n"
        f"```bash\npython -m pipelines.study {study.name}\n```",
        title="Nothing to show yet",
        icon=":material/hourglass_empty:",
    )
    st.stop()

data, scale = labels[scope_label]
rows = verdict.at(table, data, scale)
network = rows[rows["panel"] == "network"]
across = axes.axes_of(study)

evidence.verdicts(study, network)
shown, facet = rows, ""
have = axes.facets_of(network, across)
if across.facet is not None and have:
    facet = st.segmented_control(
        field(across.facet),
        have,
        default=have[0],
        format_func=word,
        key="facet",
        bind="query-params",
        required=True,
    )
    shown = axes.at_facet(rows, across, facet)
evidence.quality(study, shown, across)
evidence.cost_and_oracle(study, shown, across)
evidence.training(study, shown, across)
evidence.sizes(study, rows, across)
evidence.families(study, shown, across)
recognition.section(store, shown, across)
gallery.section(store, shown[shown["panel"] == "network"], across)

architectures.section(store, study, shown, across, facet)

ledger.trials(store, study, rows, across)
ledger.reproduce(store, study, network, data, scale)
