"""Concurrent calls: their limit, the order of their results, and their end after a failure."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import pytest

from yorutsuke_common.aws.calls import CONCURRENCY, CallPool, OutOfTimeError, chunks, map_ahead

GIVEN_UP_SECONDS = 30


def test_results_come_in_the_order_of_what_was_acted_on() -> None:
    last_is_done = threading.Event()

    def act(number: int) -> int:
        if number == 9:
            last_is_done.set()
        # The first one ends after the last.
        assert number or last_is_done.wait(GIVEN_UP_SECONDS)
        return number * number

    assert CallPool().map(act, range(10)) == [number * number for number in range(10)]


def test_so_many_are_under_way_at_once_and_no_more() -> None:
    all_there = threading.Barrier(CONCURRENCY)
    lock = threading.Lock()
    under_way = most = 0

    def act(_: int) -> None:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        all_there.wait(GIVEN_UP_SECONDS)
        with lock:
            under_way -= 1

    CallPool().map(act, range(3 * CONCURRENCY))

    assert most == CONCURRENCY


def test_after_a_failure_nothing_is_under_way_and_nothing_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yorutsuke_common.aws.calls.CONCURRENCY", 2)
    failed = threading.Event()
    ended: list[int] = []

    def act(number: int) -> None:
        if number == 0:
            failed.set()
            raise KeyError(number)
        assert failed.wait(GIVEN_UP_SECONDS)
        ended.append(number)

    pool = CallPool()
    with pytest.raises(KeyError, match="0"):
        pool.map(act, range(1000))

    before = len(ended)
    assert before < 999
    assert pool.map(lambda number: number, range(3)) == [0, 1, 2]
    assert len(ended) == before


def test_chunks_have_the_size_and_the_last_the_rest() -> None:
    assert list(chunks(range(7), 3)) == [range(3), range(3, 6), range(6, 7)]
    assert list(chunks((), 3)) == []


def test_map_ahead_yields_results_in_order() -> None:
    last_is_done = threading.Event()

    def act(number: int) -> int:
        if number == 9:
            last_is_done.set()
        # The first call ends after the last.
        assert number or last_is_done.wait(GIVEN_UP_SECONDS)
        return number * number

    with ThreadPoolExecutor(10) as executor:
        assert list(map_ahead(executor, act, range(10), 10)) == [number * number for number in range(10)]


def test_map_ahead_starts_no_more_than_the_window() -> None:
    started: list[int] = []
    taken = 0

    def act(number: int) -> int:
        started.append(number)
        # While a result is awaited, the window still holds it.
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


def test_map_ahead_raises_a_failed_call_in_its_turn() -> None:
    def act(number: int) -> int:
        if number == 2:
            raise KeyError(number)
        return number

    with ThreadPoolExecutor(4) as executor:
        results = map_ahead(executor, act, range(10), 4)

        assert [next(results), next(results)] == [0, 1]
        with pytest.raises(KeyError, match="2"):
            next(results)


def test_map_ahead_is_out_of_time_even_if_the_result_is_ready() -> None:
    with ThreadPoolExecutor(1) as executor, pytest.raises(OutOfTimeError):
        next(map_ahead(executor, str, range(3), 1, seconds_left=lambda: 0))


def test_map_ahead_does_not_wait_for_a_call_when_out_of_time() -> None:
    released = threading.Event()

    def act(number: int) -> int:
        assert number == 0 or released.wait(GIVEN_UP_SECONDS)
        return number

    with ThreadPoolExecutor(2) as executor:
        left = iter([1, 0.01])
        results = map_ahead(executor, act, range(9), 2, seconds_left=left.__next__)

        assert next(results) == 0
        with pytest.raises(OutOfTimeError):
            next(results)
        released.set()


def test_map_ahead_passes_on_a_timeout_of_the_call_itself() -> None:
    def act(_: int) -> int:
        raise TimeoutError("the call's own")

    with ThreadPoolExecutor(1) as executor, pytest.raises(TimeoutError, match="the call's own"):
        next(map_ahead(executor, act, range(1), 1, seconds_left=lambda: GIVEN_UP_SECONDS))


class _EndsAtTheTimeout(Executor):
    """Its calls end just when the wait for them times out."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **_: Any) -> Future[Any]:
        class Ended(Future[Any]):
            def result(self, timeout: float | None = None) -> Any:
                if timeout is not None:
                    raise TimeoutError
                return super().result()

        future = Ended()
        future.set_result(fn(*args))
        return future


def test_map_ahead_yields_a_result_that_is_ready_at_the_timeout() -> None:
    results = map_ahead(_EndsAtTheTimeout(), lambda number: number + 1, range(2), 1, seconds_left=lambda: 1)

    assert list(results) == [1, 2]


def test_a_failed_map_leaves_every_thread_free() -> None:
    pool = CallPool()
    all_there = threading.Barrier(CONCURRENCY)

    def fail(number: int) -> None:
        raise KeyError(number)

    with pytest.raises(KeyError):
        pool.map(fail, range(1000))

    pool.map(lambda _: all_there.wait(GIVEN_UP_SECONDS), range(CONCURRENCY))
