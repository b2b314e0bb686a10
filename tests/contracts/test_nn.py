"""Every backbone: any number of spatial axes, gradient to every parameter, conditions that count, patches that fold."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from workbench.nn import BACKBONES, backbone
from workbench.nn.layers import ChannelNorm, SelfAttention
from workbench.nn.unet import fold, pad, unfold
from workbench.rng import stream
from workbench.spec import BackboneSpec

SHAPES = [(2, 9), (1, 8, 8), (3, 7, 5), (1, 4, 4, 4)]


def network(name: str, shape: tuple[int, ...], outputs: int = 2) -> nn.Module:
    spec = BackboneSpec(name=name, width=32, multipliers=(1, 2), blocks=1, attention=(False, True), patch=2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = backbone(spec, event_shape=shape, outputs=outputs, classes=3)
        for parameter in net.parameters():  # leave the identity of the start, so that every branch counts
            nn.init.normal_(parameter, std=0.1)
    return net


def inputs(shape: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    generator = stream(0, "inputs")
    return (
        torch.randn(4, *shape, generator=generator),
        torch.randn(4, generator=generator),
        torch.tensor([0, 1, 2, 3]),
    )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", BACKBONES)
def test_every_parameter_gets_a_gradient(name: str, shape: tuple[int, ...]) -> None:
    net = network(name, shape)
    out = net(*inputs(shape))
    assert out.shape == (4, 2, *shape[1:])
    out.square().sum().backward()
    for label, parameter in net.named_parameters():
        assert parameter.grad is not None, label
        assert float(parameter.grad.abs().sum()) > 0, label


@pytest.mark.parametrize("name", BACKBONES)
def test_conditions_count_and_rows_are_apart(name: str) -> None:
    net, (x, level, labels) = network(name, (1, 8, 8)), inputs((1, 8, 8))
    with torch.no_grad():
        out = net(x, level, labels)
        assert not torch.allclose(net(x, level + 1, labels), out, atol=1e-3)
        assert not torch.allclose(net(x, level, labels.roll(1)), out, atol=1e-3)
        torch.testing.assert_close(net(x[:2], level[:2], labels[:2]), out[:2], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(net(x, level, torch.full((4,), 3)), net(x, level, None))


@pytest.mark.parametrize("name", BACKBONES)
def test_a_fresh_network_says_nothing(name: str) -> None:
    spec = BackboneSpec(name=name)
    net = backbone(spec, event_shape=(1, 8, 8), outputs=1, classes=0)
    x, level, _ = inputs((1, 8, 8))
    assert not net(x, level).any()


@pytest.mark.parametrize("shape", [(2, 8), (2, 8, 6), (1, 4, 6, 2)], ids=str)
def test_unfold_undoes_fold(shape: tuple[int, ...]) -> None:
    x, _, _ = inputs(shape)
    folded = fold(x, 2)
    assert folded.shape == (4, shape[0] * 2 ** len(shape[1:]), *(side // 2 for side in shape[1:]))
    assert torch.equal(unfold(folded, 2), x)


def test_patches_are_local() -> None:
    x = torch.zeros(1, 1, 4, 4)
    x[0, 0, 2, 3] = 1
    assert fold(x, 2)[0, :, 1, 1].sum() == 1


def test_pad_repeats_the_edge() -> None:
    x, _, _ = inputs((1, 7, 5))
    padded = pad(x, 4)
    assert padded.shape == (4, 1, 8, 8)
    assert torch.equal(padded[..., 7, :5], x[..., 6, :])


def test_channel_norm_is_layer_norm_of_each_position() -> None:
    x, _, _ = inputs((6, 5, 4))
    normed = ChannelNorm(6)(x)
    torch.testing.assert_close(normed.mean(1), torch.zeros(4, 5, 4), rtol=0, atol=1e-6)
    torch.testing.assert_close(normed.var(1, correction=0), torch.ones(4, 5, 4), rtol=0, atol=1e-3)


def test_attention_commutes_with_permutations_of_positions() -> None:
    layer, (x, _, _) = SelfAttention(32), inputs((32, 9))
    nn.init.normal_(layer.out.weight, std=0.1)
    order = torch.randperm(9, generator=stream(0, "order"))
    torch.testing.assert_close(layer(x[..., order]), layer(x)[..., order], rtol=1e-4, atol=1e-5)
