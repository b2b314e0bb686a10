"""Readouts: exact where classes are apart, at chance where labels say nothing, and never told of test rows."""

from __future__ import annotations

import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from workbench.data import load, to_float
from workbench.recognition.probes import PROBES, accuracy, choose, fit_probe
from workbench.recognition.readouts import Neighbours, Standardised, logistic, principal
from workbench.registry import UserError
from workbench.rng import stream
from workbench.spec import DataSpec

CLASSES = 3
every_probe = pytest.mark.parametrize("name", PROBES)


def rows_of(count: int, *, apart: float, name: str = "rows", dimensions: int = 6) -> tuple[Tensor, Tensor]:
    """Balanced classes whose means lie `apart` deviations along axes of their own, in units that differ."""
    labels = torch.arange(count) % CLASSES
    means = apart * torch.eye(CLASSES, dimensions)
    noise = torch.randn(count, dimensions, generator=stream(0, name))
    return (means[labels] + noise) * torch.logspace(-2, 2, dimensions) + 5, labels


@every_probe
def test_classes_that_are_apart_are_told_apart(name: str) -> None:
    (train, labels), (validation, truth), (test, answers) = (
        rows_of(count, apart=12, name=part)
        for part, count in (("train", 120), ("validation", 30), ("test", 300))
    )
    fitted = fit_probe(name, train, labels, validation, truth, CLASSES, 0)
    assert fitted.validation_accuracy == 1.0
    assert accuracy(fitted.probe(test), answers) == 1.0


@every_probe
def test_labels_that_say_nothing_leave_chance(name: str) -> None:
    (train, labels), (validation, truth), (test, answers) = (
        rows_of(count, apart=0, name=part)
        for part, count in (("train", 300), ("validation", 900), ("test", 900))
    )
    fitted = fit_probe(name, train, labels, validation, truth, CLASSES, 0)
    deviation = (2 / 9 / 900) ** 0.5
    assert abs(accuracy(fitted.probe(test), answers) - 1 / CLASSES) < 3 * deviation
    assert abs(fitted.validation_accuracy - 1 / CLASSES) < 4 * deviation  # the best of a few


@every_probe
def test_one_seed_gives_one_probe_and_rows_do_not_see_each_other(name: str) -> None:
    train, labels = rows_of(90, apart=1.5, name="train")
    validation, truth = rows_of(60, apart=1.5, name="validation")
    first, second = (fit_probe(name, train, labels, validation, truth, CLASSES, 4) for _ in range(2))
    assert first.choice == second.choice
    assert torch.equal(first.probe(validation), second.probe(validation))
    beside = torch.cat([validation[:5], 1e3 * rows_of(50, apart=0, name="test")[0]])
    assert torch.allclose(first.probe(beside)[:5], second.probe(validation)[:5], atol=1e-5)
    assert first.validation_accuracy == accuracy(first.probe(validation), truth)


def test_the_linear_probe_is_the_logistic_regression_of_standardised_rows() -> None:
    train, labels = rows_of(300, apart=1.5)
    for classes in (2, 3):
        some = labels < classes
        rows, answers = train[some], labels[some]
        standard = (rows - rows.mean(0)) / rows.std(0, correction=0)
        expected = LogisticRegression(C=0.1).fit(standard, answers).predict_proba(standard)
        found = logistic(rows, answers, 0.1)(rows).softmax(1)
        assert torch.allclose(found.double(), torch.from_numpy(expected).double(), atol=5e-3)


def test_neighbours_vote_by_their_angle_and_the_nearer_ones_break_ties() -> None:
    train = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [-2.0, -1.1]])  # mean zero
    labels = torch.tensor([0, 1, 1, 2])
    among = Neighbours.of(train, labels, 3)
    nearest = among.nearest(torch.tensor([[100.0, 2.0]]), 3)
    assert nearest.tolist() == [[0, 1, 2]]
    assert [int(among.scores(nearest[:, :count]).argmax()) for count in (1, 2, 3)] == [0, 0, 1]


