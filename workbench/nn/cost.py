"""What a backbone costs, counted on the network itself without computing anything, and widths of equal cost."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch.utils.flop_counter import FlopCounterMode

from workbench.nn import Backbone, backbone
from workbench.nn.pooling import pooled
from workbench.registry import UserError
from workbench.spec import BackboneSpec

LARGEST_WIDTH = 4096


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Trained `parameters`, and the `flops` of one evaluation of one row: two for each multiplication and addition of a
    matrix product or convolution, as torch counts them; pointwise work and norms are left out."""

    parameters: int
    flops: int


def cost_of(spec: BackboneSpec, *, event_shape: tuple[int, ...], outputs: int, classes: int) -> Cost:
    """The cost of the network of `spec`. Raises UserError as `backbone` does. No memory is taken: shapes alone."""
    with torch.device("meta"):
        net = backbone(spec, event_shape=event_shape, outputs=outputs, classes=classes)
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            net(torch.empty(1, *event_shape), torch.empty(1))
    return Cost(parameters=sum(p.numel() for p in net.parameters()), flops=counter.get_total_flops())


def feature_sizes(net: Backbone, event_shape: tuple[int, ...], side: int) -> dict[str, int]:
    """How many values each block's activations are, averaged to a grid of `side` cells a side, in the order of the
    network. Nothing is computed."""
    twin = copy.deepcopy(net).to("meta")
    with torch.device("meta"), torch.no_grad():
        found = twin.features(torch.empty(1, *event_shape), torch.empty(1), None, twin.feature_names)
        return {name: pooled(found[name], side).shape[1] for name in twin.feature_names}


def matched(
    spec: BackboneSpec,
    *,
    event_shape: tuple[int, ...],
    outputs: int,
    classes: int,
    parameters: int | None = None,
    flops: int | None = None,
    step: int = 32,
    blocks: Iterable[int] = (),
) -> BackboneSpec:
    """`spec` with the width, a multiple of `step`, whose cost is nearest in ratio to `parameters` or to `flops`.

    With `blocks`, the nearest over these numbers of blocks as well, the first of equals. Raises UserError unless
    exactly one target is given, and for a target that no width up to 4096 reaches.
    """
    if (parameters is None) == (flops is None):
        raise UserError(f"matched: parameters {parameters} and flops {flops} given; one of the two is needed")
    measure, target = ("parameters", parameters) if flops is None else ("flops", flops)
    assert target is not None

    def gap(candidate: BackboneSpec) -> float:
        cost = cost_of(candidate, event_shape=event_shape, outputs=outputs, classes=classes)
        return math.log(getattr(cost, measure) / target)

    best: tuple[float, BackboneSpec] | None = None
    for count in tuple(blocks) or (spec.blocks,):
        below, above = 0, 1  # in steps; cost grows with width
        while gap(replace(spec, width=above * step, blocks=count)) < 0:
            below, above = above, 2 * above
            if above * step > LARGEST_WIDTH:
                raise UserError(f"matched: {measure} {target} is beyond a width of {LARGEST_WIDTH}")
        while above - below > 1:
            middle = (below + above) // 2
            if gap(replace(spec, width=middle * step, blocks=count)) < 0:
                below = middle
            else:
                above = middle
        for steps in filter(None, (below, above)):
            candidate = replace(spec, width=steps * step, blocks=count)
            distance = abs(gap(candidate))
            if best is None or distance < best[0]:
                best = distance, candidate
    assert best is not None
    return best[1]
