"""The text of an answer sheet: tables of results -> Markdown. Pure functions; `report` adds the files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from pipelines.axes import Axes, finished, summary
from pipelines.names import column_of, param_text, param_value
from pipelines.statistics import arms_needed, sign, unit
from pipelines.verdict import SAME, Decision, describe
from pipelines.vocabulary import SAMPLERS, axis_title, in_text, looks, measure
from workbench.spec import Arm, Claim, RatioSlope, Slope, Study

OTHER_FEATURES = (
    "The same claims by a network that was never trained. Features see what they were made to see: where the two "
    "disagree, the answer depends on who looks."
)
MARKS = {"supported": "✔ supported", "refuted": "✘ refuted", "inconclusive": "? inconclusive"}


def number(value: float | None, digits: int = 3) -> str:
    """A number with that many significant digits, without powers of ten; a dash for none."""
    if value is None or not math.isfinite(value):
        return "–"
    places = digits - 1 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:,.{min(max(places, 0), 7)}f}"


def frame_table(frame: pd.DataFrame) -> str:
    """A table of results as Markdown: numbers short, missing ones as a dash."""

    def shown(value: object) -> str:
        if pd.isna(value):
            return "–"
        if isinstance(value, bool):
            return "yes" if value else "no"
        return number(value) if isinstance(value, float) else str(value)

    rows = [tuple(map(shown, row)) for row in frame.astype(object).to_numpy().tolist()]
    return table(tuple(map(str, frame.columns)), rows)


def summary_line(decisions: Sequence[Decision]) -> str:
    """`Of 4 claims 3 are supported, 1 is inconclusive.`"""
    counts = [(answer, sum(d.answer == answer for d in decisions)) for answer in MARKS]
    parts = [f"{count} {'is' if count == 1 else 'are'} {answer}" for answer, count in counts if count]
    return f"Of {len(decisions)} claims {', '.join(parts)}." if decisions else "The study makes no claim."


def verdict_table(study: Study, decisions: Sequence[Decision]) -> str:
    """A row a claim: its answer, the estimate with its interval, what was claimed, how sure."""
    rows = [_verdict_row(claim, decision) for claim, decision in zip(study.claims, decisions, strict=True)]
    return table(("claim", "answer", "estimate", "95 % interval", "claimed", "how sure", "seeds"), rows)


def second_opinion(study: Study, opinions: Sequence[tuple[Claim, Decision]]) -> str:
    """The claims about features, decided in other features; empty where there are none."""
    if not opinions:
        return ""
    named = tuple(
        replace(claim, text=f"{claim.text} ({measure(claim.statistic.measure).title})")
        for claim, _ in opinions
    )
    rows = verdict_table(replace(study, claims=named), [decision for _, decision in opinions])
    return f"### In other features\n\n{rows}\n\n{OTHER_FEATURES}"


def _verdict_row(claim: Claim, decision: Decision) -> tuple[str, ...]:
    behind = f"{sign(claim.statistic)} {unit(claim.statistic)}".rstrip()
    interval = "–" if decision.low is None else f"{number(decision.low)} to {number(decision.high)}"
    sure = "–" if decision.confidence is None else level(decision.confidence)
    estimate = "–" if decision.estimate is None else number(decision.estimate) + behind
    claimed = f"{claim.relation.replace('_', ' ')} {claim.bound:g}{behind}"
    return (
        claim.text,
        f"**{MARKS[decision.answer]}**",
        estimate,
        interval,
        claimed,
        sure,
        str(decision.seeds),
    )


def remarks(decisions: Sequence[Decision]) -> str:
    """What a reader must know of single decisions: why there is no estimate, which seeds are missing."""
    return "\n".join(f"- *{d.claim}*: {d.remark}." for d in decisions if d.remark)


def level(confidence: float) -> str:
    """`98.8 %`; `> 99.9 %` where more digits would say nothing."""
    return "> 99.9 %" if confidence > 0.999 else f"{100 * confidence:.1f} %"


def primary_table(rows: pd.DataFrame, axes: Axes, name: str, *, panel: str = "network") -> str:
    """A measure, mean over seeds: the curves as rows, x as columns; the floor below. Empty where there is nothing."""
    done = finished(rows, panel)
    if name not in done or done[name].dropna().empty:
        return ""
    geometric = measure(name).logarithmic and bool((done[name].dropna() > 0).all())
    means = summary(done, axes, name, geometric=geometric)
    means = means.assign(series=means[axes.series].astype(str) if axes.series else "")
    cells = means.pivot(index="series", columns=axes.x, values="mean")
    names = [n for n in (axes.names or ("",)) if n in cells.index]
    look = looks(names)
    first = axes.series.replace("_", " ") if axes.series else ""
    lines = [[look[n].label if n else "mean", *(number(v) for v in cells.loc[n])] for n in names]
    floor = f"floor {name}"
    if floor in done and done[floor].notna().any():
        lines.append(
            ["*real against real*", number(float(done[floor].mean())), *[""] * (len(cells.columns) - 1)]
        )
    how = "Geometric mean" if geometric else "Mean"
    head = (first, *(f"{x:g}" for x in cells.columns))
    return f"{table(head, lines)}\n\n{how} over training seeds, by {in_text(axes.x)}."


def arms_of(study: Study, axes: Axes) -> list[Arm]:
    """The arms that the claims compare, each once, and of each curve that is not among them the last; for a study of
    slopes all its arms."""
    found: list[Arm] = []
    for claim in study.claims:
        if not isinstance(claim.statistic, (Slope, RatioSlope)):
            found += [one for one in arms_needed(claim.statistic, study.arms) if one not in found]
    if not found or axes.series is None:
        return found or list(study.arms)
    curves = {value for one in found for path, value in one if column_of(path) == axes.series}
    last = {
        value: one
        for one in sorted(study.arms, key=lambda one: _number(one, axes.x))
        for path, value in one
        if column_of(path) == axes.series and value not in curves
    }
    return [*found, *last.values()]


def _number(one: Arm, column: str) -> float:
    values = (value for path, value in one if column_of(path) == column)
    return next((float(value) for value in values if isinstance(value, (int, float))), 0.0)


def measures_table(study: Study, axes: Axes, rows: pd.DataFrame, measures: Sequence[str]) -> str:
    """The arms of `arms_of` by every measure: mean and standard deviation over seeds; below them the floors, if any."""
    done = finished(rows)
    present = [name for name in measures if name in done and done[name].notna().any()]

    def cell(values: pd.Series) -> str:
        if len(values) < 2:
            return number(float(values.mean()))
        mean, spread = float(values.mean()), float(values.std(ddof=1))
        return f"{number(mean)} ± {number(spread if spread > SAME * abs(mean) else 0.0, 2)}"

    lines = []
    for one in arms_of(study, axes):
        mine = done[match(done, one)]
        lines.append([label(one), *(cell(mine[name].dropna().astype(float)) for name in present)])
    floors = [done.get(f"floor {name}", pd.Series(dtype=float)).dropna() for name in present]
    if any(map(len, floors)):
        lines.append(
            ["*real against real*", *(number(float(one.mean())) if len(one) else "–" for one in floors)]
        )
    return table(["arm", *map(axis_title, present)], lines)


def label(one: Arm) -> str:
    """An arm as the figures call it: `DDPM ancestral, nfe 50`."""
    first, *rest = describe(one).split(", ")
    return ", ".join([SAMPLERS[first].label if first in SAMPLERS else first, *rest])


def match(rows: pd.DataFrame, one: Arm) -> pd.Series:
    """Which rows are of an arm."""
    mask = pd.Series(True, index=rows.index)
    for path, value in one:
        column = column_of(path)
        mask &= rows[column] == param_value(param_text(value)) if column in rows else False
    return mask


def timing(rows: pd.DataFrame) -> str:
    """Under what load seconds were measured; empty where that is not known."""
    done = finished(rows)
    if not {"threads", "concurrency"} <= set(done.columns):
        return ""
    found = done[["threads", "concurrency"]].dropna().astype(int).drop_duplicates()
    parts = [f"{t} thread{'s' * (t != 1)} a trial, {c} at a time" for t, c in found.itertuples(index=False)]
    return f"Timed with {' and '.join(parts)}." if parts else ""


def failures(rows: pd.DataFrame) -> str:
    """The trials that did not finish, with their reasons; empty where all did."""
    bad = rows[rows["status"].isin(["FAILED", "KILLED"])]
    return "\n".join(
        f"- {row['name']}: {row['reason'] or 'no reason was stored'}" for _, row in bad.iterrows()
    )


def fit_lines(fits: pd.DataFrame) -> str:
    """What fits are and cost, in a sentence; empty where that is not known."""
    columns = {
        "parameters": "parameters",
        "fit_seconds": "seconds of training",
        "peak_memory_bytes": "peak memory",
    }
    parts = []
    for column, words in columns.items():
        values = fits[column].dropna().astype(float) if column in fits else pd.Series(dtype=float)
        if values.empty:
            continue
        low, high = values.min(), values.max()
        if column == "peak_memory_bytes":
            parts.append(f"{high / 1e9:.2f} GB {words}")
        elif math.isclose(low, high, rel_tol=0.02):
            parts.append(f"{high:,.0f} {words}")
        else:
            parts.append(f"{low:,.0f} to {high:,.0f} {words}")
    return f"{len(fits)} fits: {', '.join(parts)}." if parts else ""


def environment_lines(environment: Mapping[str, object]) -> str:
    """Where it was run, from the `environment.json` of an execution."""
    where = [str(environment[name]) for name in ("processor", "where") if environment.get(name)]
    packages = environment.get("packages")
    versions = (
        ", ".join(f"{name} {version}" for name, version in packages.items())
        if isinstance(packages, dict)
        else ""
    )
    python = f"Python {environment['python']}" if environment.get("python") else ""
    return "; ".join(part for part in (*where, python, versions) if part)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, the first column to the left and the others to the right."""
    rule = [":--", *["--:"] * (len(head) - 1)]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in (head, rule, *rows)
    )
