"""What the machine that this process runs on gives to it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import psutil

# Where the kernel tells a container's limit, of the second and the first version of control groups.
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def memory_bytes(limits: Sequence[Path] = LIMITS) -> int:
    """The memory that there is: that of the machine, or of the container where that is limited to less."""
    found: list[int] = [psutil.virtual_memory().total]
    for path in limits:
        with contextlib.suppress(OSError, ValueError):  # no such file; "max", which is no number
            found.append(int(path.read_text()))
    return min(found)
