"""Rows drawn from a trained denoiser, with what it cost and a trace of the first rows on their way."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from workbench import rng
from workbench.data import Dataset, to_bytes, to_display, to_float
from workbench.execution import Execution, batch_rows
from workbench.models import DiffusionModel, GenerativeModel, Watch
from workbench.sampling import Node
from workbench.spec import SamplingSpec

TRACED_ROWS, FRAMES = 8, 12
GRID_COLUMNS, GRID_ROWS, GRID_SIDE = 10, 6, 56


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """`images` uint8 [N, C, H, W] in the levels of the data set, `labels` int64 [N] or None, `cost`; `trace` where a
    family draws step by step (see `_frames`), else None."""

    images: Tensor
    labels: Tensor | None
    cost: dict[str, float]
    trace: dict[str, np.ndarray] | None


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


def draw(
    model: GenerativeModel, dataset: Dataset, spec: SamplingSpec, execution: Execution, *, warm: bool
) -> Drawn:
    """Draw `spec.rows` rows; row i starts from the same noise and has the label i mod classes in every arm.

    `cost` counts what one row needed (`nfe_counted`, guided evaluations as two) and times the drawing alone, after a
    few evaluations of one batch that are not counted unless the model is `warm` already.
    """
    labels = torch.arange(spec.rows) % model.classes if model.classes else None
    size = batch_rows(model.event.shape, spec.rows)
    trace = Trace(wanted=_spread(model.evaluations(spec)))

    def batch(start: int, sampling: SamplingSpec, watch: Watch) -> Tensor:
        stop = min(start + size, spec.rows)
        draws = rng.Draws(seed=spec.seed, start=start, stop=stop, device=execution.device)
        cond = labels[start:stop].to(execution.device) if labels is not None else None
        return model.sample(draws, cond, sampling, watch).float().cpu()  # waits for a GPU: the clock is right

    watch, images = Watch(on_step=trace.on_step), []
    first = torch.empty(0)
    with torch.no_grad(), execution.autocast():
        if not warm:
            batch(0, replace(spec, nfe=min(spec.nfe, 2)), Watch())
        began = time.perf_counter()
        for start in range(0, spec.rows, size):
            x_0 = batch(start, spec, watch)
            images.append(to_bytes(x_0, dataset.levels))  # at once, so that memory holds one batch of floats
            if start == 0:
                first = x_0[:TRACED_ROWS]
                watch.on_step = None  # the trace follows these
        seconds = time.perf_counter() - began
    cost = {
        "sample_seconds": seconds,
        "images_per_second": spec.rows / seconds,
        "nfe_counted": watch.evaluations / spec.rows,
        "batch_rows": float(size),
    }
    return Drawn(
        images=torch.cat(images),
        labels=labels,
        cost=cost,
        trace=_frames(trace, first, model, dataset, spec.seed) if isinstance(model, DiffusionModel) else None,
    )


def _spread(evaluations: int) -> frozenset[int]:
    """The evaluations that are kept as frames, evenly spread from the first to the last."""
    return frozenset(np.linspace(0, evaluations - 1, FRAMES - 1).round().astype(int).tolist())


def _frames(
    trace: Trace, traced: Tensor, model: DiffusionModel, dataset: Dataset, seed: int
) -> dict[str, np.ndarray]:
    """The arrays of a trace: `time` [F] from 1 to 0; `x_t`, `denoised` and `forward`, uint8 [F, rows, C, H, W].

    `forward` is a real row of the same label being noised, with the noise that the row was drawn from.
    """
    times = [node.time for node in trace.nodes] + [0.0]
    real = to_float(_real_rows(dataset, len(traced)), dataset.levels)
    noise = rng.normal_rows(seed, "initial", start=0, stop=len(traced), shape=tuple(traced.shape[1:]))
    alpha, sigma = model.preconditioned.schedule(torch.tensor(times, dtype=torch.float64))
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


def grid(images: Tensor, columns: int = GRID_COLUMNS) -> Image.Image:
    """Display bytes [N, C, H, W] as a picture of rows of images, each pixel enlarged to a square."""
    shown = images[: columns * GRID_ROWS]
    _, channels, height, width = shown.shape
    gap, lines = 1, -(-len(shown) // columns)
    canvas = np.full((lines * (height + gap) - gap, columns * (width + gap) - gap, channels), 127, np.uint8)
    for index, image in enumerate(shown.permute(0, 2, 3, 1).numpy()):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        canvas[top : top + height, left : left + width] = image
    picture = Image.fromarray(canvas[..., 0] if channels == 1 else canvas[..., :3])
    factor = max(1, GRID_SIDE // height)
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
