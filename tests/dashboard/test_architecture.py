"""Pictures of networks: what is drawn is what the networks are, in every facet that has others."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest
import vl_convert

import studies
from pipelines import architecture, figures
from pipelines.axes import axes_of
from pipelines.vocabulary import word
from workbench.nn.cost import cost_of
from workbench.nn.parts import parts_of
from workbench.spec import BackboneSpec

BACKBONES = studies.study("backbones")
AXES = axes_of(BACKBONES)
EVENT = {"event_shape": (1, 8, 8), "classes": 10}
UNET = BackboneSpec(width=32, blocks=2, patch=2)


def parts(spec: BackboneSpec) -> pd.DataFrame:
    return pd.DataFrame([dataclasses.asdict(part) for part in parts_of(spec, outputs=1, **EVENT)])


def drawn(spec: BackboneSpec) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The blocks and the ways of the skips in the picture of a network."""
    datasets = architecture.picture(parts(spec), "a network").to_dict()["datasets"].values()
    frames = [pd.DataFrame(rows) for rows in datasets]
    blocks = next(frame for frame in frames if "share" in frame)
    return blocks, next((frame for frame in frames if "step" in frame), pd.DataFrame())


def test_another_process_counts_the_same() -> None:
    specs = [UNET, BackboneSpec(name="uvit", width=32, blocks=3, patch=2)]
    for spec, found in zip(specs, architecture.counted(specs, **EVENT), strict=True):
        expected = parts(spec)
        assert found["shape"].map(tuple).tolist() == expected["shape"].map(tuple).tolist()
        pd.testing.assert_frame_equal(found.drop(columns="shape"), expected.drop(columns="shape"))
        assert found["flops"].sum() == cost_of(spec, outputs=1, **EVENT).flops


def test_what_cannot_be_counted_is_told_in_a_line() -> None:
    with pytest.raises(ValueError, match="patch") as told:
        architecture.counted([BackboneSpec(name="dit", width=32, patch=3)], **EVENT)
    assert "\n" not in str(told.value)


def test_shares_are_of_all_flops_and_the_largest_is_the_strongest() -> None:
    blocks, _ = drawn(UNET)
    assert blocks["share"].sum() == pytest.approx(1.0)
    assert set(blocks["name"]) == {p.name for p in parts_of(UNET, outputs=1, **EVENT) if p.flops}
    largest = blocks.loc[blocks["flops"].idxmax()]
    assert largest["strength"] == 1.0
    assert (blocks["strength"] / blocks["share"]).std() == pytest.approx(0.0, abs=1e-9)


def test_blocks_are_as_wide_as_the_side_of_their_output() -> None:
    blocks = drawn(UNET)[0].set_index("name")
    assert blocks.loc["down.0.0", "right"] == 1.0  # 4 x 4 of patches
    assert blocks.loc["middle", "right"] == 0.5  # 2 x 2
    tokens = drawn(BackboneSpec(name="dit", width=32, patch=2))[0].set_index("name")
    assert tokens.loc["blocks.0", "right"] == 1.0
    assert (tokens["left"] == -tokens["right"]).all()


def test_skips_run_from_source_to_target_without_crossing() -> None:
    blocks, lanes = drawn(UNET)
    rows = {name: row for row, name in enumerate(blocks["name"])}
    ways = []
    for _, way in lanes.groupby("skip"):
        way = way.sort_values("step")
        source, target = way["name"].iloc[0], way["name"].iloc[-1]
        assert parts(UNET).set_index("name").loc[target, "skip"] == source
        ways.append((rows[source], rows[target], way["x"].max()))
    assert len(ways) == 4
    for one in ways:
        for other in ways:
            if one[0] < other[0] < other[1] < one[1]:  # an inner way keeps inside
                assert one[2] > other[2]
    assert drawn(BackboneSpec(name="mixer", width=32, patch=2))[1].empty


def test_facets_of_the_same_networks_are_drawn_once() -> None:
    found = architecture.differing(BACKBONES, AXES, "digits", "quick", AXES.facets)
    # networks of equal seconds are those of equal FLOPs
    assert list(found) == ["parameters", "flops", "flops_half", "flops_double"]
    assert all(list(networks) == list(AXES.names) for networks in found.values())
    assert found["flops"]["unet"] == found["parameters"]["unet"]
    assert found["flops"]["dit"] != found["parameters"]["dit"]


def test_only_studies_of_backbones_draw_them() -> None:
    having = [name for name in studies.names() if architecture.applies(axes_of(studies.study(name)))]
    assert having == ["backbones"]


def test_the_pictures_of_a_study_are_drawn_with_names_and_totals() -> None:
    networks = architecture.networks(BACKBONES, AXES, "digits", "quick", "flops")
    chart = architecture.beside(networks, **EVENT)
    svg = vl_convert.vegalite_to_svg(figures.on_paper(chart).to_json())
    assert "NaN" not in svg
    for name, spec in networks.items():
        assert f">{word(name)}<" in svg
        cost = cost_of(spec, outputs=1, **EVENT)
        assert f"{cost.parameters / 1e6:.2f} million parameters, {cost.flops / 1e6:.3g} million FLOPs" in svg
