"""Where and how precisely something is computed: the device, the arithmetic, the threads. Never part of a spec."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import math
import resource
import sys
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import nn

_Module = TypeVar("_Module", bound=nn.Module)

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # options of mallopt(3)
KEPT_BYTES = (
    256 << 20
)  # the least that brings all of the gain; a process holds up to so much more than it uses
BATCH_VALUES = 200_000  # a batch of images of about this many values is quickest on a CPU


def batch_rows(shape: tuple[int, ...], rows: int) -> int:
    """How many of `rows` rows of `shape` to put through a network at a time: equal batches of the quickest size."""
    most = max(32, BATCH_VALUES // math.prod(shape))
    return -(-rows // -(-rows // most))


def has_fast_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies bf16 matrices faster than float32 ones."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or has_amx())


def has_amx() -> bool:
    """Whether the CPU multiplies bf16 matrices in tiles."""
    # Asked in private, as above: the public `torch.cpu.get_capabilities` may be missing in the oldest torch allowed.
    return bool(torch.cpu._is_amx_tile_supported())


@functools.cache
def keep_freed_memory() -> bool:
    """Let this process use freed blocks of up to KEPT_BYTES again; returns whether its C library can be told so.

    glibc maps each block above 32 MiB anew and gives it back when freed, so that the kernel clears every page of large
    activations again and again (gains: `benchmarks/results/memory.md`).
    """
    if sys.platform != "linux" or not hasattr(libc := ctypes.CDLL(None), "mallopt"):
        return False
    return all(libc.mallopt(option, KEPT_BYTES) for option in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD))


@dataclass(frozen=True, kw_only=True)
class Execution:
    """`device` in torch's words, `precision` of the network's arithmetic, CPU `threads` (0: leave as they are)."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: torch.dtype = torch.float32
    threads: int = 0

    @classmethod
    def best(cls, *, threads: int = 0, gpu: bool = False) -> Execution:
        """bf16 where the processor or GPU has it, float32 elsewhere."""
        device = torch.device("cuda" if gpu and torch.cuda.is_available() else "cpu")
        return cls(
            device=device,
            precision=torch.bfloat16 if has_fast_bf16(device) else torch.float32,
            threads=threads,
        )

    def apply(self) -> None:
        """Set the number of CPU threads of this process, and how it keeps memory."""
        keep_freed_memory()
        if self.threads:
            torch.set_num_threads(self.threads)

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """The context in which a network is trained: float32 weights, products in `precision`."""
        reduced = self.precision != torch.float32
        return torch.autocast(self.device.type, self.precision) if reduced else contextlib.nullcontext()

    def place(self, module: _Module) -> _Module:
        """The module on the device, in channels_last memory: what convolutions in bf16 want on CPU and GPU alike."""
        # As a mapping: torch takes both at once, one copy instead of two, but none of its annotated overloads does.
        where: dict[str, Any] = {"device": self.device, "memory_format": torch.channels_last}
        return module.to(**where)


def peak_memory_bytes(device: torch.device) -> int:
    """The most memory that this process has held so far: on the GPU for a CUDA device, resident set otherwise."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux kibibytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
