"""Waiting for what goes on by itself: bounded, and said to be going on where one stops waiting."""

import time
from collections.abc import Callable
from datetime import timedelta

from .errors import UnfinishedError
from .jobs import JobRecord
from .screen import Screen

POLL_SECONDS = 1.0


def wait_for(
    screen: Screen, look: Callable[[], JobRecord], settled: Callable[[JobRecord], bool], timeout: timedelta
) -> JobRecord:
    """Look at a job's record until it is as it is to be, and return it.

    Raises UnfinishedError after the timeout; KeyboardInterrupt where somebody stops waiting, and says what that means.
    """
    deadline = time.monotonic() + timeout.total_seconds()
    with screen.progress("Waiting for a function to take it") as steps:
        try:
            while not settled(record := look()):
                if time.monotonic() > deadline:
                    raise UnfinishedError(
                        f"job {record.name!r} is not done after {timeout}: the work goes on by itself, a message that "
                        f"fails comes back. Look later, with `job {record.name}`."
                    )
                steps.say("A function is at it" if record.is_claimed else "Waiting for a function to take it")
                time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            screen.say("Not waiting any longer; the work goes on by itself. `job` shows how far it has come.")
            raise
    return record
