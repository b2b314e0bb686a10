"""A convolutional classifier: the workbench's own judge of samples, trained like any other fit."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.models.base import Event, Model, Objective
from workbench.nn.layers import ChannelNorm, convolution, in_float32
from workbench.registry import UserError, unknown
from workbench.spec import ClassifierSpec

SMOOTHING = 0.05  # of the labels


class Classifier(Model):
    """Two stages of two 3x3 convolutions, each halving the resolution, then `features` rectified units and the logits.

    Trained with cross-entropy on images shifted by up to `shift_pixels` and labels smoothed by 5 %.
    """

    def __init__(self, spec: ClassifierSpec, event: Event) -> None:
        super().__init__()
        if spec.name != "cnn":
            raise unknown("model.name", spec.name, ("cnn",))
        channels, sides = event.shape[0], event.shape[1:]
        if min(sides) < 4:
            raise UserError(
                f"model: the classifier halves each side twice; sides of {sides} are below 4 pixels"
            )
        self.event, self.shift = event, spec.shift_pixels
        rank, widths = len(sides), (spec.width, 2 * spec.width)
        layers: list[nn.Module] = []
        for width in widths:
            layers += [convolution(rank, channels, width, 3), ChannelNorm(width), nn.ReLU()]
            layers += [convolution(rank, width, width, 3), ChannelNorm(width), nn.ReLU()]
            layers += [(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)[rank - 1](2)]
            channels = width
        flat = widths[-1]
        for side in sides:
            flat *= side // 4
        self.trunk = nn.Sequential(
            *layers, nn.Flatten(), nn.Dropout(spec.dropout), nn.Linear(flat, spec.features), nn.ReLU()
        )
        self.head = nn.Linear(spec.features, event.classes)

    def features(self, images: Tensor) -> Tensor:
        """The penultimate layer: images [N, *S] in [-1, 1] -> [N, D]."""
        out: Tensor = self.trunk(images)
        return out.float()

    def probabilities(self, images: Tensor) -> Tensor:
        """Class probabilities: images [N, *S] in [-1, 1] -> [N, classes]."""
        return in_float32(self.head, self.features(images)).softmax(dim=1)

    def loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Cross-entropy in nats: [B]."""
        logits = self.head(self.trunk(shifted(images, self.shift, generator)))
        return F.cross_entropy(logits.float(), labels, label_smoothing=SMOOTHING, reduction="none")

    def objectives(self) -> tuple[Objective, ...]:
        return (Objective(name="cross_entropy", loss=self.loss, parameters=self.parameters, unit="nats"),)


def shifted(images: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """The batch [B, C, *S] moved by the same random whole number of pixels along each side, edges repeated.

    One shift a batch keeps it a view of one padded copy; over a fit each image sees every shift.
    """
    rank = images.ndim - 2
    padded = F.pad(images, (pixels, pixels) * rank, mode="replicate")
    for axis, side in enumerate(images.shape[2:], start=2):
        start = int(torch.randint(0, 2 * pixels + 1, (), generator=generator))
        padded = padded.narrow(axis, start, side)
    return padded
