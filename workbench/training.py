"""fit(): the one training loop for every family.

All randomness of step k is addressed by (seed, k), so a fit that continues from a checkpoint ends bit for bit where an
uninterrupted one would have ended (same device, precision and threads), and no random state has to be stored.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from workbench import rng
from workbench.data import Dataset, Split, to_float
from workbench.execution import Execution, peak_memory_bytes
from workbench.flat import FlatParameters
from workbench.identity import key
from workbench.models import Event, Model, build, require_own_data
from workbench.registry import UserError
from workbench.spec import BudgetSpec, CheckpointSpec, FitSpec, OptimiserSpec, whole_training

RECORDS = 50  # points of a learning curve
VALIDATION_ROWS = 512
FORMAT = "flat"  # of a checkpoint: what is of another cannot be continued from


class Diverged(RuntimeError):
    """A loss that is not finite: a result of the fit, not a mistake in its use."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a fit is. `images_per_second` is that since the last report."""

    images_seen: int
    images_total: int
    images_per_second: float
    loss: float


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """The result: averaged weights, the learning curve (a record a row, `images_seen` in each) and what it cost."""

    weights: dict[str, Tensor]
    history: tuple[dict[str, float], ...]
    cost: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What an objective trains: its parameters as one vector, their optimiser and their average [N]."""

    flat: FlatParameters
    optimiser: torch.optim.AdamW
    average: Tensor

    @classmethod
    def of(cls, parameters: Iterable[nn.Parameter], spec: OptimiserSpec) -> Trained:
        """Parameters before training, by Adam with decoupled weight decay (Loshchilov & Hutter, 2019)."""
        flat = FlatParameters(parameters)
        betas = (spec.beta_1, spec.beta_2)
        optimiser = torch.optim.AdamW(
            [flat.values], spec.learning_rate, betas, weight_decay=spec.weight_decay, fused=True
        )
        return cls(flat=flat, optimiser=optimiser, average=flat.values.detach().clone())


@dataclass(kw_only=True)
class Position:
    """Where a fit stands; everything else follows from the spec and the weights."""

    step: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


def fit(
    spec: FitSpec,
    dataset: Dataset,
    *,
    execution: Execution,
    inner: Sequence[Mapping[str, Tensor]] = (),
    on_progress: Callable[[Progress], None] | None = None,
    checkpoint: Path | None = None,
    checkpoint_seconds: float = 120.0,
    on_checkpoint: Callable[[Path], None] | None = None,
) -> Fitted:
    """Train the model of `spec` on the training split of `dataset`, from the weights `inner` of its inner fits.

    With `checkpoint`, the state is written to that file every `checkpoint_seconds` (then `on_checkpoint` is called),
    and a file that is there already and belongs to the same training, no further on, is continued from. A spec that is
    itself a checkpoint of a longer training leaves its last state there. Raises Diverged when a loss is not finite,
    UserError when the spec names an unknown component or does not fit the data.
    """
    require_own_data(spec)
    require_budget(spec.budget)
    execution.apply()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(address(spec.seed, "weights"))
        model = build(spec.model, Event.of(dataset))
    model.adopt(inner)
    execution.place(model)
    objectives = model.objectives()
    trained = [Trained.of(objective.parameters(), spec.optimiser) for objective in objectives]
    position = Position()
    if checkpoint is not None and checkpoint.exists():
        position = load_checkpoint(checkpoint, spec, model, trained) or position

    images = dataset.train.images.to(execution.device)
    labels = dataset.train.labels.to(execution.device)
    steps, batch = spec.budget.steps, spec.budget.batch_size
    # Of the whole training's steps, so that the curve of a checkpoint is a part of its curve.
    every = max(1, whole_training(spec).budget.steps // RECORDS)
    losses = torch.zeros(len(objectives), device=execution.device)
    norms = torch.zeros(len(objectives), every, device=execution.device)
    started = saved = recorded = time.perf_counter()
    before = position.seconds
    since = 0  # steps since the last record, or since the checkpoint: what was summed before is not in it
    model.train()
    while position.step < steps:
        rows = rows_of_step(spec.seed, position.step, batch, len(images)).to(execution.device)
        x_0, y = to_float(images[rows], dataset.levels), labels[rows]
        rate = learning_rate(spec.optimiser, position.step * batch, spec.budget.decay_images)
        for index, (objective, part) in enumerate(zip(objectives, trained, strict=True)):
            generator = rng.stream(spec.seed, f"loss {objective.name}", position.step)
            with torch.random.fork_rng(devices=[]):  # dropout draws from the global stream
                torch.manual_seed(address(spec.seed, "dropout", position.step, index))
                with execution.autocast():
                    loss = objective.loss(x_0, y, generator).mean()
                part.flat.gradient.zero_()
                loss.backward()
            norms[index, since] = part.flat.clip(spec.optimiser.clip_norm)
            part.optimiser.param_groups[0]["lr"] = rate
            part.optimiser.step()
            losses[index] += loss.detach()
        position.step += 1
        since += 1
        weight = blending(spec.ema_halflife_images, seen=position.step * batch, batch=batch)
        for part in trained:
            part.average.lerp_(part.flat.values.data, weight)

        if position.step % every == 0 or position.step == steps:
            now = time.perf_counter()
            means = (losses / since).tolist()
            losses.zero_()
            position.seconds = before + now - started
            if not all(map(math.isfinite, means)):
                raise Diverged(
                    f"the loss became {means} after {position.step * batch} images (seed {spec.seed})"
                )
            record = {
                "images_seen": float(position.step * batch),
                "learning_rate": rate,
                "seconds": position.seconds,
            }
            record |= {f"loss_{o.name}": mean for o, mean in zip(objectives, means, strict=True)}
            joint = norms[:, :since].norm(dim=0)  # no parameter belongs to two objectives
            record["gradient_norm"] = float(joint.mean())
            record["gradient_norm_deviation"] = float(joint.std(correction=0))
            position.history.append(record)
            if on_progress is not None:
                speed = since * batch / max(now - recorded, 1e-9)
                on_progress(
                    Progress(
                        images_seen=position.step * batch,
                        images_total=steps * batch,
                        images_per_second=speed,
                        loss=means[0],
                    )
                )
            recorded, since = now, 0
        if (
            checkpoint is not None
            and time.perf_counter() - saved > checkpoint_seconds
            and position.step < steps
        ):
            position.seconds = before + time.perf_counter() - started
            save_checkpoint(checkpoint, spec, model, trained, position)
            saved = time.perf_counter()
            if on_checkpoint is not None:
                on_checkpoint(checkpoint)

    if checkpoint is not None and isinstance(spec.budget, CheckpointSpec):
        save_checkpoint(checkpoint, spec, model, trained, position)
    for part in trained:
        part.flat.values.data.copy_(part.average)
    position.history[-1] |= validation_losses(model, dataset.validation, dataset.levels, execution)
    return Fitted(
        weights={name: value.to("cpu", copy=True) for name, value in model.state_dict().items()},
        history=tuple(position.history),
        cost={
            "fit_seconds": position.seconds,
            "images_per_second": steps * batch / position.seconds,
            "parameters": float(sum(p.numel() for p in model.parameters())),
            "peak_memory_bytes": float(peak_memory_bytes(execution.device)),
            "threads": float(torch.get_num_threads()),
        },
    )


def require_budget(budget: BudgetSpec) -> None:
    """Raises UserError for a budget of no images or empty batches, or a checkpoint behind the end of its training."""
    for name in ("images_seen", "batch_size"):
        if (value := getattr(budget, name)) < 1:
            raise UserError(f"budget.{name}: {value} given; a whole number from 1 is needed")
    if isinstance(budget, CheckpointSpec) and budget.images_seen > budget.whole_images:
        raise UserError(
            f"budget.images_seen: {budget.images_seen:,} given for a checkpoint of a training of "
            f"{budget.whole_images:,} images"
        )


def address(seed: int, purpose: str, *index: int) -> int:
    """The seed for torch's global stream at an address."""
    return rng.stream(seed, purpose, *index).initial_seed()


