"""What a benchmark leaves: a table on the terminal, and below `benchmarks/results` the same as Markdown and JSON."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from pipelines.describe import processor

RESULTS = Path("benchmarks/results")
Row = dict[str, str | float | int]


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How a benchmark that times cases in turn is run."""

    threads: int = 0
    """CPU threads; 0: as many as there are CPUs."""
    rounds: int = 5
    """How often each case is timed, in turn with the others."""
    gpu: bool = False
    """On the GPU."""
    out: Path = RESULTS
    """Folder for the table as Markdown and JSON."""


@dataclass(kw_only=True)
class Report:
    """A table of a benchmark, with what it means and on what it was measured; `of` tells apart the tables of one
    benchmark that are kept beside each other."""

    name: str
    title: str
    how: str
    of: str = ""
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    machine: dict[str, str | int] = field(default_factory=lambda: machine())
    command: str = ""

    def publish(self, folder: Path = RESULTS) -> None:
        """Print the table, and write it to the folder as `<name>.md` and `<name>.json`, or `<name>-<of>`."""
        self.command = f"python -m benchmarks.{self.name} {' '.join(sys.argv[1:])}".strip()
        print(self.text())
        folder.mkdir(parents=True, exist_ok=True)
        file = "-".join(filter(None, (self.name, self.of)))
        (folder / f"{file}.md").write_text(self.text())
        (folder / f"{file}.json").write_text(json.dumps(asdict(self), indent=1) + "\n")

    def text(self) -> str:
        """The whole in Markdown."""
        where = ", ".join(f"{name} {value}" for name, value in self.machine.items())
        notes = "".join(f"\n- {note}" for note in self.notes)
        notes = f"\n{notes}\n" if notes else ""
        return (
            f"# {self.title}\n\n{self.how}\n\n{markdown(self.rows)}\n{notes}\n"
            f"Measured on {where}.\n\n```bash\n{self.command}\n```\n"
        )


def markdown(rows: Sequence[Row]) -> str:
    """A table, its columns those of the first row."""
    heads = list(rows[0]) if rows else []
    left = [isinstance(rows[0][head], str) for head in heads]
    lines = [" | ".join(heads), " | ".join(":--" if one else "--:" for one in left)]
    lines += [" | ".join(_shown(row.get(head, "")) for head in heads) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def machine() -> dict[str, str | int]:
    """What figures depend on beside the code."""
    found: dict[str, str | int] = {
        "processor": processor(),
        "CPUs": os.cpu_count() or 1,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if torch.cuda.is_available():
        found["GPU"] = torch.cuda.get_device_name()
    return found


def _shown(value: str | float | int) -> str:
    return value if isinstance(value, str) else f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
