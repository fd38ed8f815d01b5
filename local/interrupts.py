"""Ctrl-C, SIGTERM and SIGHUP in the commands that start an emulator.

A signal stops the emulator and ends the process within the signal's handler. An exception would be too late: Pulumi's
runtime catches every exception, and raises it only after the deployment.
"""

import os
import signal
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

NOTHING_RUNS = "Interrupted. Nothing that this command started is running."
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, the request to end, and the end of the terminal."""
SHOW_CURSOR = "\x1b[?25h\n"
"""Control sequence that shows the cursor, which a progress display hides."""


class Interruption(KeyboardInterrupt):
    """The process received a signal while `unwinding` was in effect."""


@dataclass
class _State:
    """The action for the next signal. `number` is the first signal that was received."""

    stop: Callable[[], object]
    message: str
    number: int | None = None
    is_deferred: bool = False


def _do_nothing() -> None:
    """Stop nothing: the process has not started an emulator."""


_state = _State(_do_nothing, NOTHING_RUNS)


def handle_signals() -> None:
    """End the process at a signal of SIGNALS, after the function of `stop_at_signal`."""
    for number in SIGNALS:
        signal.signal(number, _handle)


def ignore_signals() -> None:
    """Ignore the signals of SIGNALS, because the command has completed its work."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def stop_at_signal(stop: Callable[[], object], message: str) -> None:
    """Set the function that a signal calls before it ends the process, and the message that it prints.

    The function must not take a lock that the interrupted code may hold.
    """
    _state.stop, _state.message = stop, message


def stop_nothing_at_signal() -> None:
    """Reset the function of `stop_at_signal`."""
    stop_at_signal(_do_nothing, NOTHING_RUNS)


@contextmanager
def deferred_signals() -> Generator[None]:
    """Defer a signal to the end of the block, which starts something and then calls `stop_at_signal`."""
    _state.is_deferred = True
    try:
        yield
    finally:
        _state.is_deferred = False
        if _state.number is not None:
            _end(_state.number)


@contextmanager
def unwinding() -> Generator[None]:
    """Let a signal leave the block by an exception, which removes its temporary files. Then end the process."""

    def interrupt() -> None:
        raise Interruption

    stop_at_signal(interrupt, NOTHING_RUNS)
    try:
        yield
    finally:
        stop_nothing_at_signal()
        # Python ignores an exception of a handler that runs within a finalizer, so the block may also have completed.
        if _state.number is not None:
            _exit(_state.number, NOTHING_RUNS)


def _handle(number: int, _frame: FrameType | None) -> None:
    # The first signal ends the process. Nothing may interrupt its clean-up.
    if _state.number is None:
        _state.number = number
        if not _state.is_deferred:
            _end(number)


def _end(number: int) -> None:
    message = _state.message
    try:
        _state.stop()
    except Exception as error:  # noqa: BLE001 - the process must end, and the interrupted code may ignore exceptions
        message = f"Interrupted. {type(error).__name__}: {error}"
    _exit(number, message)


def _exit(number: int, message: str) -> None:
    # The interrupted code may be writing to sys.stderr, which refuses a second writer.
    os.write(sys.stderr.fileno(), f"{SHOW_CURSOR if sys.stderr.isatty() else ''}{message}\n".encode())
    # sys.exit would wait for threads, which may be calling the emulator.
    os._exit(128 + number)