def rows_of_step(seed: int, step: int, batch: int, rows: int) -> Tensor:
    """The rows of the batch at `step`: [batch]. Each epoch is a fresh permutation; batches run on across epochs."""
    positions = torch.arange(step * batch, (step + 1) * batch)
    epochs = positions // rows
    parts = [
        torch.randperm(rows, generator=rng.stream(seed, "order", epoch))[positions[epochs == epoch] % rows]
        for epoch in range(int(epochs[0]), int(epochs[-1]) + 1)
    ]
    return torch.cat(parts)


def learning_rate(spec: OptimiserSpec, images_seen: int, decay_images: int) -> float:
    """Linear warm-up over `warmup_images`, then half a cosine down to `final_fraction` of the rate."""
    warmup = min(1.0, (images_seen + 1) / max(spec.warmup_images, 1))
    cosine = 0.5 * (1 + math.cos(math.pi * min(images_seen / decay_images, 1.0)))
    return spec.learning_rate * warmup * (spec.final_fraction + (1 - spec.final_fraction) * cosine)


def blending(halflife_images: int, *, seen: int, batch: int) -> float:
    """How far the average of the weights moves towards them after a batch; its half-life is at most 5 % of the images
    seen (Karras et al., 2022)."""
    halflife = max(min(halflife_images, 0.05 * seen), 1e-9)
    return 1 - math.pow(0.5, batch / halflife)


