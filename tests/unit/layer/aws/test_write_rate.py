"""The rate of writes, which follows the writes that DynamoDB accepts."""

import time

import pytest

from yorutsuke_common.aws.write_rate import DECREASE, GROWTH, INITIAL_RATE, MIN_RATE, WriteRate


class Clock:
    """A clock that only waits and tests advance."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    def writes_per_second(self, rate: WriteRate, writes: int = 10_000) -> float:
        """Return the rate at which writes are sent in chunks of 25, or infinity if they never wait."""
        start = self.now
        for _ in range(writes // 25 + 1):
            self.advance(rate.reserve(25))
        return writes / (self.now - start) if self.now > start else float("inf")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_writes_do_not_wait_before_throttling(clock: Clock) -> None:
    rate = WriteRate()
    rate.adjust(accepted=25, throttled=0)

    assert clock.writes_per_second(rate) == float("inf")


def test_first_throttled_write_sets_initial_rate(clock: Clock) -> None:
    rate = WriteRate()
    rate.adjust(accepted=24, throttled=1)

    assert clock.writes_per_second(rate) == pytest.approx(INITIAL_RATE)


def test_rate_falls_to_the_accepted_writes(clock: Clock) -> None:
    rate = WriteRate()
    rate.adjust(accepted=0, throttled=25)
    for _ in range(4):
        clock.advance(0.5)
        rate.adjust(accepted=400, throttled=5)

    assert clock.writes_per_second(rate) == pytest.approx(800)


def test_rate_falls_slowly_after_few_writes(clock: Clock) -> None:
    rate = WriteRate()
    rate.adjust(accepted=0, throttled=25)
    clock.advance(1)
    rate.adjust(accepted=24, throttled=1)

    assert clock.writes_per_second(rate) == pytest.approx(INITIAL_RATE * DECREASE)


def test_rate_does_not_change_within_a_second(clock: Clock) -> None:
    rate = WriteRate()
    rate.adjust(accepted=0, throttled=25)
    clock.advance(0.9)
    rate.adjust(accepted=1, throttled=24)

    assert clock.writes_per_second(rate) == pytest.approx(INITIAL_RATE)


def test_rate_never_falls_below_its_minimum(clock: Clock) -> None:
    rate = WriteRate()
    for _ in range(20):
        clock.advance(1)
        rate.adjust(accepted=0, throttled=25)

    assert clock.writes_per_second(rate) == pytest.approx(MIN_RATE)


def test_rate_grows_with_the_accepted_writes(clock: Clock) -> None:
    rate = WriteRate()
    rate.adjust(accepted=0, throttled=25)
    clock.advance(1)
    rate.adjust(accepted=900, throttled=0)

    assert clock.writes_per_second(rate) == pytest.approx(900 * GROWTH)


def test_rate_does_not_grow_beyond_the_demand(clock: Clock) -> None:
    rate = WriteRate()
    rate.adjust(accepted=0, throttled=25)
    for _ in range(10):
        clock.advance(1)
        rate.adjust(accepted=100, throttled=0)

    assert clock.writes_per_second(rate) == pytest.approx(INITIAL_RATE)
