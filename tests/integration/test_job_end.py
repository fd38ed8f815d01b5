"""Tests of jobs that Bedrock ends before completion: their ends are stored, logged and counted."""

import json
from typing import Any

import pytest

from local.in_memory import FunctionDiedError

from .conftest import LogReader
from .stage import BATCH_JOBS, JOB_ID, Stage, job_end, simple_record

ENDS = {
    "Failed": "FAILED",
    "Expired": "EXPIRED",
    "Stopped": "STOPPED",
    "PartiallyCompleted": "PARTIALLY_COMPLETED",
}
MESSAGE = "The service role cannot read the input."


def _failed_counts(entries: list[dict[str, Any]]) -> list[float]:
    return [entry["JobFailed"][0] for entry in entries if "JobFailed" in entry]


def _events(entries: list[dict[str, Any]]) -> list[str]:
    return [entry["event"] for entry in entries if "_aws" not in entry]


@pytest.mark.parametrize(("end", "status"), ENDS.items())
def test_job_end_is_stored_and_counted(stage: Stage, read_logs: LogReader, end: str, status: str) -> None:
    stage.put_job()
    submitted = stage.job()

    assert stage.deliver(job_end(end, MESSAGE)) == []

    assert stage.job() == {**submitted, "status": status, "bedrockStatus": end, "bedrockMessage": MESSAGE}
    entries = read_logs()
    assert _failed_counts(entries) == [1]
    [entry] = [entry for entry in entries if "_aws" not in entry]
    names = ("event", "level", "bedrockStatus", "jobStatus", "jobId", "intentId", "traceId", "userId")
    assert [entry[name] for name in names] == [
        "BATCH_RESULT_JOB_FAILED",
        "ERROR",
        end,
        "SUBMITTED",
        JOB_ID,
        f"intent-{JOB_ID}",
        "trace-1",
        "user-1",
    ]
    assert MESSAGE not in json.dumps(entries)


@pytest.mark.parametrize("end", ENDS)
def test_order_of_end_and_output_is_irrelevant(stage: Stage, read_logs: LogReader, end: str) -> None:
    stage.put_job()
    stage.put_images(["img-1"])
    output = stage.put_output(simple_record("img-1"), "{")
    assert stage.deliver(output) == []
    assert stage.deliver(job_end(end, MESSAGE)) == []
    settled = stage.comparable_state()
    assert _failed_counts(read_logs()) == [1]

    stage.restore_inputs(["img-1"])
    assert stage.deliver(job_end(end, MESSAGE)) == []
    assert stage.job()["status"] == ENDS[end]
    assert stage.deliver(output) == []

    assert stage.comparable_state() == settled
    assert (stage.job()["status"], stage.job()["bedrockStatus"]) == ("COMPLETED", end)
    assert _failed_counts(read_logs()) == [1]


def test_job_end_preserves_concurrent_completion(stage: Stage) -> None:
    stage.put_job()
    stage.put_images(["img-1"])
    output = stage.put_output(simple_record("img-1"))
    delivered: list[str] = []

    def complete_job(_: dict[str, Any]) -> None:
        """Process the output after the job is read and before its end is stored."""
        if not delivered:
            delivered.append(output)
            stage.deliver_to_second_environment(output)

    stage.calls.replace_response("UpdateItem", complete_job)

    assert stage.deliver(job_end("PartiallyCompleted", MESSAGE)) == []

    job = stage.job()
    assert (job["status"], job["bedrockStatus"], job["bedrockMessage"]) == ("COMPLETED", "PartiallyCompleted", MESSAGE)
    assert job["resultStats"]["successCount"] == 1


def test_repeated_job_end_is_duplicate(stage: Stage, read_logs: LogReader) -> None:
    stage.put_job()
    stage.deliver(job_end("Failed", MESSAGE))
    before = stage.state()
    stage.calls.reset()
    read_logs()

    assert stage.deliver(job_end("Failed", MESSAGE)) == []

    assert stage.state() == before
    assert stage.calls.counts() == {"Query": 1}
    entries = read_logs()
    assert (_events(entries), _failed_counts(entries)) == (["BATCH_RESULT_DUPLICATE"], [])


