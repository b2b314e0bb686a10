"""Feature spaces by name, and the pass over many rows that fills them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from workbench import rng
from workbench.metrics.rows import Rows, blocks
from workbench.registry import UserError, look_up

Extractor = Callable[[Tensor], Tensor]

_BATCH_ROWS = 500
_GAIN = 8.0  # brings the standard deviation of the features of real images in [-1, 1] near one


class Classifier(Protocol):
    """What the feature space `cnn` needs of a trained model, for images float [N, C, H, W] in [-1, 1]."""

    def features(self, images: Tensor) -> Tensor:
        """The features before the last layer, [N, D]."""

    def probabilities(self, images: Tensor) -> Tensor:
        """The probabilities of the classes, [N, classes]."""


class RandomConv(nn.Module):
    """An untrained convolutional network with fixed random weights: float [N, C, H, W] in [-1, 1] to [N, features].

    Three levels of 3 x 3 convolutions and ReLU; each level's means over the four quarters of the image, and all of them
    through one random projection with orthonormal rows. It has seen no data, so it shares no leaning with a trained
    classifier. Every filter sums to zero over its input, so that flat regions and the background say nothing.
    Source: Naeem et al. (2020), section 3.2, evaluate generative models on the features of random networks.
    """

    def __init__(self, channels: int, *, width: int = 16, features: int = 64, seed: int = 0) -> None:
        super().__init__()
        generator = rng.stream(seed, "random_conv")
        widths = (channels, width, 2 * width, 4 * width)
        self.filters = nn.ParameterList(
            nn.Parameter(_zero_mean_filters(inputs, outputs, generator), requires_grad=False)
            for inputs, outputs in itertools.pairwise(widths)
        )
        pooled = torch.randn(4 * sum(widths[1:]), features, generator=generator)
        self.projection = nn.Parameter(_GAIN * torch.linalg.qr(pooled).Q, requires_grad=False)

    def forward(self, images: Tensor) -> Tensor:
        """Features [N, features] of `images` [N, C, H, W]."""
        levels = []
        hidden = images.to(self.projection)  # its device and type
        for level, filters in enumerate(self.filters):
            padded = nn.functional.pad(hidden, (1, 1, 1, 1), mode="replicate")  # zeros would draw an edge
            hidden = nn.functional.conv2d(padded, filters, stride=1 if level == 0 else 2).relu()
            levels.append(nn.functional.adaptive_avg_pool2d(hidden, 2).flatten(1))
        return torch.cat(levels, 1) @ self.projection


def _zero_mean_filters(inputs: int, outputs: int, generator: torch.Generator) -> Tensor:
    filters = torch.randn(outputs, inputs, 3, 3, generator=generator)
    filters -= filters.mean((1, 2, 3), keepdim=True)
    return filters * math.sqrt(2 / (9 * inputs))  # keeps the mean square through a ReLU (He et al., 2015)


def cnn(channels: int, classifier: Classifier | None) -> Extractor:
    """The penultimate features of the trained classifier. Raises UserError when none is given."""
    if classifier is None:
        raise UserError("extractors: 'cnn' needs a trained classifier, and none is given.")
    return classifier.features


def random_conv(channels: int, classifier: Classifier | None) -> Extractor:
    """The fixed random network for images of that many channels; it needs no classifier."""
    return RandomConv(channels)


EXTRACTORS: dict[str, Callable[[int, Classifier | None], Extractor]] = {
    "cnn": cnn,
    "random_conv": random_conv,
}


def extract(images: Tensor, extractor: Extractor, batch: int = _BATCH_ROWS) -> Tensor:
    """`extractor` over `images` [N, C, H, W] in batches of at most `batch` rows, without gradients: float32
    [N, D], CPU."""
    with torch.no_grad():
        return torch.cat([extractor(rows).float().cpu() for rows in blocks(images, batch)])


def describe(
    images: Tensor,
    labels: Tensor | None,
    *,
    extractors: Sequence[str],
    classifier: Classifier | None,
    batch: int = _BATCH_ROWS,
) -> Rows:
    """Everything that measures look at, of `images` float [N, C, H, W] in [-1, 1] and `labels` int64 [N].

    `images` are on the device of `classifier`. Raises UserError for an unknown extractor, and for `cnn` without a
    classifier.
    """
    channels = images.shape[1]
    named = {name: look_up(EXTRACTORS, name, "extractors")(channels, classifier) for name in extractors}
    return Rows(
        images=images.float().cpu(),
        labels=labels,
        features={name: extract(images, extractor, batch) for name, extractor in named.items()},
        probabilities=None if classifier is None else extract(images, classifier.probabilities, batch),
    )
