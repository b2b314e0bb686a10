"""What a denoiser and an autoencoder know of images, as features: activations by layer and noise level, latents.

The activations of a denoiser's blocks at little noise tell classes apart (Baranchuk et al., 2022; Xiang et al., 2023;
Mukhopadhyay et al., 2023), best in the middle of the network.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from workbench import rng
from workbench.execution import Execution, batch_rows
from workbench.models import DiffusionModel, GenerativeModel, HasLatent, Model, build
from workbench.nn import Backbone
from workbench.nn.pooling import as_read, pooled
from workbench.registry import UserError


def layers(model: Model) -> tuple[str, ...]:
    """The names of the blocks whose activations can be read, in the order in which they are computed.

    Raises UserError for a model that is no denoiser.
    """
    return _backbone(model).feature_names


@torch.no_grad()
def activations(
    model: DiffusionModel,
    images: Tensor,
    *,
    layers: Sequence[str],
    time: float,
    sides: Sequence[int],
    draws: int,
    seed: int,
    execution: Execution,
) -> dict[tuple[str, int], Tensor]:
    """The features (layer, side) -> float32 [N, D] of images [N, *S] in [-1, 1], noised to `time`, without label.

    x_t = alpha x_0 + sigma noise goes through the network as the denoiser puts it there. What each of `layers` puts
    out is normalised and taken through SiLU (`as_read`), pooled to a grid of `side` cells a side, or its own grid if
    that is smaller, and averaged over `draws` of the noise. Row i meets the same noise whatever the batch size, and at
    every time. `model` is placed by `execution` and evaluates. Raises UserError for an unknown layer, a time outside
    (0, 1), or no draws or sides.
    """
    _check(time=time, sides=sides, draws=draws)
    backbone, denoiser = _backbone(model), model.preconditioned
    found: dict[tuple[str, int], Tensor] = {}
    size, shape = batch_rows(model.event.shape, max(len(images), 1)), tuple(images.shape[1:])
    t = torch.tensor(time, dtype=torch.float64, device=execution.device)
    alpha, sigma = (float(c) for c in denoiser.schedule(t))
    for start in range(0, len(images), size):
        x_0 = images[start : start + size]
        stop = start + len(x_0)
        for draw in range(draws):
            noise = rng.normal_rows(seed, "activations", draw, start=start, stop=stop, shape=shape)
            x_t = on_device(alpha * x_0 + sigma * noise, execution)
            with execution.autocast():
                seen = backbone.features(*denoiser.inputs(x_t, t), None, layers)
            for layer in layers:
                read = as_read(seen[layer].float())
                for side in sides:
                    part = pooled(read, side).cpu() / draws
                    if (layer, side) not in found:
                        found[layer, side] = part.new_zeros(len(images), part.shape[1])
                    found[layer, side][start:stop] += part
    return found


def randomised(model: DiffusionModel, seed: int) -> DiffusionModel:
    """A network of the same architecture that has learned nothing: the control of features of a trained one.

    Nothing of the training stays, and each layer draws its weights by its own `reset_parameters`: a fresh model has
    branches that end in zeros, and without them it is nearly linear. It is where `model` is, and evaluates.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.stream(seed, "randomised").initial_seed())
        fresh = build(model.spec, model.event)
        for module in fresh.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
    result = copy.deepcopy(model)
    result.load_state_dict(fresh.state_dict())
    return result.requires_grad_(False).eval()


@torch.no_grad()
def latents(model: GenerativeModel, images: Tensor, execution: Execution) -> Tensor:
    """The latents float32 [N, D] of images [N, *S] in [-1, 1]: of a VAE, its posterior means.

    An encoder that was told the label in training has none for "unknown", and to tell it the true one would give the
    answer away. It encodes under each label in turn, and the mean over all labels is taken: the same for every image.
    The latents of such a model need not hold the class, of which the decoder is told. Raises UserError for a model
    without an encoder.
    """
    if not isinstance(model, HasLatent):
        raise UserError(f"model: {type(model).__name__} has no encoder, and so no latents")
    parts = []
    size = batch_rows(model.event.shape, max(len(images), 1))
    for start in range(0, len(images), size):
        x_0 = on_device(images[start : start + size], execution)
        conditions = [None] if not model.classes else [label_of(x_0, c) for c in range(model.classes)]
        with execution.autocast():
            means = [model.encode(x_0, condition).float().flatten(1) for condition in conditions]
        parts.append(torch.stack(means).mean(0).cpu())
    return torch.cat(parts)


def on_device(rows: Tensor, execution: Execution) -> Tensor:
    """Rows [B, *S] on the device, images in the memory format that its convolutions want."""
    rows = rows.to(execution.device)
    return rows.contiguous(memory_format=torch.channels_last) if rows.ndim == 4 else rows


def label_of(rows: Tensor, label: int) -> Tensor:
    """The one label for all rows: [B]."""
    return torch.full((len(rows),), label, dtype=torch.long, device=rows.device)


def _backbone(model: Model) -> Backbone:
    if not isinstance(model, DiffusionModel):
        raise UserError(f"model: {type(model).__name__} has no activations by layer; a DiffusionModel has")
    backbone = model.preconditioned.backbone
    assert isinstance(backbone, Backbone)
    return backbone


def _check(*, time: float, sides: Sequence[int], draws: int) -> None:
    if not 0 < time < 1:
        raise UserError(f"time: {time} given; a noise level between 0 (data) and 1 (noise) is needed")
    if draws < 1:
        raise UserError(f"draws: {draws} given; at least one draw of the noise is needed")
    if not sides or min(sides) < 1:
        raise UserError(f"sides: {tuple(sides)} given; whole numbers from 1 are needed")
