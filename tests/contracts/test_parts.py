"""The parts of a backbone: nothing is lost between them, and they say of themselves what a forward pass does."""

from __future__ import annotations

import pytest
import torch

from workbench.nn import BACKBONES, backbone
from workbench.nn.cost import cost_of
from workbench.nn.parts import parts_of
from workbench.spec import BackboneSpec

EVENT = {"event_shape": (1, 12, 12), "outputs": 2, "classes": 10}
SPEC = {"width": 32, "blocks": 2, "patch": 2}
ATTENDING = (False, True)


@pytest.mark.parametrize("blocks", [1, 2, 5])
@pytest.mark.parametrize("name", BACKBONES)
def test_parts_add_up_to_the_whole_network(name: str, blocks: int) -> None:
    spec = BackboneSpec(name=name, width=32, blocks=blocks, patch=2, attention=ATTENDING)
    parts, whole = parts_of(spec, **EVENT), cost_of(spec, **EVENT)
    assert sum(part.flops for part in parts) == whole.flops
    assert sum(part.parameters for part in parts) == whole.parameters
    assert len({part.name for part in parts}) == len(parts)


@pytest.mark.parametrize("name", BACKBONES)
def test_parts_have_the_shapes_and_the_order_of_the_features(name: str) -> None:
    spec = BackboneSpec(name=name, **SPEC, attention=ATTENDING)
    net = backbone(spec, **EVENT)
    found = net.features(torch.zeros(1, 1, 12, 12), torch.zeros(1), None, net.feature_names)
    shapes = {part.name: part.shape for part in parts_of(spec, **EVENT)}
    assert [part for part in shapes if part in found] == list(net.feature_names)
    for feature, activation in found.items():
        channels, positions = activation.shape[1], activation[0, 0].numel()
        if len(shapes[feature]) == 3:
            assert shapes[feature] == tuple(activation.shape[1:])
        else:  # tokens, with those of the condition
            assert shapes[feature][1] == channels and 0 <= shapes[feature][0] - positions <= 2


@pytest.mark.parametrize("name", BACKBONES)
def test_a_skip_brings_the_output_of_the_part_that_it_names(name: str) -> None:
    spec = BackboneSpec(name=name, **SPEC, attention=ATTENDING)
    net = backbone(spec, **EVENT)
    for parameter in net.parameters():  # no two blocks may put out the same by chance
        torch.nn.init.normal_(parameter, std=0.3)
    sources, targets = {}, {}
    for source, target in net.skips:
        net.get_submodule(source).register_forward_hook(lambda m, i, o, key=source: sources.update({key: o}))
        net.get_submodule(target).register_forward_hook(
            lambda m, i, o, key=target: targets.update({key: i[0]})
        )
    net(torch.randn(2, 1, 12, 12), torch.zeros(2))
    for source, target in net.skips:
        taken, given = targets[target], sources[source]
        axis = 1 if taken.ndim == 4 else 2
        behind = taken.shape[axis] - given.shape[axis]
        assert behind > 0
        assert torch.equal(taken.narrow(axis, behind, given.shape[axis]), given)
    assert {part.name: part.skip for part in parts_of(spec, **EVENT) if part.skip} == {
        target: source for source, target in net.skips
    }


def test_u_nets_and_u_vits_alone_have_skips() -> None:
    having = {
        name
        for name in BACKBONES
        if backbone(BackboneSpec(name=name, **SPEC, attention=ATTENDING), **EVENT).skips
    }
    assert having == {"unet", "unet_transformer", "uvit"}