def test_standardising_follows_training_rows_and_drops_constants() -> None:
    train, _ = rows_of(50, apart=1)
    train[:, 2] = 0.3
    standard = Standardised.of(train)
    seen = standard(train)
    assert seen.mean(0).abs().max() < 1e-4
    assert torch.allclose(
        seen.std(0, correction=0), torch.ones(6).index_fill(0, torch.tensor([2]), 0), atol=1e-4
    )
    assert float(standard(train + 1)[:, 2].abs().max()) == 0


def test_principal_components_keep_the_most_variance() -> None:
    train, _ = rows_of(80, apart=2)
    transform = principal(train.reshape(80, 1, 2, 3), 2)
    expected = torch.from_numpy(PCA(2).fit_transform(train.numpy())).float()
    assert torch.allclose(transform(train.reshape(80, 1, 2, 3)).abs(), expected.abs(), rtol=1e-3, atol=1e-3)
    assert torch.allclose(transform(train[:3]), transform(train)[:3])
    with pytest.raises(UserError, match="components: 7 given; 80 rows of 6 values have 1 to 6"):
        principal(train, 7)


def test_the_cell_that_knows_is_chosen_and_of_equals_the_surer_one() -> None:
    labels, truth = torch.arange(90) % CLASSES, torch.arange(30) % CLASSES
    noise = (torch.randn(90, 6, generator=stream(0, "a")), torch.randn(30, 6, generator=stream(0, "b")))
    knows = rows_of(90, apart=12, name="train")[0], rows_of(30, apart=12, name="validation")[0]
    surer = rows_of(90, apart=24, name="train")[0], rows_of(30, apart=24, name="validation")[0]
    cells = (("noise", *noise), ("knows", *knows), ("surer", *surer))
    for order in (cells, cells[::-1]):
        chosen, table = choose(order, labels, truth, CLASSES)
        assert chosen == "surer"
        assert table["knows"] == table["surer"] == 1.0 and table["noise"] < 0.7


def test_rows_of_the_choice_alone_decide_it() -> None:
    # A probe is chosen on validation: labels there that prefer more neighbours get more neighbours.
    train, labels = rows_of(300, apart=2.0, name="train")
    validation, truth = rows_of(600, apart=2.0, name="validation")
    smooth = fit_probe("knn", train, labels, validation, truth, CLASSES, 0)
    exact = fit_probe("knn", train, labels, train, labels, CLASSES, 0)
    assert smooth.choice == 20 and exact.choice == 1


def test_a_readout_of_real_digits() -> None:
    digits = load(DataSpec())
    train, validation, test = (
        to_float(split.images, digits.levels).flatten(1)
        for split in (digits.train, digits.validation, digits.test)
    )
    for name, least in (("logistic", 0.95), ("knn", 0.92), ("mlp", 0.96)):
        fitted = fit_probe(name, train, digits.train.labels, validation, digits.validation.labels, 10, 0)
        assert accuracy(fitted.probe(test), digits.test.labels) > least, name


def test_mistakes_are_told() -> None:
    train, labels = rows_of(30, apart=1)
    with pytest.raises(UserError, match="Did you mean 'logistic'"):
        fit_probe("logistics", train, labels, train, labels, CLASSES, 0)
    some = labels < 2
    with pytest.raises(
        UserError, match=r"labels: 2 of 3 classes are among the 20 training rows, missing \[2\]"
    ):
        fit_probe("knn", train[some], labels[some], train, labels, CLASSES, 0)
    with pytest.raises(UserError, match=r"features: \(30, 6\) given with 29 labels"):
        fit_probe("knn", train, labels[1:], train, labels, CLASSES, 0)
    with pytest.raises(UserError, match="validation: features"):
        fit_probe("knn", train, labels, train[:, 1:], labels, CLASSES, 0)
    with pytest.raises(UserError, match="cells: none given"):
        choose((), labels, labels, CLASSES)
