from datetime import timedelta

import pytest

from yorutsuke import waiting
from yorutsuke.screen import Advance, Screen


def test_wait_ends_when_the_test_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "POLL_SECONDS", 0)
    answers = iter([False, False, True])

    assert waiting.wait_until(Screen(), lambda _: next(answers), timedelta(hours=1), "stopped")
    assert [*answers] == []


def test_wait_tests_once_without_time() -> None:
    answers = iter([False, True])

    assert not waiting.wait_until(Screen(), lambda _: next(answers), timedelta(0), "stopped")
    assert [*answers] == [True]


def test_interrupted_wait_prints_the_message(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(_: Advance) -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        waiting.wait_until(Screen(), interrupt, timedelta(hours=1), "The function continues.")
    assert capsys.readouterr().err.strip() == "The function continues."
