"""Charts and pictures as pure functions: what they show, in which colours, and that nothing is lost or invented."""

from __future__ import annotations

import itertools
import math
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import vl_convert
from fake_store import filled, trial_rows

import studies
from pipelines import album, axes, figures, pictures, verdict, vocabulary
from workbench.metrics import METRICS

STEP, STEPS = studies.study("step_sweep"), studies.study("diffusion_steps")
BACKBONES = studies.study("backbones")
# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
SIGHTS = {
    "normal": np.eye(3),
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def linear(colour: str) -> np.ndarray:
    value = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def oklab(rgb: np.ndarray) -> np.ndarray:
    """Linear RGB -> Oklab (Ottosson, 2020)."""
    cones = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    opponent = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    return opponent @ np.cbrt(cones @ np.clip(rgb, 0, 1))


@pytest.mark.parametrize("sight", SIGHTS)
def test_samplers_differ_in_colour_for_every_sight(sight: str) -> None:
    seen = {
        n: oklab(np.array(SIGHTS[sight]) @ linear(look.colour)) for n, look in vocabulary.SAMPLERS.items()
    }
    for one, other in itertools.combinations(seen, 2):
        assert np.linalg.norm(seen[one] - seen[other]) > 0.1, (
            one,
            other,
        )  # 0.02 is about the least one notices


@pytest.mark.parametrize("ground", ["#ffffff", "#10141a"])
def test_colours_stand_out_from_light_and_dark(ground: str) -> None:
    weights = np.array([0.2126, 0.7152, 0.0722])
    spare = vocabulary.looks(list("abcdefghi"))  # as many as there are families
    for colour in [*(look.colour for look in spare.values()), vocabulary.NEUTRAL]:
        low, high = sorted(float(weights @ linear(one)) + 0.05 for one in (colour, ground))
        assert high / low > 2.2, colour  # shapes and labels carry the rest


def test_samplers_differ_in_shape_and_each_has_a_look() -> None:
    assert len({look.shape for look in vocabulary.SAMPLERS.values()}) == len(vocabulary.SAMPLERS)
    named = {dict(one)["sampling.sampler"] for one in STEP.arms}
    assert named <= set(vocabulary.SAMPLERS)
    strangers = vocabulary.looks(["ddpm", "a", "b"])
    assert len({look.colour for look in strangers.values()}) == 3


def test_every_family_has_a_look_of_its_own() -> None:
    families = list(dict.fromkeys(str(dict(one)["family"]) for one in studies.study("why_diffusion").arms))
    look = vocabulary.looks(families)
    assert len({(one.colour, one.shape) for one in look.values()}) == len(families) == 9
    for sight in SIGHTS.values():
        seen = [oklab(np.array(sight) @ linear(one.colour)) for one in look.values()]
        assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 0.08
    assert len({one.label for one in look.values()}) == len(families)


def test_measures_are_named_with_the_direction_that_the_library_gives() -> None:
    for name, metric in METRICS.items():
        assert vocabulary.MEASURES[name].direction == metric.direction
        assert vocabulary.MEASURES[name].unit == metric.unit
    assert vocabulary.axis_title("frechet[cnn]") == "Fréchet distance, CNN features (lower is better)"


def test_axes_are_read_from_the_arms() -> None:
    sweep, steps = axes.axes_of(STEP), axes.axes_of(STEPS)
    assert (sweep.x, sweep.series, sweep.names[0]) == ("nfe", "sampler", "ddpm")
    assert sweep.ticks == (1, 2, 4, 8, 10, 15, 20, 50, 100, 250, 1000)
    assert (steps.x, steps.series) == ("timesteps", None)
    assert steps.ticks == (4, 10, 30, 100, 300, 1000)


def test_every_finished_seed_is_a_dot_and_nothing_else() -> None:
    table = verdict.at(trial_rows(STEP), "digits", "quick")
    table.loc[table.index[0], "status"] = "FAILED"
    table.loc[table.index[1], "frechet[cnn]"] = math.nan
    chart = figures.quality_chart(table, axes.axes_of(STEP), "frechet[cnn]").to_dict()
    sizes = [len(data) for data in chart["datasets"].values()]
    network = int((table["panel"] == "network").sum())
    assert network - 2 in sizes and len(STEP.arms) in sizes


def test_quality_axes_are_logarithmic_with_the_values_of_the_study_as_ticks() -> None:
    table = verdict.at(trial_rows(STEP), "digits", "quick")
    chart = figures.quality_chart(table, axes.axes_of(STEP), "frechet[cnn]").to_dict()
    encoding = chart["layer"][-1]["encoding"]
    assert encoding["x"]["scale"]["type"] == encoding["y"]["scale"]["type"] == "log"
    assert encoding["x"]["axis"]["values"] == [1, 2, 4, 8, 10, 15, 20, 50, 100, 250, 1000]
    assert "lower is better" in encoding["y"]["title"]
    share = figures.quality_chart(table, axes.axes_of(STEP), "recognised").to_dict()
    assert share["layer"][-1]["encoding"]["y"]["scale"]["type"] == "linear"


def test_floor_is_drawn_where_there_is_one() -> None:
    table = verdict.at(trial_rows(STEP), "digits", "quick")
    for frame, expected in ((table, True), (table.drop(columns="floor frechet[cnn]"), False)):
        text = figures.quality_chart(frame, axes.axes_of(STEP), "frechet[cnn]").to_json()
        assert ("real against real" in text) == expected


def test_negative_kernel_distances_are_shown_not_dropped() -> None:
    table = verdict.at(trial_rows(STEP), "digits", "quick").assign(**{"kernel[cnn]": -0.01})
    chart = figures.quality_chart(table, axes.axes_of(STEP), "kernel[cnn]").to_dict()
    low, high = chart["layer"][-1]["encoding"]["y"]["scale"]["domain"]
    assert low < -0.01 < high


def test_missing_measure_is_a_clear_error() -> None:
    table = verdict.at(trial_rows(STEP), "digits", "quick")
    for draw in (figures.quality_chart, partial(figures.cost_chart, cost="sample_seconds")):
        with pytest.raises(ValueError, match="no finished row of the network panel has 'absent'"):
            draw(table, axes.axes_of(STEP), "absent")
        with pytest.raises(ValueError, match="no finished row"):
            draw(table.assign(status="FAILED"), axes.axes_of(STEP), "frechet[cnn]")


def test_the_cost_of_training_is_shown_where_arms_differ_in_it() -> None:
    table, across = trial_rows(BACKBONES), axes.axes_of(BACKBONES)
    by_facet = {
        facet: axes.training_costs(axes.at_facet(table, across, facet), across) for facet in across.facets
    }
    assert by_facet["flops"] == ["training_flops", "fit_seconds"]
    assert by_facet["seconds"] == ["fit_seconds", "training_flops"]
    flops = pd.Series(1e12, index=table.index)
    for least, shown in ((0.85e12, []), (0.75e12, ["training_flops", "fit_seconds"])):
        flops[table["backbone"] == "dit"] = least
        assert axes.training_costs(table.assign(training_flops=flops), across) == shown
    uncounted = table.assign(training_flops=[None, *table["training_flops"][1:]])
    assert axes.training_costs(uncounted, across) == ["fit_seconds"]
    assert axes.training_costs(trial_rows(STEP), axes.axes_of(STEP)) == []


def test_against_the_cost_of_training_curves_are_joined_and_marks_as_large_as_networks() -> None:
    table, across = trial_rows(BACKBONES), axes.axes_of(BACKBONES)
    rows = axes.at_facet(table, across, "flops")
    chart = figures.cost_chart(rows, across, "frechet[cnn]", cost="training_flops").to_dict()
    joined = [one for one in chart["layer"] if "color" in one["encoding"] and one["mark"]["type"] == "line"]
    assert len(joined) == 1
    (sized,) = [one for one in chart["layer"] if one["encoding"].get("size", {}).get("field") == "parameters"]
    means = chart["datasets"][sized["data"]["name"]]
    assert {row["label"]: row["parameters"] for row in means}["DiT"] == pytest.approx(3e5)
    alike = rows.assign(parameters=1e5)
    plain = figures.cost_chart(alike, across, "frechet[cnn]", cost="training_flops").to_dict()
    assert not any("field" in one["encoding"].get("size", {}) for one in plain["layer"])
    against_sampling = figures.cost_chart(rows, across, "frechet[cnn]", cost="sample_seconds").to_dict()
    assert not [
        one
        for one in against_sampling["layer"]
        if "color" in one["encoding"] and one["mark"]["type"] == "line"
    ]


def test_pareto_front_holds_what_no_other_beats() -> None:
    points = pd.DataFrame(np.random.default_rng(0).random((200, 2)), columns=["cost", "quality"])
    for lower in (True, False):
        front = axes.pareto(points, "cost", "quality", lower_is_better=lower)
        sign = 1 if lower else -1
        for index, point in points.iterrows():
            better = (points["cost"] < point["cost"]) & (sign * points["quality"] < sign * point["quality"])
            assert (index in front.index) == (not better.any())


def test_summary_is_the_geometric_mean_with_students_interval() -> None:
    rows = pd.DataFrame({"nfe": [10] * 3 + [20], "sampler": "ddpm", "value": [1.0, 2.0, 4.0, 5.0]})
    found = axes.summary(rows, axes.Axes("nfe", "sampler", (10, 20), ("ddpm",)), "value", geometric=True)
    assert found["mean"].tolist() == pytest.approx([2.0, 5.0])
    half = 4.302652729911275 * math.log(2) / math.sqrt(3)  # t of two degrees of freedom
    assert (found["low"][0], found["high"][0]) == pytest.approx((2 * math.exp(-half), 2 * math.exp(half)))
    assert math.isnan(found["low"][1])


@pytest.mark.parametrize(("low", "high"), [(0.9, 1.3), (0.02, 0.6), (1e-5, 2.0), (1.0, 1000.0), (3.0, 3.4)])
def test_ticks_lie_inside_and_are_few(low: float, high: float) -> None:
    ticks = axes.log_ticks(low, high)
    assert 2 <= len(ticks) <= 10
    assert all(low * (1 - 1e-9) <= tick <= high * (1 + 1e-9) for tick in ticks)


def test_claim_charts_show_bound_and_interval() -> None:
    table = verdict.at(trial_rows(STEP), "digits", "quick")
    for claim, decision in zip(STEP.claims, verdict.decide(STEP, table), strict=True):
        chart = figures.claim_chart(claim, decision).to_dict()
        low, high = chart["layer"][0]["encoding"]["x"]["scale"]["domain"]
        for value in (decision.low, decision.high, claim.bound):
            assert low < value < high
    with pytest.raises(ValueError, match="no estimate"):
        figures.claim_chart(STEP.claims[0], verdict.Decision(claim="c", answer="inconclusive"))


def test_every_chart_is_drawn(tmp_path: Path) -> None:
    for study in (STEP, STEPS):
        table, across = verdict.at(trial_rows(study), "digits", "quick"), axes.axes_of(study)
        pairs = list(zip(study.claims, verdict.decide(study, table), strict=True))
        for chart in (
            figures.quality_chart(table, across, "frechet[cnn]"),
            figures.cost_chart(table, across, "frechet[cnn]", cost="sample_seconds"),
            figures.claims_chart(pairs),
        ):
            svg = vl_convert.vegalite_to_svg(figures.on_paper(chart).to_json())
            assert svg.startswith("<svg") and "NaN" not in svg


def test_pictures_are_enlarged_without_new_values() -> None:
    cell = np.random.default_rng(0).integers(0, 256, (1, 8, 8), dtype=np.uint8)
    image = np.asarray(pictures.sheet([[cell, None], [cell, cell]], side=200))
    factor = (image.shape[0] + 0) // (2 * 8 + pictures.GAP)
    block = image[: 8 * factor, : 8 * factor, 0]
    assert (block == np.kron(cell[0], np.ones((factor, factor), np.uint8))).all()
    assert image[: 8 * factor, 9 * factor :, 3].max() == 0  # an empty cell is transparent
    with pytest.raises(ValueError, match="no picture"):
        pictures.sheet([[None]], side=100)


def test_grids_have_a_column_for_each_class(tmp_path: Path) -> None:
    store = filled({"step_sweep": STEP}, tmp_path)
    run_id = store.tables["step_sweep"]["run_id"][0]
    samples = pictures.read_samples(store.artifact(run_id, "samples.npz"))
    assert samples.classes == 10
    width, height = pictures.grid(samples, rows=4, side=800).size
    assert width / height == pytest.approx((10 * 9 - 1) / (4 * 9 - 1))


def test_trajectories_run_from_noise_to_data(tmp_path: Path) -> None:
    store = filled({"step_sweep": STEP}, tmp_path)
    run_id = store.tables["step_sweep"]["run_id"][0]
    path = store.artifact(run_id, "samples.npz")
    found = pictures.read_trajectory(path)
    with np.load(path) as stored:
        steps = ("time", "x_t", "denoised", "forward")
        turned_round = {name: stored[name][::-1] if name in steps else stored[name] for name in stored.files}
        np.savez(path, **turned_round)
    turned = pictures.read_trajectory(path)
    assert (np.diff(found.time) <= 0).all() and (turned.time == found.time).all()
    assert (turned.x_t == found.x_t).all()
    forward = pictures.forward_frames(found, 0)
    assert (forward[0] == found.forward[-1, 0]).all() and (forward[-1] == found.forward[0, 0]).all()


def test_seconds_can_be_a_measure_and_a_cost() -> None:
    table = verdict.at(trial_rows(STEPS), "digits", "quick")
    assert {"frechet[cnn]", "gradient_variation", "sample_seconds"} <= set(axes.measures_of(STEPS, table))
    chart = figures.quality_chart(table, axes.axes_of(STEPS), "sample_seconds").to_dict()
    assert max(len(data) for data in chart["datasets"].values()) == len(table)


def test_the_second_word_of_the_arms_is_shown_one_value_at_a_time() -> None:
    across = axes.axes_of(BACKBONES)
    assert (across.x, across.series, across.facet) == ("trained", "backbone", "matching")
    assert axes.axes_of(STEP).facet is None
    table = trial_rows(BACKBONES)
    for facet in across.facets:
        rows = axes.at_facet(table, across, facet)
        assert set(rows["matching"]) == {facet}
        chart = figures.quality_chart(rows, across, "frechet[cnn]").to_dict()
        assert max(len(data) for data in chart["datasets"].values()) == len(rows)
    first = axes.at_facet(table[table["matching"] != across.facets[0]], across)
    assert set(first["matching"]) == {across.facets[1]}
    assert axes.at_facet(table, axes.axes_of(STEP)) is table


def test_networks_are_compared_by_size_where_they_saw_the_same_images() -> None:
    across = axes.axes_of(BACKBONES)
    table = trial_rows(BACKBONES)
    flops = table["matching"].map({"flops_half": 5e7, "flops_double": 2e8}).fillna(1e8)
    images = (
        np.where((table["matching"] == "seconds") & (table["backbone"] != "unet"), 700, 1000)
        * table["trained"]
    )
    table = table.assign(flops_per_evaluation=flops, training_flops=3 * flops * images)
    found = axes.by_size(table, across)
    assert found is not None
    rows, sizes = found
    assert set(rows["trained"]) == {1.0}
    assert set(rows["matching"]) == {
        "parameters",
        "flops_half",
        "flops_double",
    }  # others are one of these again
    assert sorted(set(rows["megaflops"])) == [50, 100, 200]
    assert (rows.groupby(["backbone", "megaflops"])["seed"].nunique() == rows["seed"].nunique()).all()
    assert sizes.ticks == (50, 100, 200)
    chart = figures.quality_chart(rows, sizes, "frechet[cnn]").to_dict()
    assert max(len(data) for data in chart["datasets"].values()) == len(rows)

    one = table[table["matching"] == "flops"]
    assert axes.by_size(one, across) is None
    assert axes.by_size(trial_rows(STEP), axes.axes_of(STEP)) is None


def test_pictures_begin_where_most_curves_have_some() -> None:
    expected = {"hierarchy": 4, "why_diffusion": 1, "diffusion_steps": 1000}
    for name, x in expected.items():
        study = studies.study(name)
        found = axes.axes_of(study)
        assert album.shared_x(axes.finished(trial_rows(study)), found) == x, name
