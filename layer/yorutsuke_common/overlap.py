"""Calls to AWS that overlap, so many at a time and no more: nearly all of a job's time is waiting for answers."""

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

CONCURRENCY = 96
"""Calls under way at once, of all kinds together, and connections kept for them."""

_T = TypeVar("_T")
_R = TypeVar("_R")


class Overlap:
    """The threads that wait for answers. What they do must not wait for one another."""

    def __init__(self) -> None:
        self._threads = CONCURRENCY
        self._pool = ThreadPoolExecutor(self._threads)

    def each(self, act: Callable[[_T], _R], things: Iterable[_T], at_once: int = CONCURRENCY) -> list[_R]:
        """Act on each thing, so many at a time, and return what came of it, in order.

        Where one fails, those under way are waited for, those not begun are left, and the error is raised, so that
        nothing is done any more in the name of who has been told.
        """
        left = deque(enumerate(things))
        done: dict[int, _R] = {}
        count = len(left)

        # One task a thread, which takes the next thing by itself: a task a thing costs as much as a tenth of a request.
        def work() -> None:
            while True:
                try:
                    number, thing = left.popleft()
                except IndexError:
                    return
                try:
                    done[number] = act(thing)
                except BaseException:
                    left.clear()
                    raise

        working: list[Future[None]] = []
        try:
            working.extend(self._pool.submit(work) for _ in range(min(count, at_once, self._threads)))
            wait(working)
        finally:
            left.clear()
            wait(working)
        for task in working:
            task.result()
        return [done[number] for number in range(count)]
