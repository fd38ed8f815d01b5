"""Calls overlap up to a bound, their results keep their order, and a failure leaves nothing under way."""

import threading

import pytest

from yorutsuke_common.overlap import CONCURRENCY, Overlap

GIVEN_UP_SECONDS = 30


def test_results_come_in_the_order_of_what_was_acted_on() -> None:
    last_is_done = threading.Event()

    def act(number: int) -> int:
        if number == 9:
            last_is_done.set()
        # The first one ends after the last.
        assert number or last_is_done.wait(GIVEN_UP_SECONDS)
        return number * number

    assert Overlap().each(act, range(10)) == [number * number for number in range(10)]


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

    Overlap().each(act, range(3 * CONCURRENCY))

    assert most == CONCURRENCY


def test_after_a_failure_nothing_is_under_way_and_nothing_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yorutsuke_common.overlap.CONCURRENCY", 2)
    failed = threading.Event()
    ended: list[int] = []

    def act(number: int) -> None:
        if number == 0:
            failed.set()
            raise KeyError(number)
        assert failed.wait(GIVEN_UP_SECONDS)
        ended.append(number)

    overlap = Overlap()
    with pytest.raises(KeyError, match="0"):
        overlap.each(act, range(1000))

    before = len(ended)
    assert before < 999
    assert overlap.each(lambda number: number, range(3)) == [0, 1, 2]
    assert len(ended) == before
