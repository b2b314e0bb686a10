"""Signals: answered once, and not in the middle of what must not be interrupted."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

import pytest

from pipelines import errors


def interrupted(block: Callable[[], object]) -> int:
    """The signal by which a block is stopped that holds signals back."""

    def run() -> None:
        with errors.stoppable(), errors.held_back():
            block()

    with pytest.raises(errors.Stopped) as stop:
        run()
    return stop.value.signal_number


@pytest.mark.parametrize("number", errors.SIGNALS)
def test_a_signal_is_held_back_to_the_end_of_the_block(number: int) -> None:
    reached: list[str] = []

    def block() -> None:
        signal.raise_signal(number)
        reached.append("end")

    assert interrupted(block) == number
    assert reached == ["end"]


def test_a_block_that_leaves_python_on_sigterm_is_stopped_by_it() -> None:
    def block() -> None:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))
        signal.raise_signal(signal.SIGTERM)

    assert interrupted(block) == signal.SIGTERM


def test_without_a_signal_the_handlers_are_as_before_and_errors_pass() -> None:
    before = [signal.getsignal(each) for each in errors.SIGNALS]
    with errors.held_back():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with pytest.raises(ValueError, match="its own"), errors.held_back():
        raise ValueError("its own")
    assert [signal.getsignal(each) for each in errors.SIGNALS] == before
