"""The pictures of a study: samples side by side from the same noise, and the way from noise to picture and back."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.source import Source, Unavailable
from pipelines import album, pictures
from pipelines import axes as axes_module
from pipelines.axes import Axes
from pipelines.pictures import Bytes, Latent, Samples, Trajectory
from pipelines.vocabulary import field, in_text, looks
from workbench.spec import Study

KEPT_ROWS = 60  # of each trial's samples: what the page may show
SIDE = 1500  # pixels of a picture as wide as the page
FAVOURITES = ("ddpm", "ddim", "dpmpp_2m", "unipc")
BANNER = ("dpmpp_2m", "unipc", "ddim", "ddpm")


@st.cache_data(max_entries=512, show_spinner=False)
def _samples(_source: Source, uri: str, run_id: str) -> Samples:
    stored = pictures.read_samples(_source.artifact(run_id, "samples.npz"))
    whole = KEPT_ROWS // stored.classes * stored.classes or KEPT_ROWS
    return Samples(stored.images[:whole], stored.labels[:whole])


@st.cache_data(max_entries=64, show_spinner=False)
def _trajectory(_source: Source, uri: str, run_id: str) -> Trajectory:
    return pictures.read_trajectory(_source.artifact(run_id, "samples.npz"))


@st.cache_data(max_entries=64, show_spinner=False)
def _latent(_source: Source, uri: str, run_id: str) -> Latent:
    return pictures.read_latent(_source.artifact(run_id, "latent.npz"))


def samples(source: Source, run_id: str) -> Samples | None:
    """The first samples of a run; None where the store has none."""
    try:
        return _samples(source, source.uri, run_id)
    except (Unavailable, OSError, ValueError, KeyError):
        return None


def trajectory(source: Source, run_id: str) -> Trajectory | None:
    """The trajectory of a run; None where the store has none."""
    try:
        return _trajectory(source, source.uri, run_id)
    except (Unavailable, OSError, ValueError, KeyError):
        return None


def latent(source: Source, run_id: str) -> Latent | None:
    """What the encoder of a run makes of test images; None where the store has none."""
    try:
        return _latent(source, source.uri, run_id)
    except (Unavailable, OSError, ValueError, KeyError):
        return None


def banner(source: Source, every: list[Study]) -> None:
    """Two pictures emerging from noise, of the newest run that has them; of smoke scale where there is no other."""
    tables = [axes_module.finished(source.trials(study.name)) for study in every]
    tables = [rows[rows["nfe"] >= 10] for rows in tables if {"nfe", "sampler"} <= set(rows.columns)]
    for smoke in (False, True):
        for rows in tables:
            some = rows[(rows["scale"] == "smoke") == smoke].sort_values("started")
            newest = [some[some["sampler"] == sampler]["run_id"].tail(1) for sampler in BANNER]
            for run_id in pd.concat(newest):
                found = trajectory(source, run_id)
                if found is None:
                    continue
                frames = [frame for row in (0, 1) for frame in _ten(list(found.x_t[:, row]))]
                st.image(
                    pictures.sheet([frames], side=SIDE),
                    width="stretch",
                    alt="Two pictures emerging from noise, step by step, from left to right",
                )
                return


def _ten(frames: list[Bytes]) -> list[Bytes]:
    """Ten of the frames, the first and the last among them."""
    return [frames[i] for i in np.linspace(0, len(frames) - 1, 10).round().astype(int)]


def section(source: Source, table: pd.DataFrame, axes: Axes) -> None:
    """Grids side by side with a slider, the sheet of all arms, and the way of one image; nothing for a study that draws
    no samples."""
    rows = axes_module.finished(table)
    if not axes_module.drawn(rows):
        return
    st.header("Pictures", anchor="pictures")
    names, values = axes_module.present(rows, axes)
    if not values:
        st.caption("No finished trial has samples yet.")
        return
    _grids(source, rows, axes, names, values)


@st.fragment
def _grids(source: Source, rows: pd.DataFrame, axes: Axes, names: list[str], values: list[float]) -> None:
    seeds = sorted(int(seed) for seed in rows["seed"].unique())
    look = looks(names)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="large"):
        x = st.select_slider(
            field(axes.x),
            values,
            value=album.SHOWN if album.SHOWN in values else album.shared_x(rows, axes),
            format_func=lambda value: f"{value:g}",
            key="steps",
            bind="query-params",
            width=420,
        )
        seed = st.segmented_control("Training seed", seeds, default=seeds[0], key="seed", required=True)
    shown = [name for name in FAVOURITES if name in names] or names
    if axes.series:
        shown = st.pills(
            "Side by side",
            names,
            default=shown,
            selection_mode="multi",
            format_func=lambda name: look[name].label,
            key="shown",
        )
        shown = [name for name in names if name in shown] or names[:1]
    width = min(len(shown), 4)
    columns = [column for _ in range(0, len(shown), width) for column in st.columns(width, gap="medium")]
    for column, name in zip(columns, shown, strict=False):
        with column:
            run_id = axes_module.run_of(rows, axes, name, x, seed)
            stored = samples(source, run_id) if run_id else None
            st.markdown(f"**{look[name].label if axes.series else field(axes.x)}** at {x:g}")
            if stored is None:
                st.caption(f"not run at {x:g}" if run_id is None else "its samples cannot be read")
                continue
            st.image(
                pictures.grid(stored, rows=6 if len(shown) > 1 else 4, side=720),
                width="stretch",
                alt=f"Samples of {look[name].label} at {field(axes.x)} {x:g}, a column for each class",
            )
    st.caption(f"A column is a class; {album.SAME_NOISE if axes_module.one_start(rows) else album.SAME_SEED}")
    _sheet(source, rows, axes, seed)
    _way(source, rows, axes, names, x, seed)
    _latent_space(source, rows, axes, x, seed)


def _sheet(source: Source, rows: pd.DataFrame, axes: Axes, seed: int) -> None:
    """One sample in every arm: a line a curve, a column a value of x."""
    st.markdown("#### One start, every arm")
    which = st.slider("Which sample", 1, 30, 3, key="sample", width=420) - 1
    cells, lines, columns = album.every_arm(rows, axes, seed, which, lambda run_id: samples(source, run_id))
    if all(cell is None for line in cells for cell in line):
        st.caption("No samples can be read.")
        return
    st.image(
        pictures.labelled_sheet(cells, lines, columns, side=SIDE),
        width="content",
        alt=f"The same sample in every arm, a line each; from left to right with more {in_text(axes.x)}",
    )
    st.caption(f"From left to right: {in_text(axes.x)}.")


def _way(source: Source, rows: pd.DataFrame, axes: Axes, names: list[str], x: float, seed: int) -> None:
    """The forward process and the way back of one image."""
    st.markdown("#### From picture to noise, and from noise to picture")
    look = looks(names)
    have = [name for name in names if axes_module.run_of(rows, axes, name, x, seed)]
    if not have:
        st.caption(f"Nothing was run at {x:g}.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom", gap="large"):
        name = have[0]
        if axes.series:
            start = have.index("dpmpp_2m") if "dpmpp_2m" in have else 0
            name = st.selectbox(
                axes.series.replace("_", " ").capitalize(),
                have,
                index=start,
                format_func=lambda one: look[one].label,
                key="way",
                width=280,
            )
        row = st.slider("Which image", 1, 8, 1, key="image", width=420) - 1
    run_id = axes_module.run_of(rows, axes, name, x, seed)
    found = trajectory(source, run_id) if run_id else None
    if found is None or row >= found.x_t.shape[1]:
        st.caption("There is no trajectory of this trial: its family keeps none, or it could not be read.")
        return
    st.image(
        pictures.way(found, row, side=SIDE),
        width="content",
        alt="Above, a real image as noise is added; below, a sample from noise to picture and the network's guess",
    )
    st.caption(
        f"{look[name].label if axes.series else 'The sampler'} at {x:g}. t = 0 is data, t = 1 is noise. The lowest "
        "strip is the network's mean prediction of the clean image: blurred while much is undecided, sharp at the end."
    )


def _latent_space(source: Source, rows: pd.DataFrame, axes: Axes, x: float, seed: int) -> None:
    """Reconstructions and interpolations of the arms whose model has an encoder; nothing where none has."""
    found = [
        (name, how, pictures_of)
        for name, _, run_id, how in album.with_encoder(rows, axes, seed, x)
        if (pictures_of := latent(source, run_id)) is not None
    ]
    if not found:
        return
    st.markdown("#### Latent space")
    look = looks([name for name, _, _ in found])
    for start in range(0, len(found), 2):
        for column, (name, how, pictures_of) in zip(
            st.columns(2, gap="medium"), found[start : start + 2], strict=False
        ):
            with column:
                label = look[name].label if axes.series else "the model"
                st.markdown(f"**{label}** at {x:g}, {how} interpolation")
                st.image(
                    pictures.reconstructions(pictures_of, rows=1, side=720),
                    width="stretch",
                    alt=f"Ten test images, and below them what {label} makes of their latents",
                )
                st.image(
                    pictures.interpolations(pictures_of, rows=4, side=720),
                    width="stretch",
                    alt=f"The way from one test image to another through the latents of {label}, a row a pair",
                )
    st.caption(album.LATENT_SPACE)
