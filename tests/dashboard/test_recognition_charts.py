"""What trials of classification keep, as tables and charts, on evidence whose answers are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from fake_store import evidence_of

from pipelines.axes import Axes
from pipelines.recognition import charts, evidence
from pipelines.vocabulary import looks

AXES = Axes("labelled", "method", (0.1, 1.0), ("diffusion_features", "diffusion_bayes", "cnn"))
LOOK = looks(AXES.names)


def rows() -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "run_id": f"{method}-{labelled}-{seed}",
                "method": method,
                "labelled": labelled,
                "seed": seed,
                "error": 0.1,
                "test_rows": 100.0,
                "panel": "network",
                "status": "FINISHED",
            }
            for method in AXES.names
            for labelled in AXES.ticks
            for seed in (0, 1)
        ]
    )


def kept_of(run_id: str) -> dict[str, Any]:
    method, _, seed = run_id.split("-")
    found = evidence_of(method)
    found["confusion"] = [[8, 2], [1, 9 + int(seed)]]
    return found


KEPT = evidence.gathered(rows(), AXES, kept_of, (KeyError,))


def test_the_evidence_is_that_of_the_most_labels_in_the_order_of_the_study() -> None:
    assert KEPT["method"].tolist() == [name for name in AXES.names for _ in (0, 1)]
    assert (KEPT["labelled"] == 1.0).all()


def test_what_cannot_be_read_is_left_out() -> None:
    def read(run_id: str) -> dict[str, Any]:
        if run_id.startswith("cnn"):
            raise KeyError(run_id)
        return kept_of(run_id)

    left = evidence.gathered(rows(), AXES, read, (KeyError,))["method"]
    assert set(left) == {"diffusion_features", "diffusion_bayes"}


def test_confusions_add_up_over_seeds() -> None:
    assert evidence.confusions(KEPT)["cnn"] == (["shirt", "boot"], [[16, 4], [2, 19]])


def test_curves_corruptions_and_choices_are_those_of_the_methods_that_have_them() -> None:
    assert set(evidence.curves(KEPT)["method"]) == {"diffusion_bayes"}
    assert len(evidence.corruptions(KEPT)) == 3 * 2 * 3
    assert list(evidence.choices(KEPT)) == ["diffusion_features"]
    assert evidence.wrong_words(evidence_of("diffusion_bayes")) == "From above: shirt taken for boot."


def test_the_heat_map_frames_the_chosen_cell_and_tells_of_its_grids() -> None:
    chart = charts.layers_chart(evidence.choices(KEPT)["diffusion_features"], ["shirt", "boot"]).to_dict()
    datasets = list(chart["datasets"].values())
    cells = next(data for data in datasets if "accuracy" in data[0])
    assert len(cells) == 4
    assert "grids of 1 × 1: 80.0%, 2 × 2: 85.0%" in chart["hconcat"][0]["title"]["text"]
    (picked,) = [p for p in chart["params"] if p["name"] == "cell"]
    assert picked["value"] == [{"cell": "up.0@0.1"}]
    points = next(data for data in datasets if "first" in data[0])
    assert {point["cell"] for point in points} == {cell["cell"] for cell in cells}


def test_checkpoints_are_told_by_their_share_of_the_training_with_the_mean_of_logarithms() -> None:
    found = rows().replace({"method": {"cnn": "diffusion_quarter"}})
    drawn = found["method"] == "diffusion_quarter"
    found["frechet[cnn]"] = np.where(drawn, np.where(found["seed"] == 0, 1.0, 4.0), np.nan)
    along = evidence.along_training(found[found["labelled"] == 1.0], AXES)
    assert along["share"].tolist() == [0.25, 0.25] and along["frechet[cnn]"].tolist() == [1.0, 4.0]
    chart = charts.training_chart(along, "teal").to_dict()
    means = [data for data in chart["datasets"].values() if "seed" not in data[0]]
    assert [one["value"] for data in means for one in data] == pytest.approx([0.1, 2.0])
    assert evidence.along_training(rows(), AXES).empty


def test_shares_of_a_confusion_are_of_the_true_class() -> None:
    chart = charts.confusion_chart(["shirt", "boot"], [[3, 1], [0, 0]]).to_dict()
    cells = next(iter(chart["datasets"].values()))
    assert [cell["share"] for cell in cells] == [0.75, 0.25, 0.0, 0.0]


def test_a_method_has_one_colour_in_all_charts() -> None:
    one = charts.evaluations_chart(evidence.curves(KEPT), LOOK).to_dict()
    other = charts.corruptions_chart(evidence.corruptions(KEPT), LOOK).to_dict()
    for chart in (one, other["hconcat"][0]):
        scale = chart["layer"][0]["encoding"]["color"]["scale"]
        colours = dict(zip(scale["domain"], scale["range"], strict=True))
        assert colours[LOOK["diffusion_bayes"].label] == LOOK["diffusion_bayes"].colour


def test_what_there_is_none_of_is_told() -> None:
    nothing = KEPT[KEPT["method"] == "cnn"]
    with pytest.raises(ValueError, match="no generative classifier"):
        charts.evaluations_chart(evidence.curves(nothing), LOOK)
    with pytest.raises(ValueError, match="no trial was tried"):
        charts.corruptions_chart(evidence.corruptions(nothing.iloc[:0]), LOOK)
    with pytest.raises(ValueError, match="no checkpoint"):
        charts.training_chart(evidence.along_training(rows(), AXES), "teal")


def test_a_map_of_many_cells_stays_below_what_altair_draws() -> None:
    choice = evidence_of("diffusion_features")["choice"]
    choice["map"] = {
        "labels": [0, 1] * 1000,
        "places": {cell: [[0.0, 1.0]] * 2000 for cell in choice["map"]["places"]},
    }
    chart = charts.layers_chart(choice, ["shirt", "boot"]).to_dict()  # raises beyond its limit
    points = next(data for data in chart["datasets"].values() if "first" in data[0])
    assert len(points) == charts.MOST_POINTS
