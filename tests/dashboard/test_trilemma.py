"""Families compared at once: winners, ranks and the chart, on tables whose answers are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pipelines import answer, trilemma
from pipelines.axes import Axes

AXES = Axes("budget", "family", (0.25, 1.0), ("diffusion", "gan", "vae"))
QUALITY = "frechet[cnn]"


def rows() -> pd.DataFrame:
    """The GAN is ahead at the small budget, diffusion at the large one; the VAE has the best likelihood."""
    distances = {
        0.25: {"diffusion": 8.0, "gan": 4.0, "vae": 9.0},
        1.0: {"diffusion": 1.0, "gan": 3.0, "vae": 3.1},
    }
    bits = {"diffusion": 3.0, "gan": np.nan, "vae": 2.0}
    kinds = {"diffusion": "bound", "gan": None, "vae": "bound"}
    seconds = {"diffusion": 0.2, "gan": 0.01, "vae": 0.01}
    return pd.DataFrame(
        [
            {
                "family": family,
                "budget": budget,
                "seed": seed,
                QUALITY: value * (1 + 0.02 * seed),
                "coverage[cnn]": 0.9 - 0.1 * (family == "gan"),
                "single_seconds": seconds[family],
                "bits_per_dim": bits[family],
                "likelihood_kind": kinds[family],
                "parameters": 1_000.0,
                "fit_seconds": 60.0 + seed,
                "nfe_counted": 20.0 if family == "diffusion" else 1.0,
                "images_per_second": 100.0,
                "panel": "network",
                "status": "FINISHED",
            }
            for budget, by_family in distances.items()
            for family, value in by_family.items()
            for seed in range(3)
        ]
    )


def test_the_winner_is_given_for_each_budget() -> None:
    best = trilemma.winners(rows(), AXES, QUALITY)
    assert best["budget"].tolist() == [0.25, 1.0]
    assert best["best"].tolist() == ["GAN", "Diffusion, 20 steps"]
    assert best["next"].tolist() == ["Diffusion, 20 steps", "GAN"]
    assert best["apart"].tolist() == [True, True]
    assert best["mean"].tolist() == pytest.approx([4.08, 1.02], rel=1e-3)


def test_one_family_alone_wins_nothing() -> None:
    table = rows()
    alone = table[(table["budget"] == 1.0) | (table["family"] == "gan")]
    assert trilemma.winners(alone, AXES, QUALITY)["budget"].tolist() == [1.0]


def test_of_a_measure_where_more_is_better_the_largest_wins() -> None:
    best = trilemma.winners(rows(), AXES, "coverage[cnn]")
    assert best["mean"].tolist() == pytest.approx([0.9, 0.9])
    assert not best["apart"].any(), "two families cover alike"


def test_ranks_by_likelihood_leave_out_what_has_none() -> None:
    table = trilemma.likelihoods(rows(), AXES, QUALITY).set_index("family")
    assert table["rank by quality"].tolist() == [1, 2, 3]
    assert table.loc["VAE", "rank by likelihood"] == 1
    assert table.loc["Diffusion, 20 steps", "rank by likelihood"] == 2
    assert pd.isna(table.loc["GAN", "rank by likelihood"]) and table.loc["GAN", "kind"] == "none"
    text = answer.frame_table(table.reset_index())
    assert "| GAN | – |" in text and "| VAE | 2.00 |" in text


def test_costs_are_those_of_the_whole_budget_and_failed_seeds_are_counted() -> None:
    table = rows()
    table.loc[(table["family"] == "gan") & (table["budget"] == 1) & (table["seed"] == 2), "status"] = "FAILED"
    costs = trilemma.costs(table, AXES, QUALITY).set_index("family")
    assert costs["failed seeds"].to_dict() == {"Diffusion, 20 steps": 0, "GAN": 1, "VAE": 0}
    assert costs["seconds of training"].to_dict() == {"Diffusion, 20 steps": 61.0, "GAN": 60.5, "VAE": 61.0}
    assert costs["seconds for 1,000 images, one by one"].tolist() == pytest.approx([200.0, 10.0, 10.0])
    assert costs["in batches"].tolist() == [10.0] * 3
    spread = costs.filter(like="deviation").loc["VAE"].item()
    assert spread == pytest.approx(0.02 / 1.02, rel=1e-6)


def test_a_mean_of_distances_is_that_of_their_logarithms_everywhere() -> None:
    table = trilemma.likelihoods(rows(), AXES, QUALITY).set_index("family")
    told = trilemma.winners(rows(), AXES, QUALITY).set_index("best")
    assert table.filter(like="distance").loc["Diffusion, 20 steps"].item() == pytest.approx(
        told.loc["Diffusion, 20 steps", "mean"]
    )


def test_the_chart_shows_the_whole_budget_alone() -> None:
    chart = trilemma.chart(rows(), AXES, QUALITY).to_dict()
    shown = [pd.DataFrame(data) for data in chart["datasets"].values()]
    centres = next(data for data in shown if len(data) == 3)
    assert sorted(centres["value"]) == pytest.approx([1.02, 3.06, 3.162], rel=1e-3)
    assert max(len(data) for data in shown) == 9


def test_it_applies_where_speed_diversity_and_likelihood_were_measured() -> None:
    assert trilemma.applies(rows(), AXES)
    for name in ("single_seconds", "coverage[cnn]", "bits_per_dim"):
        assert not trilemma.applies(rows().drop(columns=name), AXES)
    assert not trilemma.applies(rows()[rows()["budget"] < 1], AXES)
    assert not trilemma.applies(rows(), Axes("budget", None, (0.25, 1.0), ()))
    assert not trilemma.applies(
        rows().rename(columns={"budget": "stages"}), Axes("stages", "family", (0.25, 1.0), AXES.names)
    )


def test_the_panels_show_the_families_in_one_order_the_best_in_quality_first() -> None:
    chart = trilemma.panels(rows(), AXES, QUALITY).to_dict()
    orders = [panel["layer"][0]["encoding"]["y"]["sort"] for panel in chart["hconcat"]]
    assert orders == [["Diffusion, 20 steps", "GAN", "VAE"]] * 3
