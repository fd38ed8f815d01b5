"""Calls to AWS that overlap, so many at a time and no more: nearly all of a job's time is waiting for answers."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from threading import Event, Lock
from typing import Generic, TypeVar

CONCURRENCY = 96
"""Calls under way at once, of all kinds together, and connections kept for them."""

TakeRoom = Callable[[int], None]
"""Waits for room of so many bytes, and takes it."""


class OutOfTimeError(Exception):
    """What is under way takes longer than there is time for."""


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

    def stream(
        self,
        act: Callable[[_T, TakeRoom], _R],
        things: Iterable[_T],
        room: int,
        seconds_left: Callable[[], float | None] | None = None,
    ) -> Generator[_R]:
        """Act on things, many at a time, and yield what comes of each, in order, while the next ones are under way.

        `act` is given a function beside the thing, which it calls once, with a size in bytes, before it holds so much.
        What came of things that are not asked for yet has `room` at most; the one that is asked for need not wait for
        room, and so for none behind it.

        Where one fails, whatever its turn, the error is raised as soon as those under way have ended, as `each` does.
        Whoever leaves early closes the generator, which waits for them as well. Until then its threads are taken:
        nothing else that overlaps may be done between two of its results.

        Raises OutOfTimeError once there are no `seconds_left` (None: as many as it takes), and waits then for nobody:
        to be let go like that, `act` must have no effect.
        """
        work = _Work(act, things, room)
        working: list[Future[None]] = []
        try:
            working.extend(self._pool.submit(work.act) for _ in range(min(work.count, self._threads)))
            for number in range(work.count):
                yield work.result(number, seconds_left or _no_end)
        except OutOfTimeError:
            working.clear()
            raise
        finally:
            work.end()
            wait(working)


def _no_end() -> None:
    """Have as long as it takes."""


class _Work(Generic[_T, _R]):
    """Things that several threads act on, and what has come of them so far."""

    def __init__(self, act: Callable[[_T, TakeRoom], _R], things: Iterable[_T], room: int) -> None:
        self._act = act
        self._left = deque(enumerate(things))
        self.count = len(self._left)
        self._room = _Room(room)
        self._arrived: SimpleQueue[tuple[int, _R] | None] = SimpleQueue()
        self._done: dict[int, _R] = {}
        self._failure: BaseException | None = None

    def act(self) -> None:
        """Act on one thing after the other, as long as there are any and none has failed."""
        while True:
            try:
                number, thing = self._left.popleft()
            except IndexError:
                return
            try:
                self._arrived.put((number, self._act(thing, partial(self._room.take, number))))
            except BaseException as exc:  # noqa: BLE001 - it is raised where the results are taken
                # The first one is the cause: who waits for room fails for no reason of its own.
                self._failure = exc if self._failure is None else self._failure
                self.end()
                self._arrived.put(None)
                return

    def result(self, number: int, seconds_left: Callable[[], float | None]) -> _R:
        """Wait for what comes of a thing, and return it. Raises OutOfTimeError, or whatever has failed."""
        self._room.turn(number)
        while True:
            seconds = seconds_left()
            if seconds is not None and seconds <= 0:
                raise OutOfTimeError
            if self._failure is not None:
                raise self._failure
            if number in self._done:
                return self._done.pop(number)
            with suppress(Empty):
                if arrival := self._arrived.get(timeout=seconds):
                    self._done[arrival[0]] = arrival[1]

    def end(self) -> None:
        """Begin no more, and let nobody wait for room."""
        self._left.clear()
        self._room.close()


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
