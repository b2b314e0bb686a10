"""What all backbones share: the conditions as tokens, and activations by name."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from workbench.nn.layers import NoiseEmbedding
from workbench.registry import UserError, unknown
from workbench.spec import BackboneSpec

Record = Callable[[str, Tensor], None]


def ignore(name: str, activation: Tensor) -> None:
    """The record that keeps nothing."""


class _AllSeen(Exception):
    """Ends a pass through a network behind the last block that was asked for."""


class Backbone(nn.Module, ABC):
    """Network (x [B, C, *S], noise_level [B], labels [B] or None) -> [B, outputs, *S], of unit variance in and out.

    Label `classes` stands for "no label"; with `classes` 0 there are none. `feature_names` are the blocks whose
    activations can be read, in the order in which they are computed. `skips` are pairs of modules of which the second
    sees the output of the first beside that of the module before it. Raises UserError for a spec without extent.

    Branches of residual blocks start at zero, the last layer does not: zeros there, usual since Dhariwal & Nichol
    (2021), slow the start of training. On Fashion-MNIST the U-Net's Frechet distance was twice as large with them
    after 6,000 images, a third larger after 20,000 and as good as equal after 70,000 (`benchmarks.last_layer`).
    """

    feature_names: tuple[str, ...]
    skips: tuple[tuple[str, str], ...] = ()

    def __init__(self, spec: BackboneSpec, *, classes: int) -> None:
        super().__init__()
        for field, value in (("width", spec.width), ("blocks", spec.blocks), ("patch", spec.patch)):
            if value < 1:
                raise UserError(f"backbone.{field}: {value} given; a whole number from 1 is needed")
        self.noise_embedding = NoiseEmbedding(spec.width)
        self.label_embedding = nn.Embedding(classes + 1, 2 * spec.width) if classes else None

    @property
    @abstractmethod
    def last(self) -> nn.Module:
        """The layer whose output, patches unfolded, is that of the network."""

    @abstractmethod
    def forward(
        self, x: Tensor, noise_level: Tensor, labels: Tensor | None = None, record: Record = ignore
    ) -> Tensor:
        """The output [B, outputs, *S]; `record` sees the activation [B, D, *G] of each block by its name."""

    def conditions(self, noise_level: Tensor, labels: Tensor | None) -> Tensor:
        """The noise level and, where the network knows labels, the label: [B, 1 or 2, 2 width]."""
        tokens = [self.noise_embedding(noise_level)]
        if self.label_embedding is not None:
            if labels is None:
                null = self.label_embedding.num_embeddings - 1
                labels = torch.full_like(noise_level, null, dtype=torch.long)
            tokens.append(self.label_embedding(labels))
        return torch.stack(tokens, dim=1)

    def features(
        self, x: Tensor, noise_level: Tensor, labels: Tensor | None, names: Iterable[str]
    ) -> dict[str, Tensor]:
        """The activations [B, D, *G] of the blocks `names` in one pass, D and the grid G being the block's own. What
        lies behind the last of them is not computed.

        Raises UserError for a name that is not in `feature_names`.
        """
        wanted = set(names)
        for name in sorted(wanted.difference(self.feature_names)):
            raise unknown("features", name, self.feature_names)
        found: dict[str, Tensor] = {}

        def keep(name: str, activation: Tensor) -> None:
            if name in wanted:
                found[name] = activation
                if len(found) == len(wanted):
                    raise _AllSeen

        with contextlib.suppress(_AllSeen):
            self(x, noise_level, labels, keep)
        return found
