"""A multi-scale affine-coupling flow of the Glow kind (Kingma & Dhariwal, 2018)."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.flows import MultiScale, bits_a_value, standard_normal
from workbench.levels import require_levels
from workbench.models.base import Event, GenerativeModel, Interpolation, LikelihoodKind, Objective, Watch
from workbench.models.labels import labels_of, require_no_guidance
from workbench.nn.labelled import LabelledNet
from workbench.registry import UserError
from workbench.rng import Draws
from workbench.spec import CouplingFlowSpec, SamplingSpec

MARGIN = 0.05  # how far inside (0, 1) the logit is taken (Dinh et al., 2017, section 4.1)


class CouplingFlow(GenerativeModel):
    """Images <-> standard normals, trained by maximum likelihood of uniformly dequantised images.

    The row is brought to (0, 1), each level a cell of width 1 / levels, then to all reals by the logit of
    MARGIN + (1 - 2 MARGIN) y, then through `MultiScale`. The first batch in training sets the actnorms; that this has
    happened is kept in the buffer `initialised`, so that a checkpoint knows it.
    """

    likelihood_kind: LikelihoodKind = "exact"
    interpolation: Interpolation = "spherical"
    unit: ClassVar[str] = "bits a value"
    initialised: Tensor

    def __init__(self, spec: CouplingFlowSpec, event: Event) -> None:
        super().__init__()
        check(spec, event)
        self.spec, self.event = spec, event
        self.classes = event.classes if spec.conditional else 0
        self.values = math.prod(event.shape)

        def network(inputs: int, outputs: int) -> nn.Module:
            return LabelledNet(
                len(event.shape) - 1,
                inputs,
                outputs,
                width=spec.width,
                blocks=spec.blocks,
                classes=self.classes,
                dropout=spec.dropout,
            )

        self.flow = MultiScale(
            event.shape, scales=spec.scales, steps=spec.steps, classes=self.classes, network=network
        )
        self.register_buffer("initialised", torch.tensor(False))

    def unbounded(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Dequantised images in units of the range, (0, 1) [B, *S], as reals: (logits [B, *S], log |det| [B])."""
        inside = MARGIN + (1 - 2 * MARGIN) * cells
        logits = inside.log() - (-inside).log1p()
        # d logit / d inside = 1 / (inside (1 - inside)), written in softplus of the logit
        log_slope = F.softplus(logits) + F.softplus(-logits) + math.log(1 - 2 * MARGIN)
        return logits, log_slope.flatten(1).sum(dim=1)

    def cells(self, images: Tensor, offset: Tensor | float) -> Tensor:
        """Images of [-1, 1] in (0, 1): the level plus `offset` in [0, 1), over the number of levels."""
        levels = self.event.levels
        return ((images + 1) * ((levels - 1) / 2) + offset) / levels

    def log_density(self, cells: Tensor, labels: Tensor) -> Tensor:
        """The log-density in nats at `cells` of (0, 1) [B, *S], with respect to the unit cube: [B]."""
        x, log_det = self.unbounded(cells)
        z, log_det_flow = self.flow.forward(x, labels)
        return standard_normal(z) + log_det + log_det_flow

    def log_prob(self, images: Tensor, cond: Tensor | None, generator: torch.Generator) -> Tensor:
        """The exact log-density in nats at one uniform draw within the cell of each image [B, *S], times the volume of
        the cell: [B].

        Its mean over draws is a lower bound of the log-probability of the discrete image, as log is concave (Theis et
        al., 2016, equation 3). Raises UserError for images that are not of the data's levels and for wrong labels.
        """
        require_levels(images, self.event.levels)
        return self.dequantised_log_prob(images, self.labels(len(images), cond, images.device), generator)

    def dequantised_log_prob(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.rand(images.shape, generator=generator, dtype=images.dtype).to(images.device)
        cells = self.cells(images, noise)
        if self.training and not self.initialised:
            with torch.no_grad():
                self.flow.initialise(self.unbounded(cells)[0], labels)
                self.initialised.fill_(True)
        return self.log_density(cells, labels) - self.values * math.log(self.event.levels)

    def loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """The negative of `log_prob` in bits a value: [B]."""
        given = self.labels(len(images), labels, images.device)
        return bits_a_value(self.dequantised_log_prob(images, given, generator), self.values)

    def objectives(self) -> tuple[Objective, ...]:
        return (Objective(name="likelihood", loss=self.loss, parameters=self.parameters, unit=self.unit),)

    def encode(self, images: Tensor, cond: Tensor | None) -> Tensor:
        """The latents [B, D], standard normal under the model, of images [B, *S] as the middles of their cells."""
        x, _ = self.unbounded(self.cells(images, 0.5))
        return self.flow.forward(x, self.labels(len(images), cond, images.device))[0]

    def decode(self, latents: Tensor, cond: Tensor | None) -> Tensor:
        """The images [B, *S] of latents [B, D]: the inverse of `encode`, not clamped to [-1, 1]."""
        logits = self.flow.inverse(latents, self.labels(len(latents), cond, latents.device))
        cells = (logits.sigmoid() - MARGIN) / (1 - 2 * MARGIN)
        levels = self.event.levels
        return (cells * levels - 0.5) * (2 / (levels - 1)) - 1

    def sample(
        self, draws: Draws, cond: Tensor | None, sampling: SamplingSpec, watch: Watch | None = None
    ) -> Tensor:
        """Rows [B, *S] from standard normals in one pass backwards, counted as one evaluation a row.

        Raises UserError for guidance and for wrong labels.
        """
        require_no_guidance(sampling)
        images = self.decode(draws.normal("latent", shape=(self.values,)), cond)
        if watch is not None:
            watch.evaluations += len(draws)
        return images.clamp(-1, 1)

    def labels(self, rows: int, cond: Tensor | None, device: torch.device) -> Tensor:
        return labels_of(rows, cond, self.classes, device)


def check(spec: CouplingFlowSpec, event: Event) -> None:
    """Raises UserError for sizes that are not positive and for sides that cannot be halved `scales` times."""
    for name in ("scales", "steps", "width"):
        if getattr(spec, name) < 1:
            raise UserError(f"model.{name}: {getattr(spec, name)} given; a coupling flow needs at least 1")
    sides, multiple = event.shape[1:], 2**spec.scales
    if not sides or any(side % multiple for side in sides):
        raise UserError(
            f"model.scales: {spec.scales} squeezes halve sides that {multiple} divides, not sides of {tuple(sides)}"
        )
