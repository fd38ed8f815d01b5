"""Tests of `jobIdIndex`, which lags behind the table when a message comes soon after the submission."""

from typing import Any

import pytest

from .conftest import LogReader
from .stage import JOB_ID, Stage, job_end, simple_record

LOOKS = 5
"""Number of times that the handler queries the index."""


def _hide_job(stage: Stage, looks: int) -> None:
    """Let the first queries find nothing, as if the index did not have the job yet."""
    queries: list[dict[str, Any]] = []

    def respond(params: dict[str, Any]) -> dict[str, Any] | None:
        queries.append(params)
        return {"Items": [], "Count": 0} if len(queries) <= looks else None

    stage.calls.replace_response("Query", respond)


def _events(read_logs: LogReader) -> list[str]:
    return [entry["event"] for entry in read_logs() if "event" in entry and entry["level"] != "DEBUG"]


def test_output_is_processed_despite_index_lag(stage: Stage, read_logs: LogReader) -> None:
    stage.put_job()
    stage.put_images(["img-1"])
    message = stage.put_output(simple_record("img-1"))
    _hide_job(stage, LOOKS - 1)

    assert stage.deliver(message) == []

    assert stage.job()["status"] == "COMPLETED"
    assert _events(read_logs) == ["BATCH_RESULT_STARTED", "BATCH_RESULT_COMPLETED"]


def test_job_end_is_stored_despite_index_lag(stage: Stage, read_logs: LogReader) -> None:
    stage.put_job()
    _hide_job(stage, 1)

    assert stage.deliver(job_end("Failed")) == []

    assert stage.job()["status"] == "FAILED"
    assert _events(read_logs) == ["BATCH_RESULT_JOB_FAILED"]


def test_unknown_job_is_reported_after_the_last_look(stage: Stage, read_logs: LogReader) -> None:
    stage.put_job()
    _hide_job(stage, LOOKS)

    assert stage.deliver(job_end("Failed")) == ["message-0"]

    assert stage.calls.counts() == {"Query": LOOKS}
    [entry] = read_logs()
    assert (entry["level"], entry["error"], entry["jobId"]) == ("CRITICAL", "UnknownJobError", JOB_ID)


@pytest.mark.parametrize(("seconds", "looks"), [(60, LOOKS), (4.9, 1)])
def test_time_limit_bounds_the_looks(stage: Stage, read_logs: LogReader, seconds: float, looks: int) -> None:
    _hide_job(stage, LOOKS)

    assert stage.deliver(job_end("Failed"), seconds=seconds) == ["message-0"]

    assert stage.calls.counts() == {"Query": looks}
    assert _events(read_logs) == ["BATCH_RESULT_FAILED"]
