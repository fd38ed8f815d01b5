"""Waits until the function has processed messages, for the commands that send messages to it."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated

import typer

from .screen import Advance, Screen
from .times import parse_span

DEFAULT_TIMEOUT = timedelta(minutes=15)
POLL_SECONDS = 1.0

NoWait = Annotated[bool, typer.Option("--no-wait", help="Do not wait for the result.")]
Timeout = Annotated[
    timedelta | None,
    typer.Option(
        "--timeout", parser=parse_span, metavar="SPAN", help="Maximum time to wait, such as 2h. By default 15m."
    ),
]


def wait_until(
    screen: Screen, is_done: Callable[[Advance], bool], limit: timedelta, stopped: str, total: int = 0
) -> bool:
    """Show progress until a test holds, and return True. Return False if it does not hold within the limit.

    Args:
        screen: The output of the command.
        is_done: The test. It may advance the progress display.
        limit: The maximum time to wait.
        stopped: The message that is printed if the operator stops waiting.
        total: The number of steps of the progress display, or 0 if it is not known.
    """
    deadline = time.monotonic() + limit.total_seconds()
    try:
        with screen.progress("Waiting for the function", total) as advance:
            while not is_done(advance):
                if time.monotonic() > deadline:
                    return False
                time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        screen.say(stopped)
        raise
    return True
