"""The heat map: a cell for each arm that has a result, its number, and the best cell the brightest."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import vl_convert
from fake_store import trial_rows

import studies
from pipelines import heatmap
from pipelines.axes import axes_of

PATCHES = studies.study("patches")
AXES = axes_of(PATCHES)


def rows(name: str, values: dict[tuple[str, float], list[float]]) -> pd.DataFrame:
    """A finished row for each arm and seed."""
    return pd.DataFrame(
        [
            {
                "prediction": prediction,
                "patch_share": share,
                "seed": seed,
                name: value,
                "panel": "network",
                "status": "FINISHED",
            }
            for (prediction, share), by_seed in values.items()
            for seed, value in enumerate(by_seed)
        ]
    )


def cells(name: str, table: pd.DataFrame) -> dict[tuple[str, str], dict]:
    chart = heatmap.chart(table, AXES, name).to_dict()
    (data,) = chart["datasets"].values()
    return {(row["label"], row["column"]): row for row in data}


def test_cells_hold_the_mean_over_seeds_and_the_best_is_the_brightest() -> None:
    values = {("clean", 0.25): [1.0, 4.0], ("clean", 1.0): [8.0, 8.0], ("noise", 1.0): [32.0, 32.0]}
    found = cells("frechet[cnn]", rows("frechet[cnn]", values))
    assert set(found) == {("Clean image", "0.25"), ("Clean image", "1"), ("Noise", "1")}
    assert found["Clean image", "0.25"]["mean"] == pytest.approx(2.0)  # the geometric mean of a distance
    assert found["Clean image", "0.25"]["text"] == "2.00"
    shades = [found[cell]["brightness"] for cell in found]
    assert shades == pytest.approx([1.0, 0.5, 0.0])  # 2, 8, 32: equal steps of the logarithm


def test_where_more_is_better_the_largest_is_the_brightest() -> None:
    values = {("clean", 0.25): [0.2], ("clean", 1.0): [0.5], ("noise", 1.0): [0.8]}
    found = cells("recognised", rows("recognised", values))
    assert [found[cell]["brightness"] for cell in found] == pytest.approx([0.0, 0.5, 1.0])


def test_equal_cells_have_one_shade_and_failed_ones_are_blank() -> None:
    table = rows("recognised", {("clean", 0.25): [0.5], ("noise", 0.25): [0.5], ("noise", 1.0): [math.nan]})
    found = cells("recognised", table)
    assert {row["brightness"] for row in found.values()} == {0.5} and len(found) == 2
    with pytest.raises(ValueError, match="no finished row"):
        heatmap.chart(table.assign(status="FAILED"), AXES, "recognised")
    with pytest.raises(ValueError, match="absent"):
        heatmap.chart(table, AXES, "absent")


def test_offered_where_there_is_a_grid_to_see() -> None:
    table = trial_rows(PATCHES)
    assert heatmap.applies(table, AXES)
    assert not heatmap.applies(table[table[AXES.x] <= AXES.ticks[1]], AXES)  # two values of x
    assert not heatmap.applies(table[table[str(AXES.series)] == AXES.names[0]], AXES)  # one curve


def test_all_values_are_drawn() -> None:
    svg = vl_convert.vegalite_to_svg(heatmap.chart(trial_rows(PATCHES), AXES, "frechet[cnn]").to_json())
    assert "NaN" not in svg
    for row in cells("frechet[cnn]", trial_rows(PATCHES)).values():
        assert f">{row['text']}<" in svg and f">{row['label']}<" in svg
