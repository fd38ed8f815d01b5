"""Chunked and concurrent calls: nearly all of a job's time is spent waiting for AWS's answers."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TypeVar

CONCURRENCY = 96
"""Maximum number of concurrent calls of all kinds together, and number of connections that a client keeps."""

RESERVED_SECONDS = 15
"""Seconds that a function keeps after its last retry, to release its claim and to fail with a message of its own."""
DEFAULT_SECONDS = 900
"""Seconds for retries if a program sets no limit, such as the operator's command: as long as a function may run."""

_T = TypeVar("_T")
_R = TypeVar("_R")


class OutOfTimeError(Exception):
    """A result was not ready in the time that was left."""


@dataclass
class TimeLimit:
    """The time until which throttled calls are repeated."""

    until: float = 0
    """The end, as `time.monotonic()` counts."""

    def __post_init__(self) -> None:
        self.start(DEFAULT_SECONDS)

    def start(self, seconds: float) -> None:
        """Allow retries for this time from now on."""
        self.until = time.monotonic() + seconds

    def seconds_left(self) -> float:
        """Return the seconds that are left, or less than 0."""
        return self.until - time.monotonic()


def chunks(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    """Yield `items` in slices of `size`; the last one may be shorter."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


class CallPool:
    """A pool of threads for concurrent calls. A call must not wait for another call of the same pool."""

    def __init__(self) -> None:
        self._threads = CONCURRENCY
        self._executor = ThreadPoolExecutor(self._threads)

    def map(self, call: Callable[[_T], _R], items: Iterable[_T], limit: int = CONCURRENCY) -> list[_R]:
        """Call a function with each item and return the results in order.

        If a call fails, the pool starts no further call, waits for the running calls, and then raises the error. So a
        call never writes after its caller has failed.

        Args:
            call: The function.
            items: Its arguments.
            limit: Maximum number of concurrent calls.
        """
        waiting = deque(enumerate(items))
        results: dict[int, _R] = {}
        count = len(waiting)

        # Each task processes items until the queue is empty. One task per item would take a tenth of a request's CPU.
        def work() -> None:
            while True:
                try:
                    number, item = waiting.popleft()
                except IndexError:
                    return
                try:
                    results[number] = call(item)
                except BaseException:
                    waiting.clear()
                    raise

        tasks: list[Future[None]] = []
        try:
            tasks.extend(self._executor.submit(work) for _ in range(min(count, limit, self._threads)))
            wait(tasks)
        finally:
            waiting.clear()
            wait(tasks)
        for task in tasks:
            task.result()
        return [results[number] for number in range(count)]


def map_ahead(
    executor: Executor,
    call: Callable[[_T], _R],
    items: Iterable[_T],
    ahead: int,
    seconds_left: Callable[[], float | None] = lambda: None,
) -> Iterator[_R]:
    """Yield the result of a call for each item, in order, while the calls for the next items already run.

    Args:
        executor: Runs the calls. The caller shuts it down, which waits for the calls that still run after an error.
        call: The function.
        items: Its arguments, taken from the iterable when their call starts.
        ahead: Maximum number of results that are computed or held at once.
        seconds_left: Returns how long to wait for a result, or None for no limit.

    Raises:
        OutOfTimeError: The time is used up, whether or not the next result is ready.
    """
    window: deque[Future[_R]] = deque()
    for item in items:
        if len(window) == ahead:
            yield _result(window.popleft(), seconds_left())
        window.append(executor.submit(call, item))
    while window:
        yield _result(window.popleft(), seconds_left())


def _result(future: Future[_R], seconds: float | None) -> _R:
    if seconds is not None and seconds <= 0:
        raise OutOfTimeError
    try:
        return future.result(seconds)
    except TimeoutError:
        # The call itself may have raised the error, or may have ended in the meantime.
        if future.done():
            return future.result()
        raise OutOfTimeError from None
