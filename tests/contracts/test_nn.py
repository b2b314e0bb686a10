"""Every backbone: any number of spatial axes, gradient to every parameter, conditions that count, patches that fold."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from workbench.nn import BACKBONES, Backbone, backbone
from workbench.nn.convnext import DepthwiseConvolution
from workbench.nn.isotropic import AdaptiveResidual
from workbench.nn.layers import ChannelNorm, SelfAttention, zeroed
from workbench.nn.patches import fold, unfold
from workbench.nn.transformer import Residual
from workbench.nn.unet import ResidualBlock, pad
from workbench.registry import UserError
from workbench.rng import stream
from workbench.spec import BackboneSpec, with_fields

SHAPES = [(2, 9), (1, 8, 8), (3, 7, 5), (1, 4, 4, 4)]


def network(name: str, shape: tuple[int, ...], outputs: int = 2) -> Backbone:
    patch = 2 if name.startswith("unet") or math.gcd(*shape[1:]) % 2 == 0 else 1
    spec = BackboneSpec(name=name, width=32, blocks=2, patch=patch)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = backbone(spec, event_shape=shape, outputs=outputs, classes=3)
        for parameter in net.parameters():  # leave the identity of the start, so that every branch counts
            parameter.data += 0.1 * torch.randn_like(parameter)
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
def test_fresh_branches_are_the_identity_and_the_last_layer_is_not_zero(name: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = backbone(
            BackboneSpec(name=name, patch=2, blocks=2), event_shape=(1, 8, 8), outputs=1, classes=0
        )
    seen = []

    def look(module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        seen.append(
            torch.equal(module.skip(given[0]) if isinstance(module, ResidualBlock) else given[0], out)
        )

    for module in net.modules():
        if isinstance(module, (ResidualBlock, SelfAttention, Residual, AdaptiveResidual)):
            module.register_forward_hook(look)
    x, level, _ = inputs((1, 8, 8))
    out = net(x, level)
    assert len(seen) > 3 and all(seen)
    assert 0.1 < float(out.std()) < 1

    zeroed(net.last)
    assert not net(x, level).any()


@pytest.mark.parametrize("name", BACKBONES)
def test_features_are_what_forward_computes(name: str) -> None:
    net, given = network(name, (1, 8, 8)), inputs((1, 8, 8))
    seen: dict[str, Tensor] = {}
    with torch.no_grad():
        net(*given, seen.__setitem__)
        assert tuple(seen) == net.feature_names
        last = net.feature_names[-1]
        found = net.features(*given, names=[last])
        assert set(found) == {last}
        assert torch.equal(found[last], seen[last])
        block = net.get_submodule(last)  # a feature bears the name of the block that computes it
        handle = block.register_forward_hook(lambda module, args, out: out * 0)
        assert not net.features(*given, names=[last])[last].any()
        handle.remove()
        behind: list[str] = []  # what is computed behind the block that was asked for
        for later in net.feature_names[1:]:
            net.get_submodule(later).register_forward_hook(lambda *_, name=later: behind.append(name))
        first = net.feature_names[0]
        assert torch.equal(net.features(*given, names=[first])[first], seen[first]) and not behind
    assert all(feature.shape[0] == 4 and feature.ndim == 4 for feature in seen.values())
    with pytest.raises(UserError, match="nowhere"):
        net.features(*given, names=["nowhere"])


@pytest.mark.parametrize("name", BACKBONES)
def test_places_count(name: str) -> None:
    """A network without positions would commute with every permutation of the patches; a plain image tells."""
    net, (_, level, labels) = network(name, (1, 8, 8)), inputs((1, 8, 8))
    with torch.no_grad():
        out = net(torch.ones(4, 1, 8, 8), level, labels)
    patches = fold(out, 2).flatten(2)
    assert float(patches.std(dim=2).mean()) > 1e-3 * float(patches.std())


@pytest.mark.parametrize("name", ["dit", "uvit"])
def test_without_positions_a_transformer_commutes_with_permutations(name: str) -> None:
    net, (x, level, labels) = network(name, (1, 16)), inputs((1, 16))
    order = torch.randperm(8, generator=stream(0, "order"))
    moved = unfold(fold(x, 2)[..., order], 2)
    with torch.no_grad():
        assert not torch.allclose(
            fold(net(moved, level, labels), 2), fold(net(x, level, labels), 2)[..., order], atol=1e-2
        )
        net.places.zero_()
        torch.testing.assert_close(
            fold(net(moved, level, labels), 2),
            fold(net(x, level, labels), 2)[..., order],
            rtol=1e-3,
            atol=1e-4,
        )


@pytest.mark.parametrize("name", ["unet", "convnext"])
def test_convolutions_see_their_neighbourhood_alone(name: str) -> None:
    """One level without attention: the value at one end of a long row changes nothing beyond the receptive field."""
    spec = BackboneSpec(name=name, blocks=1, multipliers=(1,), attention=(False,))
    net = backbone(spec, event_shape=(1, 64), outputs=1, classes=0)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.1, generator=stream(0, "weights"))
    # 3 blocks of 2 convolutions and one at each end, of 3; one block with a convolution of 5.
    radius = {"unet": 8, "convnext": 2}[name]
    x = torch.zeros(1, 1, 64, requires_grad=True)
    net(x, torch.zeros(1))[0, 0, 32].backward()
    assert x.grad is not None
    (reached,) = x.grad[0, 0].nonzero(as_tuple=True)
    assert (int(reached.min()), int(reached.max())) == (32 - radius, 32 + radius)


@pytest.mark.parametrize("name", ["dit", "uvit", "convnext", "mixer"])
def test_a_patch_that_does_not_divide_is_told(name: str) -> None:
    with pytest.raises(UserError, match=r"patch: 3 .* 8 x 8.*1, 2, 4, 8"):
        backbone(BackboneSpec(name=name, patch=3), event_shape=(1, 8, 8), outputs=1, classes=0)


@pytest.mark.parametrize("name", ["unet_transformer", "dit", "uvit"])
def test_heads_that_do_not_divide_are_told(name: str) -> None:
    with pytest.raises(UserError, match="multiple of 32"):
        backbone(BackboneSpec(name=name, width=40), event_shape=(1, 8, 8), outputs=1, classes=0)


@pytest.mark.parametrize("field", ["width", "blocks", "patch"])
def test_a_network_has_an_extent(field: str) -> None:
    with pytest.raises(UserError, match=rf"{field}: 0"):
        backbone(with_fields(BackboneSpec(), {field: 0}), event_shape=(1, 8, 8), outputs=1, classes=0)


@pytest.mark.parametrize("name", BACKBONES)
def test_bf16_agrees(name: str) -> None:
    net, given = network(name, (1, 8, 8)), inputs((1, 8, 8))
    with torch.no_grad():
        exact = net(*given)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = net(*given).float()
    assert float((rounded - exact).std() / exact.std()) < 0.1


def test_depthwise_convolutions_stay_exact_in_bf16() -> None:
    layer, h = DepthwiseConvolution(4, (3, 3)), torch.randn(2, 9, 4)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = layer(h)
    assert torch.equal(rounded, layer(h))


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
