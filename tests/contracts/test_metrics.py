"""Every measure: exact answers, zero for equal laws within the floor, order along a ladder, second implementations."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from workbench import metrics
from workbench.metrics import Rows, distances, labels, manifold, neighbours
from workbench.registry import UserError
from workbench.rng import stream

PER_EXTRACTOR = [metric for metric in metrics.METRICS.values() if metric.per_extractor]
NEIGHBOUR_MEASURES = [manifold.precision, manifold.recall, manifold.density, manifold.coverage]


def normal(rows: int, width: int, *, seed: int, mean: float = 0.0, std: float = 1.0) -> Tensor:
    return mean + std * torch.randn(rows, width, generator=stream(seed, "test"))


def rows_of(features: Tensor, *, classes: int = 4) -> Rows:
    """Rows whose images are the features themselves, of which the classifier sees the first `classes`."""
    return Rows(
        images=features[:, None, None, :],
        labels=features[:, :classes].argmax(1),
        features={"space": features},
        probabilities=features[:, :classes].softmax(1),
    )


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


class Flat(nn.Module):
    """Images that are features in disguise, as torchmetrics insists on images."""

    num_features = 8

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)


def random_covariance(width: int, seed: int, *, rank: int | None = None) -> Tensor:
    root = normal(width, rank or width, seed=seed).double()
    return root @ root.T


# -- The Frechet distance


def test_frechet_of_gaussians_with_a_common_eigenbasis_has_a_closed_form() -> None:
    basis = torch.linalg.qr(normal(6, 6, seed=0).double()).Q
    std_1, std_2 = torch.arange(1.0, 7.0).double(), torch.tensor([3.0, 0, 1, 1e-6, 10, 6]).double()
    mean_1, mean_2 = torch.zeros(6), torch.arange(6.0)
    covariance_1, covariance_2 = (basis * std.square() @ basis.T for std in (std_1, std_2))
    expected = mean_2.square().sum() + (std_1 - std_2).square().sum()
    found = distances.frechet_of_gaussians(mean_1, covariance_1, mean_2, covariance_2)
    assert found == pytest.approx(float(expected), rel=1e-9)


def test_frechet_of_rotated_gaussians_in_the_plane_has_a_closed_form() -> None:
    # tr (S_1 S_2)^(1/2) of 2 x 2 matrices is sqrt(tr S_1 S_2 + 2 sqrt(det S_1 S_2)), by Cayley and Hamilton.
    one, two = random_covariance(2, 1), random_covariance(2, 2)
    cross = torch.sqrt((one @ two).trace() + 2 * torch.sqrt(torch.det(one) * torch.det(two)))
    expected = one.trace() + two.trace() - 2 * cross
    found = distances.frechet_of_gaussians(torch.zeros(2), one, torch.zeros(2), two)
    assert found == pytest.approx(float(expected), rel=1e-9)


def test_frechet_is_symmetric_and_zero_only_for_equal_moments() -> None:
    x, y = normal(200, 5, seed=1), normal(150, 5, seed=2, mean=0.3)
    assert distances.frechet(x, y) == pytest.approx(distances.frechet(y, x), rel=1e-9)
    assert distances.frechet(x, x.flip(0)) < 1e-9 < distances.frechet(x, y)


def test_frechet_of_singular_covariances() -> None:
    one = random_covariance(20, 1, rank=3)
    assert distances.frechet_of_gaussians(torch.zeros(20), one, torch.zeros(20), one) < 1e-6 * float(
        one.trace()
    )
    assert distances.frechet_of_gaussians(
        torch.zeros(20), one, torch.zeros(20), torch.zeros(20, 20)
    ) == pytest.approx(float(one.trace()))


def test_frechet_agrees_with_torchmetrics() -> None:
    x, y = normal(400, 8, seed=1) @ normal(8, 8, seed=3), normal(300, 8, seed=2, mean=0.5)
    other = FrechetInceptionDistance(feature=Flat())
    other.update(x, real=True)
    other.update(y, real=False)
    assert distances.frechet(x, y) == pytest.approx(float(other.compute()), rel=1e-5)


def test_a_single_feature_is_enough() -> None:
    x = normal(100, 1, seed=0).double()
    expected = float(x.mean() ** 2 + (x.std() - 2 * x.std()) ** 2)
    assert distances.frechet(x, 2 * x) == pytest.approx(expected, rel=1e-9)


# -- The kernel distance


def test_kernel_agrees_with_the_sum_over_pairs() -> None:
    x, y = normal(7, 3, seed=1).double(), normal(5, 3, seed=2, mean=1).double()

    def mean_of_pairs(a: Tensor, b: Tensor, *, same: bool) -> float:
        values = [
            (float(u @ v) / 3 + 1) ** 3
            for i, u in enumerate(a)
            for j, v in enumerate(b)
            if not (same and i == j)
        ]
        return sum(values) / len(values)

    expected = (
        mean_of_pairs(x, x, same=True) + mean_of_pairs(y, y, same=True) - 2 * mean_of_pairs(x, y, same=False)
    )
    assert distances.kernel(x, y) == pytest.approx(expected, rel=1e-9)


def test_kernel_agrees_with_torchmetrics() -> None:
    x, y = normal(60, 8, seed=1), normal(60, 8, seed=2, mean=0.5)
    other = KernelInceptionDistance(feature=Flat(), subsets=1, subset_size=60)
    other.update(x, real=True)
    other.update(y, real=False)
    assert distances.kernel(x, y) == pytest.approx(float(other.compute()[0]), rel=1e-4)


def test_kernel_has_no_bias() -> None:
    draws = [
        distances.kernel(normal(20, 4, seed=2 * seed), normal(20, 4, seed=2 * seed + 1))
        for seed in range(300)
    ]
    assert abs(np.mean(draws)) < 3 * np.std(draws) / math.sqrt(len(draws))


# -- Precision, recall, density, coverage


def brute_force_prdc(
    generated: npt.NDArray[np.float64], reference: npt.NDArray[np.float64], k: int
) -> tuple[float, float, float, float]:
    """The formulas of Naeem et al. (2020) read off one by one, pair by pair."""

    def radii(rows: npt.NDArray[np.float64]) -> list[float]:
        return [
            sorted(math.dist(x, y) for j, y in enumerate(rows) if j != i)[k - 1] for i, x in enumerate(rows)
        ]

    real, fake = radii(reference), radii(generated)
    inside = [[math.dist(x, y) < r for x, r in zip(reference, real, strict=True)] for y in generated]
    inside_fake = [[math.dist(x, y) < r for y, r in zip(generated, fake, strict=True)] for x in reference]
    precision = np.mean([any(row) for row in inside])
    recall = np.mean([any(row) for row in inside_fake])
    density = np.sum(inside) / (k * len(generated))
    coverage = np.mean([any(column) for column in zip(*inside, strict=True)])
    return float(precision), float(recall), float(density), float(coverage)


@pytest.mark.parametrize("sizes", [(30, 30), (17, 41)])
def test_neighbour_measures_agree_with_brute_force(
    sizes: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours.distance_blocks, "__defaults__", (8,))  # so that there are several blocks
    generated, reference = normal(sizes[0], 3, seed=1, mean=0.5), normal(sizes[1], 3, seed=2)
    expected = brute_force_prdc(generated.double().numpy(), reference.double().numpy(), manifold.NEAREST)
    found = tuple(measure(generated, reference) for measure in NEIGHBOUR_MEASURES)
    assert found == pytest.approx(expected, rel=1e-12)


def test_neighbour_measures_tell_what_is_missing() -> None:
    left, right = normal(200, 2, seed=1, mean=-50), normal(200, 2, seed=2, mean=50)
    reference = torch.cat([left, right])
    dropped = normal(400, 2, seed=3, mean=-50)  # half of the data is never drawn, what is drawn is right
    assert manifold.precision(dropped, reference) > 0.9
    assert manifold.recall(dropped, reference) < 0.55
    assert manifold.coverage(dropped, reference) < 0.55
    strayed = torch.cat(
        [normal(400, 2, seed=4, mean=-50), normal(400, 2, seed=5, mean=50), torch.zeros(800, 2)]
    )
    assert manifold.precision(strayed, reference) < 0.55
    assert manifold.recall(strayed, reference) > 0.9


def test_neighbour_measures_ignore_where_the_origin_is() -> None:
    generated, reference = normal(50, 3, seed=1).double(), normal(60, 3, seed=2).double()
    for measure in NEIGHBOUR_MEASURES:
        assert measure(generated + 1e5, reference + 1e5) == measure(generated, reference)


# -- All measures in a feature space


@pytest.mark.parametrize("metric", PER_EXTRACTOR, ids=lambda metric: metric.name)
def test_a_ladder_of_shifts_is_climbed_in_order(metric: metrics.Metric) -> None:
    """Equal laws are within the spread of equal laws; every step away from them is worse than the step before."""
    reference, train = rows_of(normal(400, 6, seed=0)), rows_of(normal(10, 6, seed=1))

    def value(features: Tensor) -> float:
        return metrics.measure((metric.name,), ("space",), rows_of(features), reference, train, 0)[
            f"{metric.name}[space]"
        ]

    equal = [value(normal(400, 6, seed=seed)) for seed in range(10, 20)]
    ladder = [value(normal(400, 6, seed=10, mean=shift)) for shift in (0.0, 0.5, 1.0, 2.0)]
    if metric.direction == "higher":
        equal, ladder = [-v for v in equal], [-v for v in ladder]
    assert ladder == sorted(ladder)
    spread = max(equal) - min(equal)
    assert ladder[0] <= max(equal) and ladder[1] > max(equal)
    assert spread < 0.2 * (ladder[-1] - ladder[0])


@pytest.mark.parametrize("metric", PER_EXTRACTOR, ids=lambda metric: metric.name)
def test_the_order_of_rows_does_not_matter(metric: metrics.Metric) -> None:
    x, y = normal(40, 4, seed=1), normal(50, 4, seed=2)
    generator = stream(0, "unused")
    there = metric.compute(rows_of(x), rows_of(y), rows_of(y), "space", generator)
    back = metric.compute(rows_of(x.flip(0)), rows_of(y.flip(0)), rows_of(y), "space", generator)
    assert there == pytest.approx(back, rel=1e-9)


# -- Measures by the classifier


def test_class_histogram_is_the_share_of_rows_to_move() -> None:
    one_hot = torch.eye(4)
    even = one_hot.repeat(5, 1)
    assert labels.class_histogram(even, even.repeat(3, 1)) == 0
    assert labels.class_histogram(one_hot[[0] * 8], even) == pytest.approx(0.75)
    assert labels.class_histogram(one_hot[[0, 0, 1, 1]], one_hot[[2, 3]]) == 1


def test_recognised_counts_the_rows_of_the_class_asked_for() -> None:
    probabilities = torch.tensor([[0.6, 0.4], [0.1, 0.9], [0.8, 0.2], [0.3, 0.7]])
    assert labels.recognised(probabilities, torch.tensor([0, 1, 1, 1])) == 0.75


# -- measure() and floors()


def test_names_carry_the_feature_space_where_there_is_one() -> None:
    rows = rows_of(normal(30, 6, seed=0))
    found = metrics.measure(tuple(metrics.METRICS), ("space",), rows, rows, rows, 0)
    expected = [f"{m.name}[space]" if m.per_extractor else m.name for m in metrics.METRICS.values()]
    assert list(found) == expected
    assert [metrics.metric_of(name).name for name in expected] == list(metrics.METRICS)
    again = metrics.measure(("kernel", "copy_rate"), ("space",), rows, rows, rows, 0)
    assert again == {name: found[name] for name in ("kernel[space]", "copy_rate")}


def test_floors_look_at_rows_that_were_not_trained_on_where_training_gives_the_answer_away() -> None:
    train, reference, held_out = (rows_of(normal(60, 6, seed=seed)) for seed in range(3))
    found = metrics.floors(tuple(metrics.METRICS), ("space",), train, reference, train, 0)
    assert found["copy_rate"] < 0.2  # the training rows themselves would give 1
    other = metrics.floors(("frechet", "copy_rate"), ("space",), held_out, reference, train, 0)
    assert other["copy_rate"] == found["copy_rate"]
    assert other == {
        **metrics.measure(("frechet",), ("space",), held_out, reference, train, 0),
        **metrics.measure(("copy_rate",), ("space",), reference, reference, train, 0),
    }


def changed(rows: Rows, **fields: object) -> Rows:
    return Rows(**{**vars(rows), **fields})


@pytest.mark.parametrize(
    ("name", "extractor", "spoil", "said"),
    [
        ("frechett", "space", lambda rows: rows, "Did you mean 'frechet'"),
        ("frechet", "spice", lambda rows: rows, "Did you mean 'space'"),
        ("recognised", "space", lambda rows: changed(rows, labels=None), "needs the labels"),
        (
            "class_histogram",
            "space",
            lambda rows: changed(rows, probabilities=None),
            "need a trained classifier",
        ),
        ("precision", "space", lambda rows: rows_of(rows.images[:5, 0, 0]), "at least 6 generated rows"),
        ("frechet", "space", lambda rows: rows_of(rows.images[:1, 0, 0]), "at least 2 generated rows"),
        ("recognised", "space", lambda rows: rows_of(rows.images[:0, 0, 0]), "at least 1 generated rows"),
        ("kernel", "space", lambda rows: changed(rows, images=rows.images * math.nan), "20 of 20 generated"),
    ],
)
def test_one_clear_line(name: str, extractor: str, spoil: Callable[[Rows], Rows], said: str) -> None:
    rows = rows_of(normal(20, 6, seed=0))
    with pytest.raises(UserError) as error:
        metrics.measure((name,), (extractor,), spoil(rows), rows, rows, 0)
    assert said in one_line(error)


def test_too_few_reference_and_training_rows() -> None:
    rows, few = rows_of(normal(20, 6, seed=0)), rows_of(normal(2, 6, seed=0))
    with pytest.raises(UserError, match="at least 6 reference rows, and there are 2"):
        metrics.measure(("coverage",), ("space",), rows, few, rows, 0)
    with pytest.raises(UserError, match="at least 3 training rows, and there are 2"):
        metrics.measure(("copy_rate",), (), rows, rows, few, 0)
