"""Stored samples and trajectories -> pictures, enlarged pixel by pixel so that they look as they are.

Row i of any two arms of one seed was drawn from the same noise and for the same class (i mod classes), so the same cell
of two grids shows what a sampler makes of the same start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Bytes = NDArray[np.uint8]
CELL = 84  # pixels that a cell is wide at the most
GAP = 1  # pixels of an image between two cells, before enlarging
INK = (128, 136, 144, 255)  # readable on white and on near-black


@dataclass(frozen=True)
class Samples:
    """Stored rows: images [N, C, H, W] in 0..255 and labels [N]."""

    images: Bytes
    labels: NDArray[np.int64]

    @property
    def classes(self) -> int:
        """How many classes the rows were drawn for."""
        return int(self.labels.max()) + 1 if len(self.labels) else 1


@dataclass(frozen=True)
class Trajectory:
    """A few rows on their way: `time` [F] from 1 (noise) to 0 (data), and for each the state x_t, the network's
    prediction of the clean image, and a real image with as much noise: all [F, B, C, H, W] in 0..255."""

    time: NDArray[np.float64]
    x_t: Bytes
    denoised: Bytes
    forward: Bytes


@dataclass(frozen=True)
class Latent:
    """What an encoder and a decoder make of test images: images and their reconstructions [N, C, H, W], and the ways
    between two images [P, F, C, H, W], their ends the images themselves; all in 0..255."""

    images: Bytes
    reconstructions: Bytes
    interpolations: Bytes


def read_samples(path: Path) -> Samples:
    """Read `samples.npz`. Raises OSError or ValueError for another file, KeyError for one that lacks an array."""
    with np.load(path) as stored:
        return Samples(stored["images"], stored["labels"])


def read_trajectory(path: Path) -> Trajectory:
    """Read the trajectory in `samples.npz`, from noise to data. Raises as `read_samples` does."""
    with np.load(path) as stored:
        order = np.argsort(-stored["time"], kind="stable")
        return Trajectory(*(stored[name][order] for name in ("time", "x_t", "denoised", "forward")))


def read_latent(path: Path) -> Latent:
    """Read `latent.npz`. Raises as `read_samples` does."""
    with np.load(path) as stored:
        return Latent(*(stored[name] for name in ("images", "reconstructions", "interpolations")))


def reconstructions(latent: Latent, *, rows: int, side: int) -> Image.Image:
    """`rows` times ten test images with their reconstructions below them."""
    cells: list[list[Bytes | None]] = []
    for start in range(0, min(10 * rows, len(latent.images)), 10):
        for each in (latent.images, latent.reconstructions):
            cells.append(list(each[start : start + 10]))
    return sheet(cells, side=side)


def interpolations(latent: Latent, *, rows: int, side: int) -> Image.Image:
    """The way between the two images of each of `rows` pairs, a row each."""
    return sheet([list(way) for way in latent.interpolations[:rows]], side=side)


def grid(samples: Samples, *, rows: int, side: int) -> Image.Image:
    """The first `rows` rows of each class, a column each class, about `side` pixels wide."""
    columns = min(samples.classes, 10)
    cells = samples.images[: rows * samples.classes]
    cells = (
        cells.reshape(-1, samples.classes, *cells.shape[1:])
        if len(cells) % samples.classes == 0
        else cells[None]
    )
    return sheet([list(row[:columns]) for row in cells], side=side)


def strip(frames: Sequence[Bytes], *, side: int) -> Image.Image:
    """Frames [C, H, W] side by side, about `side` pixels wide."""
    return sheet([list(frames)], side=side)


def sheet(cells: Sequence[Sequence[Bytes | None]], *, side: int) -> Image.Image:
    """Cells [C, H, W] in rows, with transparent gaps; None leaves one empty. Raises ValueError where all are None."""
    size = _cell_size(cells)
    columns = max(map(len, cells))
    factor = max(1, round(min(side / columns, CELL) / (size[1] + GAP)))
    canvas = np.zeros((len(cells) * (size[0] + GAP) - GAP, columns * (size[1] + GAP) - GAP, 4), np.uint8)
    for i, row in enumerate(cells):
        for j, cell in enumerate(row):
            if cell is not None:
                top, left = i * (size[0] + GAP), j * (size[1] + GAP)
                canvas[top : top + size[0], left : left + size[1]] = _rgba(cell)
    image = Image.fromarray(canvas, "RGBA")
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def labelled_sheet(
    cells: Sequence[Sequence[Bytes | None]],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    side: int,
    align: Sequence[str] = (),
) -> Image.Image:
    """A sheet with a word before each row and above each column, on a transparent ground. The cells begin where they
    would begin beside the longest of `rows` and `align`."""
    body = sheet(cells, side=side)
    size = max(13, body.width // 70)
    font = ImageFont.load_default(size=size)
    pen = ImageDraw.Draw(body)
    left = int(max(pen.textlength(word, font=font) for word in (*rows, *align))) + 16
    top = int(size * 1.9)
    canvas = Image.new("RGBA", (left + body.width, top + body.height), (0, 0, 0, 0))
    canvas.paste(body, (left, top))
    pen = ImageDraw.Draw(canvas)
    width, height = body.width / max(map(len, cells)), body.height / len(cells)
    for i, word in enumerate(rows):
        pen.text((left - 12, top + (i + 0.5) * height), word, font=font, fill=INK, anchor="rm")
    for j, word in enumerate(columns):
        pen.text((left + (j + 0.5) * width, top - 8), word, font=font, fill=INK, anchor="mb")
    return canvas


def way(trajectory: Trajectory, row: int, *, side: int) -> Image.Image:
    """From picture to noise and back: a real image as it is noised, and below it a sample as it is denoised with what
    the network predicts at each step."""
    times = [f"t = {time:.2f}" for time in trajectory.time]
    words = ["a real image is noised", "a sample is denoised", "the network's guess"]
    above = labelled_sheet([forward_frames(trajectory, row)], words[:1], times[::-1], side=side, align=words)
    lines = [list(trajectory.x_t[:, row]), list(trajectory.denoised[:, row])]
    below = labelled_sheet(lines, words[1:], times, side=side, align=words)
    canvas = Image.new(
        "RGBA", (max(above.width, below.width), above.height + 20 + below.height), (0, 0, 0, 0)
    )
    canvas.paste(above, (0, 0))
    canvas.paste(below, (0, above.height + 20))
    return canvas


def forward_frames(trajectory: Trajectory, row: int) -> list[Bytes]:
    """A real image [C, H, W] as noise is added to it: from data to noise."""
    return list(trajectory.forward[::-1, row])


def _cell_size(cells: Sequence[Sequence[Bytes | None]]) -> tuple[int, int]:
    for row in cells:
        for cell in row:
            if cell is not None:
                return cell.shape[-2], cell.shape[-1]
    raise ValueError("no picture to show")


def _rgba(cell: Bytes) -> Bytes:
    """[C, H, W] of one or three channels -> [H, W, 4]."""
    pixels = np.moveaxis(cell, 0, -1)  # [C, H, W] -> [H, W, C]
    colour = np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels[..., :3]
    return np.concatenate([colour, np.full((*colour.shape[:2], 1), 255, np.uint8)], axis=-1)
