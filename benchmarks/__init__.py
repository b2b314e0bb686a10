"""Side-by-side measurements. They are no tests: they say how fast, not whether it is right."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from pipelines import command, servers
from workbench.execution import Execution
from workbench.registry import UserError

_Arguments = TypeVar("_Arguments", bound=command.IsDataclass)


def run(kind: type[_Arguments], measure: Callable[[_Arguments], None], *, name: str) -> int:
    """Parse the command line of a benchmark and measure; mistakes are told in one line. Returns the exit status."""
    program = f"python -m benchmarks.{name}"

    def guarded() -> int:
        measure(command.parse(kind, None, program=program))
        return 0

    return command.guarded(guarded, program=program, log_folder=lambda: servers.state_directory() / "logs")


def execution_on(threads: int, *, gpu: bool = False) -> Execution:
    """How to run on that many CPU threads, 0: as many as there are CPUs. Raises UserError for a negative number."""
    if threads < 0:
        raise UserError(f"threads: {threads} given; a whole number from 0 is needed")
    return Execution.best(threads=threads or torch.get_num_threads(), gpu=gpu)
