"""A bounded scratch directory for downloaded artifacts. It is no store: what it holds can be deleted at any time."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

LIMIT_BYTES = 4_000_000_000  # features of a study on Fashion-MNIST fill 3


def directory() -> Path:
    """`WORKBENCH_SCRATCH`, else `workbench-<user id>` in the directory for temporary files."""
    configured = os.environ.get("WORKBENCH_SCRATCH")
    return Path(configured) if configured else Path(tempfile.gettempdir()) / f"workbench-{os.getuid()}"


@contextlib.contextmanager
def arriving(target: Path) -> Iterator[Path]:
    """A folder beside `target` to download into: a rename from there is atomic. The directory is trimmed afterwards."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="arriving-") as folder:
        yield Path(folder)
    trim(keep=target)


def touch(path: Path) -> None:
    """Mark a file as used now."""
    with contextlib.suppress(OSError):  # another process deleted it
        os.utime(path)


def trim(limit_bytes: int = LIMIT_BYTES, keep: Path | None = None) -> None:
    """Delete the files that were used longest ago until `limit_bytes` are left. Races with other processes are fine."""
    entries = []
    for path in directory().rglob("*"):
        with contextlib.suppress(OSError):  # another process deleted it
            if path.is_file() and path != keep:
                entries.append((path.stat().st_mtime, path.stat().st_size, path))
    excess = sum(size for _, size, _ in entries) - limit_bytes
    for _, size, path in sorted(entries):
        if excess <= 0:
            return
        with contextlib.suppress(OSError):
            path.unlink()
            excess -= size
