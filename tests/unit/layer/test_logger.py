"""The names of log events, which queries use, and the form of a log entry."""

import io
import itertools
import json
import time
from collections.abc import Iterator

import pytest

from tests.unit.hostile_text import SURROGATE, hostile
from yorutsuke_common.logger import make_logger
from yorutsuke_common.names import LogEvent

_services = (f"logger-test-{number}" for number in itertools.count())


@pytest.fixture
def machine_in_tokyo() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


def test_log_event_value_equals_its_name() -> None:
    names = [
        "BATCH_RESULT_STARTED",
        "BATCH_RESULT_PER_TRANSACTION",
        "BATCH_RESULT_LINE_SKIPPED",
        "DYNAMODB_THROTTLED",
        "DYNAMODB_THROTTLED_FINAL",
        "BATCH_RESULT_IMAGE_MIGRATION_FAILED",
        "BATCH_RESULT_UPLOAD_KEPT",
        "BATCH_RESULT_DUPLICATE",
        "BATCH_RESULT_JOB_CLAIMED",
        "BATCH_RESULT_CLAIM_KEPT",
        "BATCH_RESULT_COPIER_GAVE_UP",
        "BATCH_RESULT_IMAGES_RELEASED",
        "BATCH_RESULT_IMAGE_MISSING",
        "BATCH_RESULT_TEST_EVENT",
        "BATCH_RESULT_COMPLETED",
        "BATCH_RESULT_RECONCILED",
        "BATCH_RESULT_NOT_RECONCILED",
        "BATCH_RESULT_MANIFEST_SKIPPED",
        "BATCH_RESULT_JOB_FAILED",
        "BATCH_RESULT_FAILED",
        "BATCH_SUBMIT_STARTED",
        "BATCH_SUBMIT_RESUMED",
        "BATCH_SUBMIT_DUPLICATE",
        "BATCH_SUBMIT_IMAGE_LEFT_OUT",
        "BATCH_SUBMIT_UPLOAD_KEPT",
        "BATCH_SUBMITTED",
        "BATCH_SUBMIT_REFUSED",
        "BATCH_SUBMIT_FAILED",
        "BATCH_SCHEDULE_STARTED",
        "BATCH_SCHEDULE_ABANDONED",
        "BATCH_SCHEDULE_LIMITED",
        "BATCH_SCHEDULE_ENDED",
    ]

    assert {event.name: event.value for event in LogEvent} == {name: name for name in names}


@pytest.mark.usefixtures("machine_in_tokyo")
def test_log_entry_is_json_with_utc_time(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POWERTOOLS_LOG_LEVEL", "INFO")
    service = next(_services)
    make_logger(service).info("output processing started", event=LogEvent.BATCH_RESULT_STARTED, jobId="abcdefgh1234")

    entry = json.loads(capsys.readouterr().out)

    assert entry.pop("timestamp").endswith("+0000")
    del entry["location"]
    assert entry == {
        "level": "INFO",
        "message": "output processing started",
        "service": service,
        "event": "BATCH_RESULT_STARTED",
        "jobId": "abcdefgh1234",
    }


@pytest.mark.parametrize(("level", "logged"), [("DEBUG", ["debug", "info"]), ("INFO", ["info"])])
def test_log_level_is_read_from_the_environment(
    level: str, logged: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POWERTOOLS_LOG_LEVEL", level)
    logger = make_logger(next(_services))
    logger.debug("debug")
    logger.info("info")

    entries = map(json.loads, capsys.readouterr().out.splitlines())

    assert [entry["message"] for entry in entries] == logged


def test_log_entry_keeps_text_without_an_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding="utf-8", errors="strict")
    monkeypatch.setattr("sys.stdout", stream)
    text = hostile("喫茶") + SURROGATE
    logger = make_logger(next(_services))

    with logger.append_context_keys(key=text):
        # pytest-xdist cannot send a message with a lone surrogate.
        logger.critical(hostile("喫茶"), imageId=text, imageIds=[text], other=LogEvent)

    stream.flush()
    [line] = written.getvalue().splitlines()
    # A terminal that prints the log must not interpret it.
    assert line.isascii()
    entry = json.loads(line)
    assert (entry["key"], entry["imageId"], entry["imageIds"]) == (text, text, [text])
    assert (entry["message"], entry["other"]) == (hostile("喫茶"), str(LogEvent))
