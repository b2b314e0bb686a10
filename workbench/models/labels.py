"""What families other than diffusion are asked for when they draw, checked: labels, and no guidance."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.registry import UserError
from workbench.spec import SamplingSpec


def labels_of(rows: int, cond: Tensor | None, classes: int, device: torch.device) -> Tensor:
    """`cond` [rows] for a model of `classes` labels, zeros for one of none.

    Raises UserError when the labels that the model needs are missing, of another number, or outside 0 .. classes - 1.
    """
    if not classes:
        return torch.zeros(rows, dtype=torch.long, device=device)
    if cond is None or len(cond) != rows:
        given = "none" if cond is None else str(len(cond))
        raise UserError(
            f"labels: {given} given for {rows} rows; a model that was trained with them needs one for each row"
        )
    if rows and (int(cond.min()) < 0 or int(cond.max()) >= classes):
        raise UserError(
            f"labels: {int(cond.min())} to {int(cond.max())} given; this model knows 0 to {classes - 1}"
        )
    return cond


def require_no_guidance(sampling: SamplingSpec) -> None:
    """Raises UserError for a guidance scale that a family without an unconditional score cannot follow."""
    if sampling.guidance != 1.0:
        raise UserError(
            f"sampling.guidance: {sampling.guidance} given; only diffusion models are guided, others are drawn with 1"
        )
