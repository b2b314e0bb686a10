"""Flows in use: they learn, go on where they were, and refuse what is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_flows import EVENT, LABELS, SPECS, Flow, Spec, flow, levels
from torch import Tensor

from workbench.data import Dataset, Split
from workbench.execution import Execution
from workbench.flows import ActNorm
from workbench.models import (
    CouplingFlow,
    Event,
    build,
    restore,
)
from workbench.registry import UserError
from workbench.rng import Draws, stream
from workbench.spec import (
    BudgetSpec,
    FitSpec,
    OptimiserSpec,
    SamplingSpec,
    with_fields,
)
from workbench.training import fit


def test_training_sets_every_actnorm_once() -> None:
    model = flow("coupling", std=0.0).train()
    assert isinstance(model, CouplingFlow)
    seen: list[Tensor] = []
    layers = [module for module in model.modules() if isinstance(module, ActNorm)]
    for layer in layers:
        layer.register_forward_hook(lambda module, inputs, output: seen.append(output[0].detach()))
    images, labels = levels(64), torch.arange(64) % 3
    model.loss(images, labels, stream(0, "first"))
    for z in seen[-len(layers) :]:  # of the pass after the initialisation
        channels = z.transpose(0, 1).flatten(1)
        torch.testing.assert_close(channels.mean(1), torch.zeros(len(channels)).double(), rtol=0, atol=1e-9)
        torch.testing.assert_close(channels.std(1, correction=0), torch.ones(len(channels)).double())
    before = [layer.shift.clone() for layer in layers]
    model.loss(levels(8), labels[:8], stream(0, "second"))
    assert all(torch.equal(layer.shift, value) for layer, value in zip(layers, before, strict=True))


def toy() -> Dataset:
    """Two kinds of images: the left or the right half is bright."""
    labels = torch.arange(16) % 2
    images = torch.zeros(16, 1, 4, 4, dtype=torch.uint8)
    images[labels == 0, :, :, :2] = 16
    images[labels == 1, :, :, 2:] = 16
    split = Split(images, labels)
    return Dataset("toy", 17, ("a", "b"), split, split, split)


def training(spec: Spec, steps: int) -> FitSpec:
    return FitSpec(
        model=spec,
        optimiser=OptimiserSpec(learning_rate=3e-3, warmup_images=32),
        budget=BudgetSpec(images_seen=16 * steps, batch_size=16),
        ema_halflife_images=32,
    )


@pytest.mark.parametrize("name", SPECS)
def test_a_flow_overfits_one_batch(name: str) -> None:
    data, spec = toy(), training(SPECS[name], 200)
    fitted = fit(spec, data, execution=Execution(threads=1))
    first, last = (fitted.history[at]["loss_likelihood"] for at in (0, -1))
    assert last < first - 1.0, (first, last)
    model = restore(spec.model, Event.of(data), fitted.weights)
    assert isinstance(model, Flow)
    with torch.no_grad():
        rows = model.sample(Draws(seed=0, start=0, stop=20), torch.arange(20) % 2, SamplingSpec())
    left = rows[..., :2].mean((1, 2, 3)) - rows[..., 2:].mean((1, 2, 3))
    assert float(left[::2].mean()) > 1 and float(left[1::2].mean()) < -1


@pytest.mark.parametrize("name", SPECS)
def test_a_continued_flow_is_the_straight_one(name: str, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def kill(path: Path) -> None:
        saved.append(path)
        if len(saved) == 3:
            raise Killed

    saved: list[Path] = []
    spec, file = training(replace(SPECS[name], dropout=0.2), 6), tmp_path / "checkpoint.safetensors"
    straight = fit(spec, toy(), execution=Execution(threads=1))
    execution = Execution(threads=1)
    with pytest.raises(Killed):
        fit(spec, toy(), execution=execution, checkpoint=file, checkpoint_seconds=0.0, on_checkpoint=kill)
    continued = fit(spec, toy(), execution=execution, checkpoint=file)
    assert continued.weights.keys() == straight.weights.keys()
    assert all(torch.equal(continued.weights[label], value) for label, value in straight.weights.items())


@pytest.mark.parametrize(
    ("name", "fields", "words"),
    [
        ("coupling", {"scales": 3}, r"model.scales: 3 .*\(4, 4\)"),
        ("coupling", {"scales": 0}, "at least 1"),
        ("coupling", {"steps": 0}, "model.steps"),
        ("autoregressive", {"patch": 3}, r"model.patch: 3 .*\(4, 4\)"),
        ("autoregressive", {"width": 40}, "multiple of 32"),
        ("autoregressive", {"noise_std": 0.0}, "model.noise_std"),
        ("autoregressive", {"blocks": 0}, "model.blocks"),
    ],
    ids=str,
)
def test_a_wrong_spec_is_told_in_one_line(name: str, fields: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        build(with_fields(SPECS[name], fields), EVENT)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", SPECS)
def test_wrong_use_is_told(name: str) -> None:
    model, generator = flow(name), stream(0, "x")
    with pytest.raises(UserError, match="none of the 17 levels"):
        model.log_prob(levels(4) + 0.03, LABELS, generator)
    with pytest.raises(UserError, match="none given for 4 rows"):
        model.log_prob(levels(4), None, generator)
    with pytest.raises(UserError, match="knows 0 to 2"):
        model.log_prob(levels(4), LABELS + 1, generator)
    with pytest.raises(UserError, match="guidance: 2"):
        model.sample(Draws(seed=0, start=0, stop=4), LABELS, SamplingSpec(guidance=2.0))
