"""What a backbone consists of: its parts in the order in which they are computed, with the cost of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from workbench.nn import backbone
from workbench.spec import BackboneSpec


@dataclass(frozen=True, kw_only=True)
class Part:
    """A block of a network: the `shape` of what it puts out for one row, [C, *S] of an image and [P, C] of tokens, its
    trained `parameters`, and its `flops` for one row, as `Cost` counts them. `skip` names the earlier part whose output
    it takes in besides that of the part before it, empty where there is none."""

    name: str
    shape: tuple[int, ...]
    parameters: int
    flops: int
    skip: str = ""


def parts_of(
    spec: BackboneSpec, *, event_shape: tuple[int, ...], outputs: int, classes: int
) -> tuple[Part, ...]:
    """The parts of the network of `spec`; their parameters and FLOPs add up to those of `cost_of`.

    No memory is taken: shapes alone. Raises UserError as `backbone` does.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    with torch.device("meta"):
        net = backbone(spec, event_shape=event_shape, outputs=outputs, classes=classes)
        parts = dict(_parts(net, ""))

        def keep(name: str, output: Tensor) -> None:
            shapes[name] = tuple(output.shape[1:])

        for name, part in parts.items():
            part.register_forward_hook(lambda module, inputs, output, name=name: keep(name, output))
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            net(torch.empty(1, *event_shape), torch.empty(1))
    counts, whole = counter.get_flop_counts(), type(net).__name__
    sources = {target: source for source, target in net.skips}
    return tuple(
        Part(
            name=name,
            shape=shape,
            parameters=sum(p.numel() for p in parts[name].parameters()),
            flops=sum(counts.get(f"{whole}.{name}", {}).values()),
            skip=sources.get(name, ""),
        )
        for name, shape in shapes.items()  # in the order of the calls
    )


def _parts(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    """The children by their dotted names, those in lists one by one."""
    for name, child in module.named_children():
        if isinstance(child, nn.ModuleList):
            yield from _parts(child, f"{prefix}{name}.")
        else:
            yield prefix + name, child
