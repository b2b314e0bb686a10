"""The verdicts of a study and the charts behind them."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard import words
from pipelines import figures, heatmap, trilemma, verdict
from pipelines.answer import timing
from pipelines.axes import Axes, by_size, cost_of, has_floor, measures_of, training_costs
from pipelines.vocabulary import axis_title, field, in_text, measure
from workbench.spec import Study

CURVES, MAP = "Curves", "Heat map"
MARKS = (
    "Large marks: mean over seeds; small ones: each seed; bars: 95 % intervals, cut where they leave the picture. "
    "Click the legend to single one out."
)
FLOOR = " Dashed: real images against real images at the same number."
ORACLE_MEASURES = ("endpoint_error", "sliced_wasserstein")


def verdicts(study: Study, network: pd.DataFrame) -> None:
    """A row a claim: the answer, how sure it is, and its interval beside what was claimed."""
    st.header("Verdict", anchor="verdict")
    opinions = verdict.second_opinions(study, network)
    for claim, decision in zip(study.claims, verdict.decide(study, network), strict=True):
        with st.container(border=True):
            left, right = st.columns([3, 2], gap="large", vertical_alignment="center")
            with left:
                st.markdown(f"{words.BADGES[decision.answer]}\u2002**{claim.text}**")
                shown = words.estimate(claim, decision)
                st.caption(
                    " · ".join(part for part in (shown, words.sureness(decision)) if part),
                    help=f"Claimed: {words.claimed(claim)}. {claim.why}. The estimate is paired over training seeds; "
                    "in brackets its 95 % interval. How sure: the level of the widest interval still clear of the "
                    "bound.",
                )
                for other, opinion in opinions:
                    if other.name == claim.name:
                        st.caption(
                            f"{words.BADGES[opinion.answer]}\u2002{measure(other.statistic.measure).title}: "
                            f"{words.estimate(other, opinion)}",
                            help="The same claim in other features. Where the two disagree, the answer depends on who "
                            "looks.",
                        )
            with right:
                if decision.estimate is None:
                    st.caption(f"Claimed: {words.claimed(claim)}")
                else:
                    st.altair_chart(
                        figures.claim_chart(claim, decision),
                        alt=f"{claim.text} {decision.answer}: {shown}, claimed {words.claimed(claim)}",
                    )
    st.caption(
        "Shaded: what was claimed. Point and bar: mean over seeds and its 95 % interval; "
        "ticks: each seed. Each interval stands for its claim alone."
    )


def quality(study: Study, rows: pd.DataFrame, axes: Axes) -> None:
    """A measure against the number of steps: curves, or the whole grid as a heat map."""
    st.header(f"Quality against {in_text(axes.x)}", anchor="quality")
    names = measures_of(study, rows) or [study.primary]
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        name = st.selectbox(
            "Measure",
            names,
            key="measure",
            bind="query-params",
            width=420,
            help="In brackets: the features in which a distance is taken. Its floor is that of real images.",
        )
        drawn = CURVES
        if heatmap.applies(rows, axes):
            drawn = st.segmented_control(
                "Drawn as", [CURVES, MAP], default=CURVES, key="drawn", bind="query-params", required=True
            )
    try:
        if drawn == MAP:
            chart, alt = heatmap.chart(rows, axes, name), "a coloured cell for each arm"
        else:
            chart = figures.quality_chart(rows, axes, name, height=560)
            alt = f"against {in_text(axes.x)}, for each curve and seed"
    except ValueError as error:
        st.caption(str(error))
        return
    st.altair_chart(chart, alt=f"{axis_title(name)}, {alt}")
    marks = MARKS + (FLOOR if has_floor(rows, name) else "")
    st.caption(f"{measure(name).meaning} {heatmap.HOW_TO_READ if drawn == MAP else marks}")


def cost_and_oracle(study: Study, rows: pd.DataFrame, axes: Axes) -> None:
    """Quality against seconds, and beside it the solver's own error where a study has an exact panel."""
    oracle = rows[(rows["panel"] == "oracle") & (rows["status"] == "FINISHED")]
    have = [name for name in ORACLE_MEASURES if name in oracle and oracle[name].notna().any()]
    if not have:
        st.header("Quality against time", anchor="time")
        _cost(study, rows, axes)
        return
    left, right = st.columns(2, gap="large")
    with left:
        st.header("Quality against time", anchor="time")
        _cost(study, rows, axes)
    with right:
        st.header("Without any network", anchor="oracle")
        chart = st.container()
        name = st.segmented_control(
            "Error on the exact denoiser",
            have,
            default=have[0],
            format_func=lambda one: measure(one).title,
            key="exact",
            required=True,
            label_visibility="collapsed",
        )
        chart.altair_chart(
            figures.quality_chart(rows, axes, name, panel="oracle", height=520, legend_columns=3),
            alt=f"{axis_title(name)} on an exact denoiser: the error of the solver alone",
        )
        st.caption(
            f"{measure(name).meaning} The same samplers on a Gaussian mixture whose denoiser is known exactly: what "
            "is left is the error of taking few steps. Where this falls and the quality does not, the network is the "
            "limit."
        )


