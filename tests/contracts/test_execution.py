"""Where computing happens: memory that is freed is used again."""

from __future__ import annotations

import platform
import resource
import statistics

import torch

from workbench.execution import keep_freed_memory


def faults_of_a_large_block() -> int:
    """Pages that the kernel has to give for 64 MiB, which are freed at the end."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(1 << 24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_large_blocks_are_used_again_where_the_c_library_can_be_told() -> None:
    assert keep_freed_memory() == (platform.libc_ver()[0] == "glibc")
    if keep_freed_memory():
        # Small blocks come to lie between large ones at first, so that the heap takes some calls to settle.
        assert statistics.median(faults_of_a_large_block() for _ in range(40)) < 1_000  # of 16,384
