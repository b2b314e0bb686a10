"""The memory of the machine, or of the container that limits it."""

from __future__ import annotations

from pathlib import Path

import psutil

from pipelines.machine import memory_bytes


def test_the_limit_of_a_container_counts_where_it_is_below_the_machine(tmp_path: Path) -> None:
    whole = psutil.virtual_memory().total
    limit = tmp_path / "memory.max"
    for told, expected in (
        ("1073741824\n", 2**30),
        (f"{2 * whole}\n", whole),
        ("max\n", whole),
    ):
        limit.write_text(told)
        assert memory_bytes([limit]) == expected
    assert memory_bytes([tmp_path / "absent"]) == whole
