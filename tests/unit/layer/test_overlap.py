"""Calls overlap up to a bound, their results keep their order, and a failure leaves nothing under way."""

import threading
from concurrent.futures import CancelledError, Future, wait
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yorutsuke_common.overlap import CONCURRENCY, OutOfTimeError, Overlap, TakeRoom

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


def test_a_stream_yields_in_the_order_of_what_was_acted_on() -> None:
    last_is_done = threading.Event()

    def act(number: int, _: TakeRoom) -> int:
        if number == 9:
            last_is_done.set()
        # The first one ends after the last.
        assert number or last_is_done.wait(GIVEN_UP_SECONDS)
        return number * number

    assert list(Overlap().stream(act, range(10), room=0)) == [number * number for number in range(10)]


def test_of_a_stream_so_many_are_under_way_at_once() -> None:
    all_there = threading.Barrier(CONCURRENCY)

    def act(number: int, _: TakeRoom) -> int:
        all_there.wait(GIVEN_UP_SECONDS)
        return number

    assert list(Overlap().stream(act, range(3 * CONCURRENCY), room=0)) == list(range(3 * CONCURRENCY))


def test_what_a_stream_has_ahead_fits_into_the_room() -> None:
    two_are_held = threading.Event()
    held: set[int] = set()

    def act(number: int, take_room: TakeRoom) -> int:
        take_room(4)
        held.add(number)
        if len(held) == 2:
            two_are_held.set()
        assert two_are_held.wait(GIVEN_UP_SECONDS)
        return number

    for number in Overlap().stream(act, range(50), room=10):
        # Two that fit, and the one that is asked for.
        assert len(held) <= 3
        held.remove(number)


def test_what_is_asked_for_waits_for_no_room_that_others_hold_behind_it() -> None:
    all_is_held = threading.Event()
    held: set[int] = set()

    def act(number: int, take_room: TakeRoom) -> int:
        if number == 0:
            assert all_is_held.wait(GIVEN_UP_SECONDS)
        take_room(5)
        held.add(number)
        if len(held) == 2:
            all_is_held.set()
        return number

    assert list(Overlap().stream(act, range(10), room=10)) == list(range(10))


def test_what_was_yielded_gives_its_room_to_what_is_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yorutsuke_common.overlap.CONCURRENCY", 2)
    held = [threading.Event() for _ in range(10)]

    def act(number: int, take_room: TakeRoom) -> int:
        take_room(1)
        held[number].set()
        # There is room for two: its own, and that of the one before it.
        assert number in {0, 9} or held[number + 1].wait(GIVEN_UP_SECONDS)
        return number

    assert list(Overlap().stream(act, range(10), room=2)) == list(range(10))


@given(st.lists(st.integers(0, 20), max_size=30), st.integers(0, 40))
def test_a_stream_ends_whatever_room_things_take(sizes: list[int], room: int) -> None:
    lock = threading.Lock()
    held = most = 0

    def act(size: int, take_room: TakeRoom) -> int:
        nonlocal held, most
        take_room(size)
        with lock:
            held += size
            most = max(most, held)
        return size

    taken: list[int] = []
    for size in Overlap().stream(act, sizes, room):
        taken.append(size)
        # What was yielded gives its room back when the next one is asked for.
        with lock:
            held -= size

    assert taken == sizes
    assert most <= room + max(sizes, default=0)


def test_a_streams_failure_is_raised_whatever_its_turn_and_ends_all_that_is_under_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("yorutsuke_common.overlap.CONCURRENCY", 3)
    all_begun = threading.Barrier(3)
    told, waits_for_room = threading.Event(), threading.Event()
    begun: list[int] = []

    class Granted(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits_for_room.set()
            assert super().wait(timeout or GIVEN_UP_SECONDS)
            return True

    monkeypatch.setattr("yorutsuke_common.overlap.Event", Granted)

    def act(number: int, take_room: TakeRoom) -> int:
        begun.append(number)
        all_begun.wait(GIVEN_UP_SECONDS)
        if number == 0:
            assert told.wait(GIVEN_UP_SECONDS)
        if number == 1:
            assert waits_for_room.wait(GIVEN_UP_SECONDS)
            raise KeyError(number)
        try:
            take_room(1)
        except CancelledError:
            told.set()
            raise
        return number

    overlap = Overlap()
    with pytest.raises(KeyError, match="1"):
        next(overlap.stream(act, range(1000), room=0))

    assert told.is_set()
    assert sorted(begun) == [0, 1, 2]
    _require_all_free(overlap, 3)


def test_a_stream_that_is_out_of_time_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yorutsuke_common.overlap.CONCURRENCY", 3)
    told = threading.Event()
    begun: list[int] = []
    ended: list[int] = []

    def act(number: int, _: TakeRoom) -> int:
        begun.append(number)
        told.wait(GIVEN_UP_SECONDS if number else 0)
        ended.append(number)
        return number

    overlap, left = Overlap(), iter([1, 1, 1, 0.01, 0])
    stream = overlap.stream(act, range(1000), room=0, seconds_left=left.__next__)
    with pytest.raises(OutOfTimeError):
        list(stream)

    assert ended == [0]
    told.set()
    _require_all_free(overlap, 3)
    assert len(begun) <= 4


def test_of_a_stream_without_time_nothing_is_taken_though_it_is_there() -> None:
    with pytest.raises(OutOfTimeError):
        next(Overlap().stream(lambda number, _: number, range(3), room=0, seconds_left=lambda: 0))


def test_a_stream_that_is_left_waits_for_what_is_under_way_and_begins_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yorutsuke_common.overlap.CONCURRENCY", 2)
    left = threading.Event()
    begun: list[int] = []
    ended: list[int] = []

    def act(number: int, _: TakeRoom) -> int:
        begun.append(number)
        assert number == 0 or left.wait(GIVEN_UP_SECONDS)
        ended.append(number)
        return number

    def leave(working: list[Future[None]]) -> None:
        left.set()
        wait(working)

    with closing(Overlap().stream(act, range(1000), room=0)) as stream:
        assert next(stream) == 0
        monkeypatch.setattr("yorutsuke_common.overlap.wait", leave)

    # One more for the thread of the first one.
    assert sorted(ended) == sorted(begun) in ([0, 1], [0, 1, 2])


def _require_all_free(overlap: Overlap, threads: int) -> None:
    all_there = threading.Barrier(threads)
    overlap.each(lambda _: all_there.wait(GIVEN_UP_SECONDS), range(threads))
