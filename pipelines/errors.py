"""What went wrong, in one line, and what follows from it."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from workbench.registry import UserError

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Told in the text of an error only, by SQLite and by the MLflow server.
DISK_FULL = ("no space left on device", "database or disk is full", "disk quota exceeded")
SERVER_ERROR = "error responses"  # "too many 500 error responses"
UNREACHABLE = (
    "max retries exceeded",
    "connection refused",
    "failed to establish a new connection",
    "timed out",
)


class Stopped(BaseException):
    """The user's Ctrl-C or a SIGTERM. Not an Exception, so that nothing on the way takes it for a failure."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Ctrl-C and SIGTERM raise Stopped in the block, once: a second signal must not interrupt the tidying up."""

    def stop(number: int, frame: FrameType | None) -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise Stopped(number)

    before = {each: signal.signal(each, stop) for each in SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Ctrl-C and SIGTERM are answered at the end of the block, by the handlers that were there before it. Where the
    block puts one of its own in their place that leaves Python, as Ray's does, that is taken for SIGTERM."""
    came: list[int] = []
    before = {each: signal.signal(each, lambda number, frame: came.append(number)) for each in SIGNALS}
    try:
        yield
    except SystemExit:
        came.append(signal.SIGTERM)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    for number in came[:1]:
        signal.raise_signal(number)


class Aborted(RuntimeError):
    """A failure after which no other stage can succeed: the execution ends."""


def stopped(error: BaseException) -> Stopped | None:
    """The signal behind an error: extension modules may wrap what a signal handler raises in an error of their own."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, Stopped):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


def reason(error: BaseException) -> str:
    """One line about an error."""
    text = " ".join(str(error).split()) or "no message"
    if isinstance(error, (UserError, Aborted)) or type(error).__name__ == "Diverged":
        return text[:1000]
    if is_disk_full(error):
        return f"the disk is full ({text[:200]})"
    if cannot_store(error):
        return "the MLflow server could not store this in several attempts; its log tells why (is its disk full?)"
    if is_unreachable(error):
        return f"the MLflow server does not answer ({type(error).__name__})"
    return f"{type(error).__name__}: {text[:1000]}"


def is_disk_full(error: BaseException) -> bool:
    """Whether there is no space left, here or where MLflow stores."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    text = str(error).lower()
    return any(sign in text for sign in DISK_FULL)


def cannot_store(error: BaseException) -> bool:
    """Whether the MLflow server answered all attempts of the client with an error of its own. The client does not tell
    what it answered."""
    return SERVER_ERROR in str(error).lower()


def is_unreachable(error: BaseException) -> bool:
    """Whether a server did not answer, after all retries of the client."""
    text = str(error).lower()
    told = type(error).__name__ == "MlflowException" and any(sign in text for sign in UNREACHABLE)
    return isinstance(error, ConnectionError) or (told and not cannot_store(error))


class LogFile(logging.Handler):
    """A log file that is made when there is something to log: in `folder`, else among the temporary files."""

    def __init__(self, folder: Callable[[], Path], name: str) -> None:
        super().__init__()
        self._folder, self._name = folder, f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
        self._file: logging.FileHandler | None = None

    @property
    def path(self) -> Path:
        """Where it is."""
        return Path(self._opened().baseFilename)

    def emit(self, record: logging.LogRecord) -> None:
        self._opened().emit(record)

    def _opened(self) -> logging.FileHandler:
        if self._file is None:
            try:
                folder = self._folder()
                folder.mkdir(parents=True, exist_ok=True)
                self._file = logging.FileHandler(folder / self._name)
            except (OSError, UserError):
                self._file = logging.FileHandler(Path(tempfile.gettempdir()) / self._name, delay=True)
            self._file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        return self._file
