"""Measures of a model itself, on a family whose likelihood is known."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pipelines import probes
from pipelines.axes import WITHOUT_FLOOR
from workbench.data import load
from workbench.execution import Execution
from workbench.models import DiffusionModel, Event, GenerativeModel, Objective, Watch, build
from workbench.models.base import LikelihoodKind
from workbench.nn import Backbone
from workbench.nn.layers import zeroed
from workbench.registry import UserError
from workbench.rng import Draws
from workbench.spec import BackboneSpec, DataSpec, DiffusionSpec, SamplingSpec, ScheduleSpec

DATA = load(DataSpec())
CPU = Execution()


class Blank(GenerativeModel):
    """Draws grey images and tells no likelihood."""

    def __init__(self) -> None:
        super().__init__()
        self.event, self.classes = Event.of(DATA), 0

    def objectives(self) -> tuple[Objective, ...]:
        return ()

    def sample(
        self, draws: Draws, cond: Tensor | None, sampling: SamplingSpec, watch: Watch | None = None
    ) -> Tensor:
        return torch.zeros(draws.stop - draws.start, *self.event.shape)


class Uniform(Blank):
    """All grey levels are equally probable."""

    likelihood_kind: LikelihoodKind = "exact"

    def log_prob(self, images: Tensor, cond: Tensor | None, generator: torch.Generator) -> Tensor:
        values = math.prod(images.shape[1:])
        return torch.full((len(images),), -values * math.log(self.event.levels))


def test_uniform_levels_take_the_logarithm_of_their_number() -> None:
    found, tags = probes.take(["bits_per_dim"], Uniform(), DATA, SamplingSpec(), CPU)
    assert found["quality/bits_per_dim"] == pytest.approx(math.log2(DATA.levels))
    assert set(tags.values()) == {"exact"}


def test_the_ode_estimates_what_it_bounds() -> None:
    """Of a network that says zero, whose rows are normal of the deviation that the denoiser assumes."""
    spec = DiffusionSpec(backbone=BackboneSpec(width=32, multipliers=(1,), attention=(False,)))
    model = CPU.place(build(spec, Event.of(DATA)).eval())
    assert isinstance(model, DiffusionModel) and isinstance(model.preconditioned.backbone, Backbone)
    zeroed(model.preconditioned.backbone.last)
    found, _ = probes.take(["bits_per_dim", "ode_bits_per_dim"], model, DATA, SamplingSpec(), CPU)
    bound, estimate = found["quality/bits_per_dim"], found["quality/ode_bits_per_dim"]
    assert estimate == pytest.approx(bound, abs=0.1)
    steps = replace(spec, schedule=ScheduleSpec(timesteps=10), prediction="noise")
    assert not probes.take(["ode_bits_per_dim"], build(steps, Event.of(DATA)), DATA, SamplingSpec(), CPU)[0]


def test_a_family_without_a_likelihood_has_none() -> None:
    found, tags = probes.take(["bits_per_dim", "single_seconds"], Blank(), DATA, SamplingSpec(), CPU)
    assert list(found) == ["cost/single_seconds"] and not tags
    assert 0 < found["cost/single_seconds"] < 1


def test_what_charts_offer_is_what_can_be_probed() -> None:
    assert set(probes.PROBES) <= set(WITHOUT_FLOOR)


def test_an_unknown_probe_is_told() -> None:
    with pytest.raises(UserError, match=r"probes.*bits_per_dim"):
        probes.take(["bits_per_dims"], Blank(), DATA, SamplingSpec(), CPU)
