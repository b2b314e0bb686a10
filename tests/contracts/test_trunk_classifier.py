"""The classifier on a denoiser's trunk: it starts from the trained one, learns in all its parts, and tells classes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from toy import halves

from workbench.execution import Execution
from workbench.models import Event, TrunkClassifier, build
from workbench.nn import BACKBONES
from workbench.nn.cost import feature_sizes
from workbench.nn.pooling import as_read, pooled
from workbench.registry import UserError
from workbench.rng import stream
from workbench.spec import (
    BackboneSpec,
    BudgetSpec,
    DiffusionSpec,
    FitSpec,
    OptimiserSpec,
    TrunkClassifierSpec,
    inner_fits,
)
from workbench.training import fit

DIFFUSION = DiffusionSpec(
    backbone=BackboneSpec(width=32, multipliers=(1,), attention=(True,), patch=2), conditional=False
)
SOURCE = FitSpec(
    model=DIFFUSION,
    budget=BudgetSpec(images_seen=32, batch_size=16),
    optimiser=OptimiserSpec(warmup_images=1),
)
SPEC = TrunkClassifierSpec(diffusion=DIFFUSION, start=SOURCE)
EVENT = Event.of(halves())
EXECUTION = Execution(threads=1)


def made(spec: TrunkClassifierSpec = SPEC) -> TrunkClassifier:
    model = build(spec, EVENT)
    assert isinstance(model, TrunkClassifier)
    return model


def tuning(spec: TrunkClassifierSpec, steps: int) -> FitSpec:
    return replace(
        SOURCE,
        model=spec,
        optimiser=OptimiserSpec(learning_rate=3e-3, warmup_images=32),
        budget=BudgetSpec(images_seen=16 * steps, batch_size=16),
    )


def test_it_takes_the_weights_of_the_denoiser() -> None:
    assert inner_fits(tuning(SPEC, 1)) == (SOURCE,)
    weights = fit(SOURCE, halves(), execution=EXECUTION).weights
    model = made()
    model.adopt([weights])
    for name, value in model.diffusion.state_dict().items():
        assert torch.equal(value, weights[name])


def test_from_scratch_it_needs_no_other_fit() -> None:
    scratch = tuning(replace(SPEC, start=None), 200)
    assert inner_fits(scratch) == ()
    history = fit(scratch, halves(), execution=EXECUTION).history
    assert history[-1]["loss_cross_entropy"] < 0.5 * history[0]["loss_cross_entropy"]


def test_it_reads_activations_normalised_and_bent() -> None:
    model, x = made(), torch.rand(3, 1, 8, 8, generator=stream(0, "rows")) * 2 - 1
    torch.nn.init.normal_(model.head.weight)
    seen: list[torch.Tensor] = []
    model.head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    model.probabilities(x)
    denoiser, t = model.diffusion.preconditioned, torch.tensor(SPEC.time, dtype=torch.float64)
    alpha, _ = denoiser.schedule(t)
    found = denoiser.backbone.features(*denoiser.inputs(float(alpha) * x, t), None, model.layers)
    expected = torch.cat([pooled(as_read(found[name]), SPEC.side) for name in model.layers], dim=1)
    assert torch.allclose(seen[0], expected, atol=1e-5)


def test_the_loss_reaches_the_head_and_every_block() -> None:
    model = made()
    for parameter in model.parameters():  # branches that start at zero hide what is before them
        torch.nn.init.normal_(parameter, std=0.2)
    x = torch.rand(8, 1, 8, 8, generator=stream(0, "rows")) * 2 - 1
    model.loss(x, torch.arange(8) % 2, stream(0, "loss")).mean().backward()
    still = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    # What comes after the last block makes the image, which is not looked at.
    assert {name.rsplit(".", 1)[0].rsplit(".", 1)[-1] for name in still} <= {"norm_out", "conv_out"}


def test_probabilities_are_such_and_do_not_depend_on_chance() -> None:
    model, x = made(), torch.rand(5, 1, 8, 8, generator=stream(0, "rows")) * 2 - 1
    first = model.probabilities(x)
    torch.testing.assert_close(first.sum(1), torch.ones(5))
    assert torch.equal(first, model.probabilities(x))
    with torch.autocast("cpu", torch.bfloat16):
        reduced = model.probabilities(x)
    assert reduced.dtype == torch.float32  # logits of bf16 would be told apart by steps of a hundredth
    torch.testing.assert_close(reduced.sum(1), torch.ones(5), rtol=0, atol=1e-6)
    torch.testing.assert_close(reduced, first, rtol=0.1, atol=0.01)


@pytest.mark.parametrize("name", BACKBONES)
def test_the_sizes_of_features_are_those_that_the_network_gives(name: str) -> None:
    spec = BackboneSpec(name=name, width=32, blocks=2, patch=2)
    net = BACKBONES[name](spec, event_shape=(1, 8, 8), outputs=1, classes=0)
    seen = net.features(torch.zeros(1, 1, 8, 8), torch.zeros(1), None, net.feature_names)
    for side in (1, 4):
        sizes = {one: pooled(seen[one], side).shape[1] for one in net.feature_names}
        assert feature_sizes(net, (1, 8, 8), side) == sizes


def test_weights_that_the_spec_does_not_name_are_refused_and_those_that_it_names_are_needed() -> None:
    weights = made().diffusion.state_dict()
    with pytest.raises(UserError, match=r"model\.start: weights of 0 fits given; 1"):
        made().adopt([])
    with pytest.raises(UserError, match=r"model\.start: weights of 1 fits given; 0"):
        made(replace(SPEC, start=None)).adopt([weights])
    other = replace(SOURCE, model=replace(DIFFUSION, prediction="noise"))
    with pytest.raises(UserError, match=r"model\.start: trains Diffusion, another model"):
        made(replace(SPEC, start=other))


def test_a_noise_level_or_grid_outside_its_range_is_told() -> None:
    with pytest.raises(UserError, match=r"model\.time: 1 given"):
        made(replace(SPEC, time=1.0))
    with pytest.raises(UserError, match=r"model\.side: 0 given"):
        made(replace(SPEC, side=0))
