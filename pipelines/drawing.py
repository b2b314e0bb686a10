"""Rows drawn from a trained denoiser, with what it cost and a trace of the first rows on their way."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from workbench import rng
from workbench.data import Dataset, to_bytes, to_display, to_float
from workbench.diffusion.denoiser import Clipped, Counting, Denoiser, Guided
from workbench.execution import Execution
from workbench.models import DiffusionModel
from workbench.sampling import BrownianPath, Node, Sampler, sample, sampler_from, time_grid
from workbench.spec import SamplingSpec

BATCH_VALUES = 200_000  # a batch of images of about this many values is quickest on a CPU
TRACED_ROWS, FRAMES = 8, 12
GRID_COLUMNS, GRID_ROWS, GRID_SIDE = 10, 6, 56


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """`images` uint8 [N, C, H, W] in the levels of the data set, `labels` int64 [N] or None, `cost`, `trace`."""

    images: Tensor
    labels: Tensor | None
    cost: dict[str, float]
    trace: dict[str, np.ndarray]


@dataclass(kw_only=True)
class Trace:
    """The first rows of the first batch at a few of the evaluations."""

    wanted: frozenset[int]
    seen: int = 0
    nodes: list[Node] = field(default_factory=list)
    x_t: list[Tensor] = field(default_factory=list)
    denoised: list[Tensor] = field(default_factory=list)

    def on_step(self, node: Node, x_t: Tensor, denoised: Tensor) -> None:
        if self.seen in self.wanted:
            self.nodes.append(node)
            self.x_t.append(x_t[:TRACED_ROWS].float().cpu())
            self.denoised.append(denoised[:TRACED_ROWS].float().cpu())
        self.seen += 1


def batch_rows(shape: tuple[int, ...], rows: int) -> int:
    """Rows to draw at a time: equal batches, as many as are quickest."""
    most = max(32, BATCH_VALUES // int(np.prod(shape)))
    return -(-rows // -(-rows // most))


def draw(
    model: DiffusionModel, dataset: Dataset, spec: SamplingSpec, execution: Execution, *, warm: bool
) -> Drawn:
    """Draw `spec.rows` rows; row i starts from the same noise and has the label i mod classes in every arm.

    `cost` counts what one row needed (`nfe_counted`, guided evaluations as two) and times the drawing alone, after two
    steps on one batch that are not counted unless the model is `warm` already.
    """
    counting = Counting(model.preconditioned)
    denoiser = _denoiser(counting, spec, model.classes)
    sampler = sampler_from(spec)
    steps = sampler.steps_for(spec.nfe)
    grid = time_grid(spec.time_grid, denoiser.schedule, steps)
    labels = torch.arange(spec.rows) % model.classes if model.classes else None
    shape, size = model.event.shape, batch_rows(model.event.shape, spec.rows)
    starts = range(0, spec.rows, size)
    evaluations = sampler.nfe(steps)
    trace = Trace(wanted=frozenset(np.linspace(0, evaluations - 1, FRAMES - 1).round().astype(int).tolist()))
    rows: list[Tensor] = []
    with execution.autocast():
        if not warm:
            short = time_grid(spec.time_grid, denoiser.schedule, 2)
            _batch(denoiser, sampler, short, spec, shape, labels, 0, min(size, spec.rows), execution, None)
        counting.rows = 0
        began = time.perf_counter()
        for start in starts:
            stop = min(start + size, spec.rows)
            seen = trace if start == 0 else None
            rows.append(_batch(denoiser, sampler, grid, spec, shape, labels, start, stop, execution, seen))
        seconds = time.perf_counter() - began
    x_0 = torch.cat(rows)
    cost = {
        "sample_seconds": seconds,
        "images_per_second": spec.rows / seconds,
        "nfe_counted": counting.rows / spec.rows,
        "steps": float(steps),
        "batch_rows": float(size),
    }
    return Drawn(
        images=to_bytes(x_0, dataset.levels),
        labels=labels,
        cost=cost,
        trace=_frames(trace, x_0, denoiser, dataset, spec.seed),
    )


def _denoiser(network: Denoiser, spec: SamplingSpec, classes: int) -> Denoiser:
    guided = Guided(network, spec.guidance, null_label=classes) if spec.guidance != 1 else network
    return Clipped(guided) if spec.clip else guided


def _batch(
    denoiser: Denoiser,
    sampler: Sampler,
    grid: Tensor,
    spec: SamplingSpec,
    shape: tuple[int, ...],
    labels: Tensor | None,
    start: int,
    stop: int,
    execution: Execution,
    trace: Trace | None,
) -> Tensor:
    """Rows `start` to `stop` along the grid: [stop - start, *S], on the CPU."""
    device = execution.device
    _, sigma = denoiser.schedule(grid[:1])
    noise = rng.normal_rows(spec.seed, "initial", start=start, stop=stop, shape=shape)
    x_1 = (float(sigma) * noise).to(device=device)
    if len(shape) == 3:
        x_1 = x_1.contiguous(memory_format=torch.channels_last)
    path = BrownianPath(spec.seed, start=start, stop=stop, shape=shape, device=device)
    cond = labels[start:stop].to(device) if labels is not None else None
    on_step = trace.on_step if trace is not None else None
    rows = sample(denoiser, sampler, x_1, grid, cond=cond, noise=path, on_step=on_step)
    return rows.float().cpu()  # waits for a GPU, so that the clock is right


def _frames(
    trace: Trace, x_0: Tensor, denoiser: Denoiser, dataset: Dataset, seed: int
) -> dict[str, np.ndarray]:
    """What `trajectory.npz` holds: `time` [F] from 1 to 0; `x_t`, `denoised` and `forward`, uint8 [F, rows, C, H, W].

    `forward` is a real row of the same label being noised, with the noise that the row was drawn from.
    """
    traced = x_0[:TRACED_ROWS]
    times = [node.time for node in trace.nodes] + [0.0]
    real = to_float(_real_rows(dataset, len(traced)), dataset.levels)
    noise = rng.normal_rows(seed, "initial", start=0, stop=len(traced), shape=tuple(traced.shape[1:]))
    alpha, sigma = denoiser.schedule(torch.tensor(times, dtype=torch.float64))
    forward = [a * real + s * noise for a, s in zip(alpha.tolist(), sigma.tolist(), strict=True)]

    def bytes_of(frames: list[Tensor]) -> np.ndarray:
        return to_display(to_bytes(torch.stack(frames), dataset.levels), dataset.levels).numpy()

    return {
        "time": np.array(times),
        "x_t": bytes_of([*trace.x_t, traced]),
        "denoised": bytes_of([*trace.denoised, traced]),
        "forward": bytes_of(forward),
    }


def _real_rows(dataset: Dataset, rows: int) -> Tensor:
    """Rows of the test split whose labels run as those of generated rows do."""
    classes, used, chosen = len(dataset.classes), set[int](), []
    labels = dataset.test.labels.tolist()
    for row in range(rows):
        fitting = (i for i, y in enumerate(labels) if y == row % classes and i not in used)
        chosen.append(next(fitting, row % len(labels)))
        used.add(chosen[-1])
    return dataset.test.images[chosen]


def save_grid(images: Tensor, path: Path) -> None:
    """Display bytes [N, C, H, W] as a picture of rows of images, each pixel enlarged to a square."""
    shown = images[: GRID_COLUMNS * GRID_ROWS]
    _, channels, height, width = shown.shape
    gap, lines = 1, -(-len(shown) // GRID_COLUMNS)
    canvas = np.full(
        (lines * (height + gap) - gap, GRID_COLUMNS * (width + gap) - gap, channels), 127, np.uint8
    )
    for index, image in enumerate(shown.permute(0, 2, 3, 1).numpy()):
        top, left = index // GRID_COLUMNS * (height + gap), index % GRID_COLUMNS * (width + gap)
        canvas[top : top + height, left : left + width] = image
    picture = Image.fromarray(canvas[..., 0] if channels == 1 else canvas[..., :3])
    factor = max(1, GRID_SIDE // height)
    picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST).save(path)