@torch.no_grad()
def validation_losses(model: Model, split: Split, levels: int, execution: Execution) -> dict[str, float]:
    """The losses of the averaged weights on rows of the validation split, at noise that is the same for every fit."""
    model.eval()
    x_0 = to_float(split.images[:VALIDATION_ROWS].to(execution.device), levels)
    labels = split.labels[:VALIDATION_ROWS].to(execution.device)
    result = {}
    for objective in model.objectives():
        with execution.autocast():
            loss = objective.loss(x_0, labels, rng.stream(0, f"validation {objective.name}"))
        result[f"validation_loss_{objective.name}"] = float(loss.mean())
    return result


def save_checkpoint(
    path: Path, spec: FitSpec, model: nn.Module, trained: Sequence[Trained], position: Position
) -> None:
    """Write everything that a fit needs to go on, atomically: a reader sees the old file or the new one."""
    tensors = {f"weights.{name}": value for name, value in model.state_dict().items()}
    for index, part in enumerate(trained):
        tensors[f"average.{index}"] = part.average
        state = part.optimiser.state_dict()["state"][0]
        tensors |= {f"optimiser.{index}.{name}": value for name, value in state.items()}
    metadata = {
        "format": FORMAT,
        "key": key(whole_training(spec)),
        "position": json.dumps(
            {"step": position.step, "seconds": position.seconds, "history": position.history}
        ),
    }
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    save_file({name: value.contiguous() for name, value in tensors.items()}, partial, metadata=metadata)
    partial.replace(path)


def load_checkpoint(
    path: Path, spec: FitSpec, model: nn.Module, trained: Sequence[Trained]
) -> Position | None:
    """Restore what `save_checkpoint` wrote. None, and nothing changed, when the file belongs to another training, is
    further on than `spec` goes, or is of another format."""
    with safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
        if (metadata.get("format"), metadata.get("key")) != (FORMAT, key(whole_training(spec))):
            return None
        position = Position(**json.loads(metadata["position"]))
        if position.step > spec.budget.steps:
            return None
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping

    def part(prefix: str) -> dict[str, Tensor]:
        return {
            name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)
        }

    model.load_state_dict(part("weights."))
    for index, one in enumerate(trained):
        one.average.copy_(tensors[f"average.{index}"])
        known_state = one.optimiser.state_dict()
        one.optimiser.load_state_dict({**known_state, "state": {0: part(f"optimiser.{index}.")}})
    return position
