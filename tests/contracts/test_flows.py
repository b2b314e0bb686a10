"""Flows: what goes in comes out, log-determinants are those of autograd, densities integrate to one."""

from __future__ import annotations

import math

import pytest
import torch
from small_flows import LABELS, SPECS, Flow, flow, levels
from torch import Tensor, nn

from workbench.flows import ActNorm, Bijection, CausalAffine, InvertibleConvolution, LabelAffine
from workbench.levels import rounding_log_prob
from workbench.models import (
    AutoregressiveFlow,
    CouplingFlow,
    Event,
    HasLatent,
    HasLikelihood,
    Watch,
)
from workbench.nn.causal import CausalTransformer
from workbench.rng import Draws, stream
from workbench.spec import (
    SamplingSpec,
)


def entered(model: Flow, images: Tensor) -> Tensor:
    """What the bijection of the model is given for images."""
    if isinstance(model, CouplingFlow):
        return model.unbounded(model.cells(images, 0.3))[0]
    return model.patches(images)


@pytest.mark.parametrize("name", SPECS)
def test_the_inverse_undoes_the_flow(name: str) -> None:
    model = flow(name)
    with torch.no_grad():
        x = entered(model, levels(4))
        z, _ = model.flow(x, LABELS)
        assert not torch.allclose(z.flatten(1), x.flatten(1), atol=0.1)
        torch.testing.assert_close(model.flow.inverse(z, LABELS), x, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", SPECS)
def test_the_log_determinant_is_that_of_autograd(name: str) -> None:
    model = flow(name)
    x = entered(model, levels(4))
    _, log_det = model.flow(x, LABELS)
    for row in range(4):
        one, label = x[row : row + 1], LABELS[row : row + 1]

        def flat(u: torch.Tensor, label: torch.Tensor = label) -> torch.Tensor:
            return model.flow(u, label)[0].flatten()

        jacobian = torch.autograd.functional.jacobian(flat, one)
        expected = torch.linalg.slogdet(jacobian.reshape(16, 16)).logabsdet
        torch.testing.assert_close(log_det[row], expected, rtol=0, atol=1e-8)


def test_the_log_determinant_of_the_logit() -> None:
    model = flow("coupling")
    assert isinstance(model, CouplingFlow)
    cells = torch.rand(1, 1, 4, 4, generator=stream(0, "cells"), dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda u: model.unbounded(u)[0], cells).reshape(16, 16)
    torch.testing.assert_close(model.unbounded(cells)[1][0], torch.linalg.slogdet(jacobian).logabsdet)


@pytest.mark.parametrize("name", SPECS)
def test_the_density_integrates_to_one_in_two_dimensions(name: str) -> None:
    event = Event(shape=(1, 2), classes=2, levels=256, std=0.5)
    fields = {"scales": 1, "steps": 3} if name == "coupling" else {"patch": 1}
    model = flow(name, event, std=0.2 if name == "coupling" else 0.07, **fields)
    # The coupling flow's density lives on a box, a little wider than the unit cube; the other's on the plane.
    edges = (-0.05 / 0.9, 1 + 0.05 / 0.9) if name == "coupling" else (-9.0, 9.0)
    cells = 160
    width = (edges[1] - edges[0]) / cells
    middles = edges[0] + width * (torch.arange(cells, dtype=torch.float64) + 0.5)
    points = torch.cartesian_prod(middles, middles)[:, None]
    with torch.no_grad():
        density = model.log_density(points, torch.ones(len(points), dtype=torch.long)).exp()
    assert float(density.std() / density.mean()) > 0.1
    assert float(density.sum()) * width**2 == pytest.approx(1.0, abs=2e-3)


def test_a_fresh_coupling_flow_is_a_normal_law_of_logits() -> None:
    """Rotations leave a standard normal law as it is, so that the closed form is that of the logits alone."""
    model, images = flow("coupling", std=0.0), levels(4)
    assert isinstance(model, CouplingFlow)
    noise = torch.rand(images.shape, generator=stream(0, "dequantise"), dtype=torch.float64)
    inside = 0.05 + 0.9 * ((images + 1) * 8 + noise) / 17
    logits = torch.logit(inside)
    log_p = torch.distributions.Normal(0.0, 1.0).log_prob(logits) + (0.9 / (inside * (1 - inside)) / 17).log()
    found = model.log_prob(images, LABELS, stream(0, "dequantise"))
    torch.testing.assert_close(found, log_p.flatten(1).sum(1))


def test_a_fresh_autoregressive_flow_is_a_normal_law_of_noisy_images() -> None:
    """With noise far below the spacing, the rounding is certain and the bound is log p(y) + entropy of the noise."""
    model, images = flow("autoregressive", std=0.0, noise_std=1e-3), levels(4)
    noise = torch.randn(images.shape, generator=stream(0, "noise"), dtype=torch.float64)
    normal = torch.distributions.Normal(0.0, 1.0)
    expected = normal.log_prob(images + 1e-3 * noise) - normal.log_prob(noise) + math.log(1e-3)
    found = model.log_prob(images, LABELS, stream(0, "noise"))
    torch.testing.assert_close(found, expected.flatten(1).sum(1))


def test_the_bound_of_the_autoregressive_flow_lies_below_the_exact_value() -> None:
    """One value, standard normal noisy images: P(level) is an integral over y of p(y) P(level | y)."""
    event = Event(shape=(1, 1), classes=1, levels=5, std=0.5)
    model = flow("autoregressive", event, std=0.0, patch=1, noise_std=0.4)
    y = torch.linspace(-8, 8, 8_001, dtype=torch.float64)[:, None, None]
    p = torch.distributions.Normal(0.0, 1.0).log_prob(y).exp().flatten()
    total, gaps = 0.0, []
    for value in torch.linspace(-1, 1, 5, dtype=torch.float64):
        image = value.expand(5_000, 1, 1)
        rounding = rounding_log_prob(value.expand_as(y), y, 0.4, 5).exp()
        exact = float((p * rounding).sum() * 16 / 8_000)
        with torch.no_grad():
            bound = model.log_prob(image, torch.zeros(5_000, dtype=torch.long), stream(0, "bound"))
        gaps.append(math.log(exact) - float(bound.mean()))
        assert -4 * float(bound.std()) / math.sqrt(5_000) < gaps[-1] < 0.2
        total += exact
    assert min(gaps[0], gaps[-1]) > 0.005  # where the noise of training is least the posterior
    assert total == pytest.approx(1.0, abs=1e-6)


def test_kept_keys_and_values_change_nothing() -> None:
    """The inverse with a cache is the one that runs the whole block again for each token."""
    model = flow("autoregressive", blocks=1)
    block = model.flow.parts[0]
    assert isinstance(block, CausalAffine)
    z = model.patches(torch.randn(4, 1, 4, 4, generator=stream(0, "z"), dtype=torch.float64))
    with torch.no_grad():
        x = torch.zeros_like(z)
        for token in range(z.shape[1]):
            mean, log_scale = block.affine(x, LABELS)
            x[:, token] = z[:, token] * log_scale[:, token].exp() + mean[:, token]
        torch.testing.assert_close(block.inverse(z, LABELS), x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("cut", [1, 3])
def test_a_transformer_goes_on_from_its_cache(cut: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = CausalTransformer(32, 2).double()
        for parameter in net.parameters():
            nn.init.normal_(parameter, std=0.2)
    x = torch.randn(2, 5, 32, generator=stream(0, "x"), dtype=torch.float64)
    with torch.no_grad():
        whole, _ = net(x)
        first, cache = net(x[:, :cut])
        second, _ = net(x[:, cut:], cache)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)


@pytest.mark.parametrize("backwards", [False, True])
def test_a_block_sees_only_what_came_before(backwards: bool) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        block = CausalAffine(
            tokens=5, token_width=2, width=32, layers=2, classes=0, dropout=0.0, backwards=backwards
        )
        for parameter in block.parameters():
            nn.init.normal_(parameter, std=0.2)
    x = torch.randn(1, 5, 2, generator=stream(0, "x"))
    label = torch.zeros(1, dtype=torch.long)

    def map_of(x: Tensor) -> Tensor:
        z: Tensor = block(x, label)[0]
        return z[0]

    depends = torch.autograd.functional.jacobian(map_of, x)[:, :, 0].abs().sum(dim=(1, 3)) > 0  # [5, 5]
    expected = torch.ones(5, 5, dtype=torch.bool)
    assert torch.equal(depends, expected.triu() if backwards else expected.tril())


def test_actnorm_is_set_from_the_first_batch() -> None:
    x = 3 + 2 * torch.randn(50, 4, 6, generator=stream(0, "x")) * torch.tensor([0.1, 1.0, 5.0, 1.0])[:, None]
    layer = ActNorm(4)
    z = layer.initialise(x, torch.zeros(50, dtype=torch.long))
    torch.testing.assert_close(z.mean(dim=(0, 2)), torch.zeros(4), rtol=0, atol=1e-5)
    torch.testing.assert_close(z.std(dim=(0, 2), correction=0), torch.ones(4))
    torch.testing.assert_close(layer(x, torch.zeros(50, dtype=torch.long))[0], z)


@pytest.mark.parametrize(
    "layer", [InvertibleConvolution(5), LabelAffine((5, 3), 3)], ids=["convolution", "label"]
)
def test_a_fresh_layer_keeps_lengths(layer: Bijection) -> None:
    x = torch.randn(4, 5, 3, generator=stream(0, "x"))
    z, log_det = layer(x, LABELS)
    torch.testing.assert_close(z.square().sum((1, 2)), x.square().sum((1, 2)))
    torch.testing.assert_close(log_det, torch.zeros(4), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", SPECS)
def test_a_row_does_not_depend_on_the_batch(name: str) -> None:
    model = flow(name).float()
    cond, watch = torch.arange(70) % 3, Watch()
    with torch.no_grad():
        whole = model.sample(Draws(seed=0, start=0, stop=70), cond, SamplingSpec(), watch)
        part = model.sample(Draws(seed=0, start=62, stop=67), cond[62:67], SamplingSpec())
    torch.testing.assert_close(part, whole[62:67], rtol=0, atol=1e-4)
    assert float(whole.std(dim=0).min()) > 0.01
    assert watch.evaluations == 70 * model.evaluations(SamplingSpec())
    assert model.evaluations(SamplingSpec()) == (1 if name == "coupling" else 2 * 4 + 1)


def test_latents_come_back() -> None:
    model, images = flow("coupling"), levels(4)
    assert isinstance(model, HasLatent) and isinstance(model, HasLikelihood)
    with torch.no_grad():
        latents = model.encode(images, LABELS)
        assert latents.shape == (4, 16)
        torch.testing.assert_close(model.decode(latents, LABELS), images, rtol=0, atol=1e-9)


def test_denoising_takes_the_mean_of_the_clean_image() -> None:
    """A fresh flow says y is standard normal; the clean image is then normal of variance 1 - noise_std^2 around 0."""
    model = flow("autoregressive", std=0.0)
    assert isinstance(model, AutoregressiveFlow)
    noisy = torch.randn(4, 1, 4, 4, generator=stream(0, "y"), dtype=torch.float64)
    torch.testing.assert_close(model.denoised(noisy, LABELS), (1 - 0.2**2) * noisy)


@pytest.mark.parametrize("name", SPECS)
def test_reduced_precision_is_for_the_networks_alone(name: str) -> None:
    """Under autocast the log-density stays in float32, and a fresh flow, whose networks say nothing, is unchanged."""
    model, images = flow(name, std=0.0).float(), levels(4).float()
    plain = model.log_prob(images, LABELS, stream(0, "noise"))
    with torch.autocast("cpu", torch.bfloat16):
        reduced = model.log_prob(images, LABELS, stream(0, "noise"))
    assert reduced.dtype == torch.float32
    torch.testing.assert_close(reduced, plain, rtol=1e-6, atol=1e-4)
