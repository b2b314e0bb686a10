"""What a trained classifier says of the rows: are the classes balanced, and is each row of the class asked for?"""

from __future__ import annotations

from torch import Tensor


def class_histogram(generated: Tensor, reference: Tensor) -> float:
    """The total variation between the shares of the most probable classes: 1/2 sum_c |p_c - q_c|, in [0, 1].

    `generated` [N, classes] and `reference` [M, classes] are probabilities. The classifier labels both, so that its
    own leanings cancel.
    """
    return float((_shares(generated) - _shares(reference)).abs().sum() / 2)


def recognised(probabilities: Tensor, labels: Tensor) -> float:
    """The share of rows whose most probable class, of `probabilities` [N, classes], is their label; `labels` is [N]."""
    return float((probabilities.argmax(1) == labels).double().mean())


def _shares(probabilities: Tensor) -> Tensor:
    return probabilities.argmax(1).bincount(minlength=probabilities.shape[1]).double() / len(probabilities)
