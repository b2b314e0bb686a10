"""The feature spaces: fixed, batched without a trace, and told apart what a measure must tell apart."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from workbench.data import load, to_float
from workbench.metrics import EXTRACTORS, METRICS, RandomConv, Rows, describe, extract, measure
from workbench.registry import UserError
from workbench.rng import stream
from workbench.spec import DataSpec


class Linear:
    """A classifier that anyone can check: its features are the first pixels."""

    def features(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, :6]

    def probabilities(self, images: Tensor) -> Tensor:
        return self.features(images)[:, :3].softmax(1)


def images(rows: int, channels: int = 1, side: int = 8) -> Tensor:
    return torch.rand(rows, channels, side, side, generator=stream(0, "test")) * 2 - 1


@pytest.mark.parametrize("shape", [(1, 8), (1, 28), (3, 32), (2, 5)])
def test_random_features_are_fixed_and_of_one_width(shape: tuple[int, int]) -> None:
    rows = images(6, *shape)
    torch.manual_seed(1)
    first = RandomConv(shape[0])(rows)
    torch.manual_seed(2)
    assert torch.equal(first, RandomConv(shape[0])(rows)) and first.shape == (6, 64)
    assert not torch.allclose(first, RandomConv(shape[0], seed=1)(rows))
    assert not any(weight.requires_grad for weight in RandomConv(shape[0]).parameters())


def test_random_features_are_silent_on_flat_images() -> None:
    flat = torch.tensor([-1.0, 0.0, 0.7])[:, None, None, None].expand(3, 1, 8, 8)
    assert RandomConv(1)(flat).abs().max() < 1e-4 * RandomConv(1)(images(3)).abs().mean()


@pytest.mark.parametrize("name", EXTRACTORS)
def test_the_batch_size_leaves_no_trace(name: str) -> None:
    rows = images(23)
    extractor = EXTRACTORS[name](1, Linear())
    whole = extract(rows, extractor, 23)
    assert whole.dtype == torch.float32 and not whole.requires_grad
    assert torch.allclose(extract(rows, extractor, 5), whole, atol=1e-5)


def test_describe_holds_everything_that_measures_look_at() -> None:
    rows = describe(images(12), torch.zeros(12).long(), extractors=tuple(EXTRACTORS), classifier=Linear())
    assert set(measure(tuple(METRICS), tuple(EXTRACTORS), rows, rows, rows, 0)) == {
        f"{metric.name}[{name}]" for metric in METRICS.values() if metric.per_extractor for name in EXTRACTORS
    } | {metric.name for metric in METRICS.values() if not metric.per_extractor}


def test_the_trained_space_needs_a_classifier_and_the_random_one_does_not() -> None:
    rows = describe(images(4), None, extractors=("random_conv",), classifier=None)
    assert rows.probabilities is None and rows.labels is None
    with pytest.raises(UserError, match="'cnn' needs a trained classifier"):
        describe(images(4), None, extractors=("cnn",), classifier=None)
    with pytest.raises(UserError, match="Did you mean 'random_conv'"):
        describe(images(4), None, extractors=("randomconv",), classifier=None)


@pytest.mark.parametrize("name", ["frechet", "kernel"])
def test_random_features_rank_damage_to_real_digits(name: str) -> None:
    digits = load(DataSpec(name="digits"))
    reference = described(to_float(digits.test.images, 17))
    real = to_float(digits.train.images[:500], 17)
    noise = torch.randn(real.shape, generator=stream(0, "noise"))

    def value(rows: Tensor) -> float:
        return measure((name,), ("random_conv",), described(rows), reference, reference, 0)[
            f"{name}[random_conv]"
        ]

    ladder = [value(real + level * noise) for level in (0.0, 0.2, 0.4, 0.8)]
    assert ladder == sorted(ladder) and ladder[1] > 1.2 * ladder[0]
    assert value(real.flip(3)) > 2 * ladder[0]  # digits in the mirror have equal pixels and are no digits
    assert value(real[:50].repeat(10, 1, 1, 1)) > 2 * ladder[0]  # a tenth of the variety


def described(rows: Tensor) -> Rows:
    return describe(rows, None, extractors=("random_conv",), classifier=None)
