"""Concurrent calls: their limit, the order of their results, and their end after a failure."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ALL_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from typing import Any

import pytest

from yorutsuke_common.aws.calls import CONCURRENCY, CallPool, OutOfTimeError, TimeLimit, chunks, map_ahead

TIMEOUT_SECONDS = 30
"""Timeout of a wait in a test, in seconds. A passing test never reaches it."""


def test_time_limit_counts_from_its_last_start(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    limit = TimeLimit()
    # The operator's command sets no limit.
    assert limit.seconds_left() == 900

    limit.start(45)
    now = 110.0
    assert limit.seconds_left() == 35

    limit.start(45)
    now = 160.0
    assert limit.seconds_left() == -5


def test_map_returns_results_in_order() -> None:
    last_is_done = threading.Event()

    def act(number: int) -> int:
        if number == 9:
            last_is_done.set()
        # The first call ends after the last.
        assert number or last_is_done.wait(TIMEOUT_SECONDS)
        return number * number

    assert CallPool().map(act, range(10)) == [number * number for number in range(10)]


def test_map_limits_the_concurrent_calls() -> None:
    all_started = threading.Barrier(CONCURRENCY)
    lock = threading.Lock()
    running = most = 0

    def act(_: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        all_started.wait(TIMEOUT_SECONDS)
        with lock:
            running -= 1

    CallPool().map(act, range(3 * CONCURRENCY))

    assert most == CONCURRENCY


def test_map_starts_nothing_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yorutsuke_common.aws.calls.CONCURRENCY", 2)
    failed = threading.Event()
    ended: list[int] = []

    def act(number: int) -> None:
        if number == 0:
            failed.set()
            raise KeyError(number)
        assert failed.wait(TIMEOUT_SECONDS)
        ended.append(number)

    pool = CallPool()
    with pytest.raises(KeyError, match="0"):
        pool.map(act, range(1000))

    before = len(ended)
    assert before < 999
    assert pool.map(lambda number: number, range(3)) == [0, 1, 2]
    assert len(ended) == before


def test_failed_map_waits_for_running_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    started, released = threading.Event(), threading.Event()
    ended: list[int] = []

    def wait_for_all(tasks: Iterable[Future[None]], return_when: str = ALL_COMPLETED) -> Any:
        # Only a wait for every task lets the second call end.
        if return_when == ALL_COMPLETED:
            released.set()
        return wait(tasks, return_when=return_when)

    def act(number: int) -> None:
        if number == 0:
            assert started.wait(TIMEOUT_SECONDS)
            raise KeyError(number)
        started.set()
        assert released.wait(TIMEOUT_SECONDS)
        ended.append(number)

    monkeypatch.setattr("yorutsuke_common.aws.calls.wait", wait_for_all)
    try:
        with pytest.raises(KeyError, match="0"):
            CallPool().map(act, range(2))

        assert ended == [1]
    finally:
        released.set()


def test_last_chunk_contains_the_rest() -> None:
    assert list(chunks(range(7), 3)) == [range(3), range(3, 6), range(6, 7)]
    assert list(chunks((), 3)) == []


def test_map_ahead_yields_results_in_order() -> None:
    last_is_done = threading.Event()

    def act(number: int) -> int:
        if number == 9:
            last_is_done.set()
        # The first call ends after the last.
        assert number or last_is_done.wait(TIMEOUT_SECONDS)
        return number * number

    with ThreadPoolExecutor(10) as executor:
        assert list(map_ahead(executor, act, range(10), 10)) == [number * number for number in range(10)]


def test_map_ahead_limits_the_started_calls() -> None:
    started: list[int] = []
    taken = 0

    def act(number: int) -> int:
        started.append(number)
        # While the consumer waits for a result, the window still contains it.
        assert number < taken + 3
        return number

    with ThreadPoolExecutor(8) as executor:
        for result in map_ahead(executor, act, range(50), 3):
            assert result == taken
            taken += 1

    assert sorted(started) == list(range(50))


def test_map_ahead_takes_items_as_their_calls_start() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10):
            taken.append(number)
            yield number

    with ThreadPoolExecutor(1) as executor:
        results = map_ahead(executor, str, items(), 2)

        assert (next(results), taken) == ("0", [0, 1, 2])


def test_map_ahead_raises_failed_calls_in_order() -> None:
    def act(number: int) -> int:
        if number == 2:
            raise KeyError(number)
        return number

    with ThreadPoolExecutor(4) as executor:
        results = map_ahead(executor, act, range(10), 4)

        assert [next(results), next(results)] == [0, 1]
        with pytest.raises(KeyError, match="2"):
            next(results)


def test_map_ahead_raises_without_time() -> None:
    with ThreadPoolExecutor(1) as executor, pytest.raises(OutOfTimeError):
        next(map_ahead(executor, str, range(3), 1, seconds_left=lambda: 0))


def test_map_ahead_does_not_wait_without_time() -> None:
    released = threading.Event()

    def act(number: int) -> int:
        assert number == 0 or released.wait(TIMEOUT_SECONDS)
        return number

    with ThreadPoolExecutor(2) as executor:
        left = iter([1, 0.01])
        results = map_ahead(executor, act, range(9), 2, seconds_left=left.__next__)

        assert next(results) == 0
        with pytest.raises(OutOfTimeError):
            next(results)
        released.set()


def test_map_ahead_raises_the_timeout_of_a_call() -> None:
    def act(_: int) -> int:
        raise TimeoutError("the call's own")

    with ThreadPoolExecutor(1) as executor, pytest.raises(TimeoutError, match="the call's own"):
        next(map_ahead(executor, act, range(1), 1, seconds_left=lambda: TIMEOUT_SECONDS))


class _EndsAtTheTimeout(Executor):
    """An executor with calls that end at the moment when the wait for them times out."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **_: Any) -> Future[Any]:
        class Ended(Future[Any]):
            def result(self, timeout: float | None = None) -> Any:
                if timeout is not None:
                    raise TimeoutError
                return super().result()

        future = Ended()
        future.set_result(fn(*args))
        return future


def test_map_ahead_yields_results_ready_at_the_timeout() -> None:
    results = map_ahead(_EndsAtTheTimeout(), lambda number: number + 1, range(2), 1, seconds_left=lambda: 1)

    assert list(results) == [1, 2]


def test_failed_map_leaves_every_thread_free() -> None:
    pool = CallPool()
    all_started = threading.Barrier(CONCURRENCY)

    def fail(number: int) -> None:
        raise KeyError(number)

    with pytest.raises(KeyError):
        pool.map(fail, range(1000))

    pool.map(lambda _: all_started.wait(TIMEOUT_SECONDS), range(CONCURRENCY))
