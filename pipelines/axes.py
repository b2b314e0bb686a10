"""What a study varies: the number along the x axis and the name that tells the curves apart, read from its arms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import pandas as pd
from scipy import stats

from pipelines.names import column_of
from workbench.spec import Arm, Study

NICE = (1, 2, 5)
# What is measured without a floor, where it is: of models themselves, and of what tells classes.
WITHOUT_FLOOR = (
    "bits_per_dim",
    "ode_bits_per_dim",
    "single_seconds",
    "accuracy",
    *(f"error[{name}]" for name in ("corrupted", "noise", "blur", "shift", "contrast")),
    "misled",
    "evaluations_per_image",
    "classify_seconds",
)
ALIKE = 0.8  # of the largest: costs and sizes between are as good as equal
SAME_IMAGES = 0.01  # budgets of networks that are compared by size may differ by this share
ONE = "all"  # the name of the only curve, where a study has one


@dataclass(frozen=True)
class Axes:
    """`x` is the column of the x axis, `series` that of the curves (None: one curve), `ticks` the values of x, `names`
    those of the curves. `facet` is a column whose values, the `facets`, are shown one at a time (None: there is none).
    """

    x: str
    series: str | None
    ticks: tuple[float, ...]
    names: tuple[str, ...]
    facet: str | None = None
    facets: tuple[str, ...] = ()

    @property
    def columns(self) -> list[str]:
        """The columns that tell one arm from another."""
        return [self.x] if self.series is None else [self.series, self.x]


def axes_of(study: Study) -> Axes:
    """The axes of a study. Of the fields that its arms vary, the first of numbers is x, the first of words the series,
    a second of words that the first does not tell the facet.

    Raises ValueError for a study whose arms vary no number.
    """
    values: dict[str, list[object]] = {}
    for one in study.arms:
        for path, value in one:
            seen = values.setdefault(column_of(path), [])
            if value not in seen:
                seen.append(value)
    numbers = {
        name: sorted(float(v) for v in seen if isinstance(v, (int, float)))
        for name, seen in values.items()
        if len(seen) > 1 and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in seen)
    }
    words = {name: seen for name, seen in values.items() if len(seen) > 1 and name not in numbers}
    if not numbers:
        raise ValueError(f"study {study.name!r}: its arms vary no number that could be an axis")
    x, ticks = next(iter(numbers.items()))
    series = next(iter(words), None)
    facet = next(
        (name for name in words if series and name != series and _crossed(study, series, name)), None
    )
    return Axes(
        x,
        series,
        tuple(ticks),
        tuple(map(str, words[series])) if series else (),
        facet,
        tuple(map(str, words[facet])) if facet else (),
    )


def _crossed(study: Study, one: str, other: str) -> bool:
    """Whether a value of the column `one` goes with several of `other`, rather than telling it."""
    pairs = {(columns.get(one), columns.get(other)) for columns in map(_columns, study.arms)}
    return len(pairs) > len({first for first, _ in pairs})


def _columns(arm: Arm) -> dict[str, object]:
    return {column_of(path): value for path, value in arm}


def facets_of(rows: pd.DataFrame, axes: Axes) -> list[str]:
    """The facets that have rows, in the order of the study; none for a study without facets."""
    found = set(rows[axes.facet].astype(str)) if axes.facet in rows else set[str]()
    return [one for one in axes.facets if one in found]


def at_facet(rows: pd.DataFrame, axes: Axes, value: str = "") -> pd.DataFrame:
    """The rows of one facet, of the first where none is given, with those of no facet, as of the exact panel; all rows
    of a study without facets."""
    have = facets_of(rows, axes)
    if not have:
        return rows
    column = rows[axes.facet]
    return rows[(column.astype(str) == (value or have[0])) | column.isna()]


def by_size(rows: pd.DataFrame, axes: Axes) -> tuple[pd.DataFrame, Axes] | None:
    """The networks of all facets at the largest x that saw equally many images, each once, with their size as column
    `megaflops`, and axes on which it is x. None without facets, and where no curve has networks of two sizes."""
    done = finished(rows)
    if (
        axes.facet is None
        or axes.series is None
        or not {"training_flops", "flops_per_evaluation"} <= set(done)
    ):
        return None
    ends = done[done[axes.x].astype(float) == max(axes.ticks)].dropna(subset=["training_flops"])
    images = ends["training_flops"] / ends["flops_per_evaluation"]
    alike = ends[(images / images.median() - 1).abs() < SAME_IMAGES]
    sized = alike.assign(megaflops=alike["flops_per_evaluation"] / 1e6)
    sized = sized.drop_duplicates([axes.series, "seed", "megaflops"])
    if sized.empty or sized.groupby(axes.series)["megaflops"].nunique().max() < 2:
        return None
    least, most = float(sized["megaflops"].min()), float(sized["megaflops"].max())
    exponents = range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1)
    nice = [m * 10.0**e for e in exponents for m in NICE]
    ticks = [tick for tick, after in pairwise([*nice, math.inf]) if after > least]
    ticks = [tick for before, tick in pairwise([0.0, *ticks]) if before < most]
    return sized, Axes("megaflops", axes.series, tuple(ticks), axes.names)


def one_start(rows: pd.DataFrame) -> bool:
    """Whether all rows start from the same noise: samplers do, which draw in image space, and other families do not."""
    done = finished(rows)
    return "sampler" in done and bool(done["sampler"].notna().all())


def drawn(rows: pd.DataFrame) -> bool:
    """Whether rows were drawn, as those of a study of classification are not."""
    return "test_rows" not in rows or bool(rows["test_rows"].isna().all())


def cost_of(rows: pd.DataFrame) -> str:
    """The column of what a result costs once the model is trained: the seconds to draw the samples, or to classify."""
    return "sample_seconds" if drawn(finished(rows)) else "classify_seconds"


def training_costs(rows: pd.DataFrame, axes: Axes) -> list[str]:
    """The columns of what training cost: operations and seconds where arms differ in operations; seconds alone where
    not all rows have counted these, and arms differ in seconds. At equal seconds these come first."""
    done = finished(rows)
    if not drawn(done) or "fit_seconds" not in done:
        return []
    counted = "training_flops" in done and bool(done["training_flops"].notna().all())
    found = ["training_flops", "fit_seconds"] if counted else ["fit_seconds"]
    if not differ(done.groupby(axes.columns)[found[0]].mean()):
        return []
    at_equal_seconds = "matching" in done and set(done["matching"].dropna()) == {"seconds"}
    return found[::-1] if at_equal_seconds else found


def differ(values: pd.Series) -> bool:
    """Whether costs or sizes differ by more than is of interest."""
    return bool(values.min() < ALIKE * values.max())


def measures_of(study: Study, rows: pd.DataFrame) -> list[str]:
    """The measures that finished network rows have: the primary one, those that claims are about, all that have a
    floor, what was probed of the models."""
    done = finished(rows)
    claimed = [claim.statistic.measure for claim in study.claims]
    floored = sorted(name for name in done.columns if f"floor {name}" in done)
    names = dict.fromkeys([study.primary, *claimed, *floored, *WITHOUT_FLOOR])
    return [name for name in names if name in done and done[name].notna().any()]


def has_floor(rows: pd.DataFrame, name: str) -> bool:
    """Whether finished network rows tell what a measure is of real images, to be drawn beside it."""
    floor = f"floor {name}"
    return floor in rows and bool(finished(rows)[floor].notna().any())


def finished(table: pd.DataFrame, panel: str = "network") -> pd.DataFrame:
    """The rows of one panel that have a result."""
    return table[(table["panel"] == panel) & (table["status"] == "FINISHED")]


def summary(rows: pd.DataFrame, axes: Axes, measure: str, *, geometric: bool) -> pd.DataFrame:
    """One row an arm: `mean` over seeds with its 95 % interval `low`, `high` (Student's t), and the number of `seeds`.

    With `geometric` the mean and the interval are those of the logarithm. An arm of one seed has no interval (NaN);
    arms without a finite value, and with `geometric` without a positive one, are left out.
    """
    rows = rows[[*axes.columns, measure]].dropna()
    rows = rows[rows[measure] > 0] if geometric else rows
    records = []
    for arm, group in rows.groupby(axes.columns, sort=True):
        values = group[measure].astype(float).map(math.log if geometric else float)
        half = math.nan
        if len(values) > 1:
            half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
        centre, back = float(values.mean()), math.exp if geometric else float
        record = dict(zip(axes.columns, arm, strict=True))
        record |= {"mean": back(centre), "low": back(centre - half), "high": back(centre + half)}
        records.append(record | {"seeds": len(values)})
    return pd.DataFrame(records, columns=[*axes.columns, "mean", "low", "high", "seeds"])


def present(rows: pd.DataFrame, axes: Axes) -> tuple[list[str], list[float]]:
    """The names of the curves and the values of x that rows have, in the order of the study."""
    found = set(rows[axes.series].astype(str)) if axes.series else {ONE}
    names = [name for name in (axes.names or (ONE,)) if name in found]
    values = set(rows[axes.x].dropna().astype(float))
    return [*names, *sorted(found - set(names))], [value for value in axes.ticks if value in values]


def run_of(rows: pd.DataFrame, axes: Axes, name: str, x: float, seed: int | None = None) -> str | None:
    """The run id of one arm, the newest where there are several; None where there is none."""
    mask = rows[axes.x].astype(float) == x
    if axes.series:
        mask &= rows[axes.series].astype(str) == name
    if seed is not None:
        mask &= rows["seed"] == seed
    found = rows[mask].sort_values("started")["run_id"]
    return None if found.empty else str(found.iloc[-1])


def pareto(points: pd.DataFrame, cost: str, quality: str, *, lower_is_better: bool) -> pd.DataFrame:
    """The rows that no other row beats in both columns, from cheap to dear; of equal rows the first."""
    ordered = points.sort_values([cost, quality], ascending=[True, lower_is_better], kind="stable")
    best, kept = math.inf, []
    for index, value in ordered[quality].items():
        value = value if lower_is_better else -value
        if value < best:
            best = value
            kept.append(index)
    return ordered.loc[kept]


def log_ticks(low: float, high: float) -> list[float]:
    """Readable values from `low` to `high` for a logarithmic axis: multiples of 1, 2 or 5 times a power of ten over a
    short range, those numbers themselves over a longer one, powers of ten alone over a long one."""
    if high / low < 5:
        raw = (high - low) / 5
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(m * power for m in (*NICE, 10) if m * power >= raw)
        return [round(i * step, 12) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [m * 10.0**e for e in exponents for m in NICE if low <= m * 10.0**e <= high]
    return found if len(found) <= 10 else [t for t in found if math.isclose(t, 10.0 ** round(math.log10(t)))]


def spread_out(names: Sequence[str], width: float = 0.05) -> dict[str, float]:
    """A factor for each name, by which its points move along a logarithmic axis so that none hides another."""
    middle = (len(names) - 1) / 2
    return {name: math.exp(width * (i - middle) / max(middle, 1)) for i, name in enumerate(names)}
