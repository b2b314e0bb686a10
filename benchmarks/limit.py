"""What the machine can do: matrix products and 3x3 convolutions, against which every other figure is held.

python -m benchmarks.limit
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F

from benchmarks import execution_on, run
from benchmarks.report import Report, Timing
from benchmarks.timing import interleaved
from workbench.execution import Execution

BATCH, MATRIX = 128, 1024
SHAPES = ((32, 28), (64, 14), (128, 14))  # channels and side of the convolutions; the quickest is the limit
Pass = Literal["forward", "forward and backward"]
PASSES: tuple[Pass, ...] = ("forward", "forward and backward")


@dataclass(frozen=True, kw_only=True)
class Arguments(Timing):
    """Measure matrix products and 3x3 convolutions in float32 and bf16, forward and backward."""


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Floating point operations a second, two for each multiply-add, of one kind of product."""

    operation: str
    precision: torch.dtype
    passes: Pass
    flops_per_second: float


def rates(execution: Execution, *, rounds: int) -> list[Rate]:
    """The rates of this machine, of the convolutions the best over SHAPES."""
    execution.apply()
    names, cases, flops = [], {}, {}
    for precision in (torch.float32, torch.bfloat16):
        for operation, count, call in _operations(execution.device, precision):
            for passes in PASSES:
                name = f"{operation} {precision} {passes}"
                names.append((name, operation, precision, passes))
                cases[name] = call[passes]
                flops[name] = count * (3 if passes == "forward and backward" else 1)
    seconds = interleaved(cases, rounds=rounds, device=execution.device)
    best: dict[tuple[str, torch.dtype, Pass], float] = {}
    for name, operation, precision, passes in names:
        key = (operation.partition(",")[0], precision, passes)
        best[key] = max(best.get(key, 0.0), flops[name] / seconds[name].median)
    return [
        Rate(operation=key[0], precision=key[1], passes=key[2], flops_per_second=rate)
        for key, rate in best.items()
    ]


def convolution_limit(found: list[Rate], precision: torch.dtype, passes: Pass) -> float:
    """The operations a second of a 3x3 convolution in that precision."""
    return next(
        rate.flops_per_second
        for rate in found
        if (rate.operation, rate.precision, rate.passes) == ("3x3 convolution", precision, passes)
    )


def _operations(
    device: torch.device, precision: torch.dtype
) -> Iterator[tuple[str, int, dict[Pass, Callable[[], object]]]]:
    """Name, operations of a forward pass, and the calls."""
    a, b = (torch.randn(MATRIX, MATRIX, device=device, dtype=precision) for _ in "ab")
    yield "matrix product", 2 * MATRIX**3, _calls(lambda x, w: x @ w, a, b)
    for channels, side in SHAPES:
        x = torch.randn(BATCH, channels, side, side, device=device, dtype=precision)
        w = torch.randn(channels, channels, 3, 3, device=device, dtype=precision) / channels
        x, w = (u.contiguous(memory_format=torch.channels_last) for u in (x, w))
        count = 2 * BATCH * side**2 * channels**2 * 9
        yield f"3x3 convolution, {channels} at {side}", count, _calls(_convolution, x, w)


def _convolution(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return F.conv2d(x, w, padding=1)


def _calls(
    function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], x: torch.Tensor, w: torch.Tensor
) -> dict[Pass, Callable[[], object]]:
    upstream = function(x, w)
    leaves = tuple(u.clone().requires_grad_() for u in (x, w))

    def forward() -> object:
        with torch.no_grad():
            return function(x, w)

    def both() -> object:
        return torch.autograd.grad(function(*leaves), leaves, upstream)

    return {"forward": forward, "forward and backward": both}


def main() -> int:
    """Run the benchmark; returns its exit status."""

    def measure(arguments: Arguments) -> None:
        execution = execution_on(arguments.threads, gpu=arguments.gpu)
        report = Report(
            name="limit",
            title="What the machine can do",
            how="Products at the shapes of the networks here, timed in turn, medians; operations in units of 10^12 a "
            f"second (TFLOP/s), with {execution.threads} CPU threads.",
        )
        for rate in rates(execution, rounds=arguments.rounds):
            report.rows.append(
                {
                    "operation": rate.operation,
                    "precision": str(rate.precision).removeprefix("torch."),
                    "passes": rate.passes,
                    "TFLOP/s": rate.flops_per_second / 1e12,
                }
            )
        report.publish(arguments.out)

    return run(Arguments, measure, name="limit")


if __name__ == "__main__":
    sys.exit(main())
