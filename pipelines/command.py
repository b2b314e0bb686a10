"""What the command lines share: arguments by tyro, mistakes told in one line, the traceback in a log file."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import tyro

from pipelines import errors
from workbench.registry import UserError, unknown

LOG = logging.getLogger(__name__)
USER_MISTAKE, FAILURE = 2, 1


class IsDataclass(Protocol):
    """What `dataclasses.fields` takes."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


_Arguments = TypeVar("_Arguments", bound=IsDataclass)


def parse(kind: type[_Arguments], argv: Sequence[str] | None, *, program: str) -> _Arguments:
    """The dataclass `kind` from the command line. Raises UserError, with the nearest option for an unknown one."""
    words = list(sys.argv[1:] if argv is None else argv)
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            arguments, rest = tyro.cli(
                kind,
                args=words,
                prog=program,
                return_unknown_args=True,
                config=(tyro.conf.FlagCreatePairsOff,),
            )
    except SystemExit as end:
        if not end.code:
            raise  # --help
        raise UserError(_sentence(told.getvalue())) from None
    if rest:
        options = [f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(kind)]
        if rest[0].startswith("--"):
            raise unknown("option", rest[0].partition("=")[0], [*options, "--help"])
        raise UserError(
            f"argument: {rest[0]!r} is one too many; `{program} --help` explains what is expected"
        )
    return arguments


def guarded(run: Callable[[], int], *, program: str, log_folder: Callable[[], Path]) -> int:
    """Run a command; returns its exit status. What goes wrong is told in one line, which names the log file.

    Ctrl-C and SIGTERM raise errors.Stopped in it.
    """
    log = errors.LogFile(log_folder, program.rpartition(".")[2])
    logger = logging.getLogger("pipelines")
    logger.setLevel(logging.INFO)
    logger.addHandler(log)
    logger.propagate = False

    def tell(error: Exception) -> None:
        LOG.error("%s", error, exc_info=error)
        print(f"error: {errors.reason(error)} (details: {log.path})", file=sys.stderr)

    try:
        with errors.stoppable():
            return run()
    except UserError as error:
        tell(error)
        return USER_MISTAKE
    except BaseException as error:  # the last resort of a command line
        stop = errors.stopped(error)
        if stop is not None:
            name = signal.Signals(stop.signal_number).name
            kept = "what is finished is kept, and the same command goes on from there"
            print(f"stopped by {name}; {kept}", file=sys.stderr)
            return 128 + stop.signal_number
        if not isinstance(error, Exception):
            raise
        tell(error)
        return FAILURE
    finally:
        logger.removeHandler(log)


def _sentence(box: str) -> str:
    """What tyro says in the first part of its box, on one line."""
    lines = []
    for line in box.splitlines():
        text = line.strip("│╭╮╰╯ ").strip()
        if line.startswith(("╭", "╰")):
            continue
        if set(text) <= {"─"}:
            break
        lines.append(text)
    return " ".join(lines) or "the arguments cannot be read"
