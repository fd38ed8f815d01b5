"""Calls to AWS that overlap, so many at a time and no more: nearly all of a job's time is waiting for answers."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

CONCURRENCY = 32
"""Calls under way at once, of all kinds together, and connections kept for them."""

_T = TypeVar("_T")
_R = TypeVar("_R")


class Overlap:
    """The threads that wait for answers. What they do must not wait for one another."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(CONCURRENCY)

    def each(self, act: Callable[[_T], _R], things: Iterable[_T]) -> list[_R]:
        """Act on each thing, several at a time, and return what came of it, in order.

        Where one fails, those under way are waited for, those not begun are left, and the error is raised: the first
        one in order, so that nothing is done any more in the name of who has been told.
        """
        under_way = [self._pool.submit(act, thing) for thing in things]
        try:
            return [future.result() for future in under_way]
        finally:
            for future in under_way:
                future.cancel()
            wait(under_way)