@pytest.mark.parametrize("moment", ["before", "after"])
def test_job_end_is_counted_before_crash(stage: Stage, read_logs: LogReader, moment: str) -> None:
    stage.put_job()
    updates: list[dict[str, Any]] = []

    def crash_at_second_update(params: dict[str, Any]) -> None:
        """Crash at the update that stores the end. The first one claims the job."""
        updates.append(params)
        if len(updates) == 2:
            if moment == "after":
                stage.aws.dynamodb.update_item(**params)
            raise FunctionDiedError

    stage.calls.replace_response("UpdateItem", crash_at_second_update)

    with pytest.raises(FunctionDiedError):
        stage.deliver(job_end("Expired", MESSAGE))

    assert _failed_counts(read_logs()) == [1]
    stage.calls.reset()
    stage.expire_claims()
    assert stage.deliver(job_end("Expired", MESSAGE)) == []
    assert _failed_counts(read_logs()) == ([1] if moment == "before" else [])
    assert (stage.job()["status"], stage.job()["bedrockMessage"]) == ("EXPIRED", MESSAGE)


def test_later_job_end_replaces_earlier_one(stage: Stage, read_logs: LogReader) -> None:
    stage.put_job()

    assert stage.deliver(job_end("Stopped"), job_end("Failed", MESSAGE)) == []

    assert _failed_counts(read_logs()) == [1, 1]
    job = stage.job()
    assert (job["status"], job["bedrockStatus"], job["bedrockMessage"]) == ("FAILED", "Failed", MESSAGE)


def test_late_job_end_spares_next_job(stage: Stage, read_logs: LogReader) -> None:
    stage.put_job()

    def submit_again(_: dict[str, Any]) -> None:
        """Replace the intent's job, as if the index had returned an earlier job."""
        stage.put_job("secondjob123", intentId=f"intent-{JOB_ID}")

    stage.calls.replace_response("UpdateItem", submit_again)

    assert stage.deliver(job_end("Failed", MESSAGE)) == ["message-0"]

    assert stage.job("secondjob123")["status"] == "SUBMITTED"
    assert read_logs()[-1]["error"] == "RetryableError"


def test_end_of_unknown_job_fails_message(stage: Stage, read_logs: LogReader) -> None:
    assert stage.deliver(job_end("Failed", job_id="unknownjob12")) == ["message-0"]

    entries = read_logs()
    assert (_events(entries), _failed_counts(entries)) == (["BATCH_RESULT_FAILED"], [])
    assert entries[-1]["error"] == "UnknownJobError"
    assert stage.items(BATCH_JOBS) == []


def test_deleted_item_is_not_recreated(stage: Stage, read_logs: LogReader) -> None:
    stage.put_job()

    def delete_record(_: dict[str, Any]) -> None:
        stage.aws.dynamodb.delete_item(TableName=BATCH_JOBS, Key={"intentId": {"S": f"intent-{JOB_ID}"}})

    stage.calls.replace_response("UpdateItem", delete_record)

    assert stage.deliver(job_end("Failed")) == ["message-0"]

    assert stage.items(BATCH_JOBS) == []
    assert read_logs()[-1]["error"] == "RetryableError"


def test_long_bedrock_message_is_truncated(stage: Stage) -> None:
    stage.put_job()

    stage.deliver(job_end("Failed", "長" * 5_000))

    assert stage.job()["bedrockMessage"] == "長" * 1_000


def test_direct_eventbridge_event_is_stored(stage: Stage) -> None:
    stage.put_job()

    assert stage.invoke(json.loads(job_end("Stopped"))) == {"batchItemFailures": []}

    assert (stage.job()["status"], stage.job()["bedrockMessage"]) == ("STOPPED", "")
