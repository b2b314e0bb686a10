"""Classifiers by Bayes' rule: they agree with the exact one where it is known, and pay for what is undecided alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from workbench.diffusion.denoiser import Denoiser
from workbench.diffusion.schedule import schedule_from
from workbench.execution import Execution
from workbench.models import DiffusionModel, Event, GenerativeModel, Objective, Watch, build
from workbench.models.base import LikelihoodKind
from workbench.recognition.bayes import (
    bound_classifier,
    density_classifier,
    error_classifier,
    van_der_corput,
)
from workbench.registry import UserError
from workbench.rng import Draws, normal_rows
from workbench.shapes import over_rows
from workbench.spec import BackboneSpec, DiffusionSpec, SamplingSpec, ScheduleSpec

EXECUTION = Execution(threads=1)
STD, DIMENSIONS = 0.5, 8
MEANS = normal_rows(3, "class means", start=0, stop=4, shape=(DIMENSIONS,)) * 0.6


class Gaussians(Denoiser):
    """The exact denoiser of four Gaussians of one deviation, each the class that its label names."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule = schedule_from(ScheduleSpec())

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        assert cond is not None
        alpha, sigma = (over_rows(c, x_t).to(x_t.dtype) for c in self.schedule(t))
        mean = MEANS.to(x_t.dtype)[cond]
        gain = alpha * STD**2 / (alpha**2 * STD**2 + sigma**2)
        return mean + gain * (x_t - alpha * mean)


def rows(count: int = 200) -> tuple[Tensor, Tensor]:
    """Rows of the four classes in turn, and the label that the exact densities give them."""
    labels = torch.arange(count) % len(MEANS)
    x = MEANS[labels] + STD * normal_rows(4, "rows", start=0, stop=count, shape=(DIMENSIONS,))
    return x, torch.cdist(x, MEANS).argmin(1)


def clear(x: Tensor, margin: float = 0.5) -> Tensor:
    """Rows whose two nearest classes differ clearly in their log-density."""
    densities = -torch.cdist(x, MEANS).square() / (2 * STD**2)
    best = densities.topk(2, dim=1).values
    return best[:, 0] - best[:, 1] > margin


def test_with_many_pairs_it_is_the_exact_classifier_away_from_the_boundaries() -> None:
    x, exact = rows()
    found = error_classifier(
        Gaussians(), x, classes=len(MEANS), draws=256, seed=0, execution=EXECUTION, keep=math.inf
    )
    sure = clear(x)
    assert sure.float().mean() > 0.7
    assert (found.labels == exact)[sure].float().mean() > 0.97
    assert found.evaluations == len(MEANS) * 256


def test_more_pairs_agree_better() -> None:
    x, exact = rows(400)
    found = error_classifier(
        Gaussians(), x, classes=len(MEANS), draws=128, seed=0, execution=EXECUTION, keep=math.inf
    )
    agreement = [float((point.labels == exact).float().mean()) for point in found.curve]
    assert agreement[-1] > agreement[0] + 0.03
    assert [point.pairs for point in found.curve] == [1, 2, 4, 8, 16, 32, 64, 128]


def test_dropping_labels_saves_evaluations_and_changes_few_answers() -> None:
    x, _ = rows()

    def decided(keep: float):
        return error_classifier(
            Gaussians(), x, classes=len(MEANS), draws=64, seed=0, execution=EXECUTION, keep=keep
        )

    whole, pruned = decided(math.inf), decided(2.0)
    assert pruned.evaluations < 0.7 * whole.evaluations
    assert (pruned.labels == whole.labels).float().mean() > 0.97


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    x, _ = rows(300)
    one = error_classifier(Gaussians(), x, classes=len(MEANS), draws=16, seed=0, execution=EXECUTION)
    other = error_classifier(Gaussians(), x[:7], classes=len(MEANS), draws=16, seed=0, execution=EXECUTION)
    assert torch.equal(one.labels[:7], other.labels)


def test_the_first_points_of_the_sequence_cover_the_interval_evenly() -> None:
    points = van_der_corput(64)
    for power in range(7):
        cells = (points[: 1 << power] * (1 << power)).long()
        assert sorted(cells.tolist()) == list(range(1 << power))


class Guess(GenerativeModel):
    """A family whose density is the label, and the noise that it was given."""

    likelihood_kind: LikelihoodKind = "bound"

    def __init__(self) -> None:
        super().__init__()
        self.event, self.classes = Event(shape=(1, 8, 8), classes=3, levels=17, std=0.7), 3

    def log_prob(self, images: Tensor, cond: Tensor | None, generator: torch.Generator) -> Tensor:
        assert cond is not None
        return torch.randn(len(images), generator=generator) + cond

    def objectives(self) -> tuple[Objective, ...]:
        return ()

    def sample(
        self, draws: Draws, cond: Tensor | None, sampling: SamplingSpec, watch: Watch | None = None
    ) -> Tensor:
        return draws.normal("guess", shape=self.event.shape)


def test_a_density_is_asked_of_each_label_at_the_same_noise() -> None:
    found = density_classifier(Guess(), torch.zeros(5, 1, 8, 8), seed=0, execution=EXECUTION)
    torch.testing.assert_close(found - found[:, :1], torch.arange(3.0).expand(5, 3))
    assert found[:, 0].std() > 0.1


def test_what_cannot_classify_is_told() -> None:
    event = Event(shape=(1, 8, 8), classes=3, levels=17, std=0.7)
    spec = DiffusionSpec(
        backbone=BackboneSpec(width=32, multipliers=(1,), attention=(False,)), conditional=False
    )
    model = build(spec, event)
    assert isinstance(model, DiffusionModel)
    with pytest.raises(UserError, match="unconditional DiffusionModel; a classifier needs"):
        bound_classifier(model, torch.zeros(2, 1, 8, 8), draws=2, seed=0, execution=EXECUTION)
    for draws, keep, words in ((0, 3.0, "draws: 0"), (2, 0.0, "keep: 0.0")):
        with pytest.raises(UserError, match=words):
            error_classifier(
                Gaussians(), rows(4)[0], classes=4, draws=draws, seed=0, execution=EXECUTION, keep=keep
            )
