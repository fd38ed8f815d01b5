"""Calls to AWS that overlap, so many at a time and no more: nearly all of a job's time is waiting for answers."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from functools import partial
from queue import SimpleQueue
from threading import Event, Lock
from typing import TypeVar

CONCURRENCY = 96
"""Calls under way at once, of all kinds together, and connections kept for them."""

TakeRoom = Callable[[int], None]
"""Waits for room of so many bytes, and takes it."""

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

    def stream(self, act: Callable[[_T, TakeRoom], _R], things: Iterable[_T], room: int) -> Generator[_R]:
        """Act on things, many at a time, and yield what comes of each, in order, while the next ones are under way.

        `act` is given a function beside the thing, which it calls once, with a size in bytes, before it holds so much.
        What came of things that are not asked for yet has `room` at most; the one that is asked for need not wait for
        room, and so for none behind it.

        Where one fails, whatever its turn, the error is raised as soon as those under way have ended, as `each` does.
        Whoever leaves early closes the generator, which waits for them as well. Until then its threads are taken:
        nothing else that overlaps may be done between two of its results.
        """
        left = deque(enumerate(things))
        count = len(left)
        shared = _Room(room)
        arrived: SimpleQueue[tuple[int, _R] | None] = SimpleQueue()
        failures: list[BaseException] = []

        def work() -> None:
            while True:
                try:
                    number, thing = left.popleft()
                except IndexError:
                    return
                try:
                    arrived.put((number, act(thing, partial(shared.take, number))))
                except BaseException as exc:  # noqa: BLE001 - it is raised where the results are taken
                    failures.append(exc)
                    left.clear()
                    shared.close()
                    arrived.put(None)
                    return

        working: list[Future[None]] = []
        done: dict[int, _R] = {}
        try:
            working.extend(self._pool.submit(work) for _ in range(min(count, self._threads)))
            for number in range(count):
                shared.turn(number)
                while number not in done and not failures:
                    if arrival := arrived.get():
                        done[arrival[0]] = arrival[1]
                if failures:
                    raise failures[0]
                yield done.pop(number)
        finally:
            left.clear()
            shared.close()
            wait(working)


class _Room:
    """Bytes that things share which are to be taken in order of their numbers, and hold them until they are."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._due = 0
        self._asked: dict[int, tuple[int, Event]] = {}
        self._taken: dict[int, int] = {}
        self._closed = False
        self._lock = Lock()

    def take(self, number: int, size: int) -> None:
        """Wait until there is room for a thing, or it is due. Raises CancelledError once nobody will ask for it."""
        granted = Event()
        with self._lock:
            self._asked[number] = (size, granted)
            self._grant()
        granted.wait()
        if self._closed:
            raise CancelledError

    def turn(self, number: int) -> None:
        """Let this thing be due, and the one before it give back its room."""
        with self._lock:
            self._free += self._taken.pop(number - 1, 0)
            self._due = number
            self._grant()

    def close(self) -> None:
        """Let nobody wait any more."""
        with self._lock:
            self._closed = True
            self._grant()

    def _grant(self) -> None:
        # In order: a small one that overtakes would keep a large one waiting for ever.
        while self._asked:
            number = min(self._asked)
            size, granted = self._asked[number]
            if size > self._free and number != self._due and not self._closed:
                return
            del self._asked[number]
            self._taken[number] = size
            self._free -= size
            granted.set()