def training(study: Study, rows: pd.DataFrame, axes: Axes) -> None:
    """Quality against what training cost, where arms differ in it."""
    costs = training_costs(rows, axes)
    if not costs:
        return
    st.header("Quality against the cost of training", anchor="training-cost")
    chart = st.container()
    cost = costs[0]
    if len(costs) > 1:
        cost = st.segmented_control(
            "Cost of training", costs, default=cost, format_func=field, key="training_cost", required=True
        )
    try:
        drawn = figures.cost_chart(rows, axes, study.primary, cost=cost, height=520, legend_columns=3)
    except ValueError as error:
        chart.caption(str(error))
        return
    chart.altair_chart(
        drawn, alt=f"{axis_title(study.primary)} against {in_text(cost)}, a line for each curve"
    )
    st.caption(figures.OF_TRAINING)


def sizes(study: Study, rows: pd.DataFrame, axes: Axes) -> None:
    """Quality against the size of networks, where a backbone has several."""
    if (found := by_size(rows, axes)) is None:
        return
    st.header("Quality against size", anchor="size")
    try:
        drawn = figures.quality_chart(*found, study.primary, height=520, legend_columns=3)
    except ValueError as error:
        st.caption(str(error))
        return
    st.altair_chart(
        drawn, alt=f"{axis_title(study.primary)} against {in_text('megaflops')}, for each curve and seed"
    )
    st.caption(figures.OF_SIZE)


def families(study: Study, rows: pd.DataFrame, axes: Axes) -> None:
    """Quality, diversity and speed at once, the winner at each budget, the likelihoods: where families are compared."""
    if not trilemma.applies(rows, axes):
        return
    st.header("Quality, diversity, speed", anchor="trilemma")
    st.altair_chart(
        trilemma.chart(rows, axes, study.primary, height=520),
        alt="Quality of each family against the seconds that one image takes; the size of a mark is its coverage",
    )
    st.caption(trilemma.HOW_TO_READ)
    st.altair_chart(
        trilemma.panels(rows, axes, study.primary),
        alt="Quality, diversity and speed of each family beside each other, the best in quality first",
    )
    best = trilemma.winners(rows, axes, study.primary)
    if len(best):
        st.markdown("#### The best at each budget")
        st.dataframe(best, hide_index=True, width="content", alt="The best family at each training budget")
        st.caption(trilemma.APART)
    st.markdown("#### Likelihood")
    ranks = trilemma.likelihoods(rows, axes, study.primary)
    st.dataframe(
        ranks, hide_index=True, width="content", alt="Bits per dimension of each family, with their kind"
    )
    st.caption(trilemma.KINDS)
    st.markdown("#### What each costs")
    costs = trilemma.costs(rows, axes, study.primary)
    st.dataframe(
        costs, hide_index=True, width="content", alt="What each family costs to train and to draw from"
    )
    st.caption(trilemma.COSTS)


def _cost(study: Study, rows: pd.DataFrame, axes: Axes) -> None:
    try:
        chart = figures.cost_chart(
            rows, axes, study.primary, cost=cost_of(rows), height=520, legend_columns=3
        )
    except ValueError as error:
        st.caption(str(error))
        return
    st.altair_chart(
        chart,
        alt=f"{axis_title(study.primary)} against {in_text(cost_of(rows))}, with the Pareto front",
    )
    st.caption(
        "Dotted: the Pareto front, the arms that no other beats in both quality and seconds; its labels name the "
        f"curve and {in_text(axes.x)}. {timing(rows)}"
    )
