"""Jobs that Bedrock ends otherwise than completely: recorded, logged, counted, in either order with their outputs."""

import json
from typing import Any

import pytest

from local.in_memory import FunctionDiedError

from .conftest import LogReader
from .stage import BATCH_JOBS, JOB_ID, Stage, job_end, simple_line

ENDS = {
    "Failed": "FAILED",
    "Expired": "EXPIRED",
    "Stopped": "STOPPED",
    "PartiallyCompleted": "PARTIALLY_COMPLETED",
}
MESSAGE = "The service role cannot read the input."


def _failed_counts(logged: list[dict[str, Any]]) -> list[float]:
    return [entry["JobFailed"][0] for entry in logged if "JobFailed" in entry]


def _events(logged: list[dict[str, Any]]) -> list[str]:
    return [entry["event"] for entry in logged if "_aws" not in entry]


@pytest.mark.parametrize(("end", "status"), ENDS.items())
def test_the_end_reaches_the_record_with_its_message_and_is_counted(
    stage: Stage, logged: LogReader, end: str, status: str
) -> None:
    stage.put_job()
    submitted = stage.job()

    assert stage.deliver(job_end(end, MESSAGE)) == []

    assert stage.job() == {**submitted, "status": status, "bedrockStatus": end, "bedrockMessage": MESSAGE}
    said = logged()
    assert _failed_counts(said) == [1]
    [entry] = [entry for entry in said if "_aws" not in entry]
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
    assert MESSAGE not in json.dumps(said)


@pytest.mark.parametrize("end", ENDS)
def test_end_and_output_come_in_either_order_and_end_in_the_same_state(
    stage: Stage, logged: LogReader, end: str
) -> None:
    stage.put_job()
    stage.put_images(["img-1"])
    output = stage.put_output(simple_line("img-1"), "{")
    assert stage.deliver(output) == []
    assert stage.deliver(job_end(end, MESSAGE)) == []
    settled = stage.settled()
    assert _failed_counts(logged()) == [1]

    stage.start_over(["img-1"])
    assert stage.deliver(job_end(end, MESSAGE)) == []
    assert stage.job()["status"] == ENDS[end]
    assert stage.deliver(output) == []

    assert stage.settled() == settled
    assert (stage.job()["status"], stage.job()["bedrockStatus"]) == ("COMPLETED", end)
    assert _failed_counts(logged()) == [1]


def test_a_late_end_does_not_undo_a_completion_that_comes_in_between(stage: Stage) -> None:
    stage.put_job()
    stage.put_images(["img-1"])
    output = stage.put_output(simple_line("img-1"))
    overtaken: list[str] = []

    def overtake(_: dict[str, Any]) -> None:
        """Let the output be taken in after the job was read, before its end is written."""
        if not overtaken:
            overtaken.append(output)
            stage.deliver_elsewhere(output)

    stage.calls.answer("UpdateItem", overtake)

    assert stage.deliver(job_end("PartiallyCompleted", MESSAGE)) == []

    job = stage.job()
    assert (job["status"], job["bedrockStatus"], job["bedrockMessage"]) == ("COMPLETED", "PartiallyCompleted", MESSAGE)
    assert job["resultStats"]["successCount"] == 1


def test_the_same_end_again_is_a_duplicate_and_counts_nothing(stage: Stage, logged: LogReader) -> None:
    stage.put_job()
    stage.deliver(job_end("Failed", MESSAGE))
    before = stage.everything()
    stage.calls.forget()
    logged()

    assert stage.deliver(job_end("Failed", MESSAGE)) == []

    assert stage.everything() == before
    assert stage.calls.counts() == {"Query": 1}
    said = logged()
    assert (_events(said), _failed_counts(said)) == (["BATCH_RESULT_DUPLICATE"], [])


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_function_that_dies_at_the_write_has_told_the_operator(stage: Stage, logged: LogReader, moment: str) -> None:
    stage.put_job()
    (stage.calls.die_before if moment == "before" else stage.calls.die_after)("UpdateItem")

    with pytest.raises(FunctionDiedError):
        stage.deliver(job_end("Expired", MESSAGE))

    assert _failed_counts(logged()) == [1]
    stage.calls.forget()
    assert stage.deliver(job_end("Expired", MESSAGE)) == []
    assert _failed_counts(logged()) == ([1] if moment == "before" else [])
    assert (stage.job()["status"], stage.job()["bedrockMessage"]) == ("EXPIRED", MESSAGE)


def test_another_end_of_the_same_job_counts_again_and_has_the_last_word(stage: Stage, logged: LogReader) -> None:
    stage.put_job()

    assert stage.deliver(job_end("Stopped"), job_end("Failed", MESSAGE)) == []

    assert _failed_counts(logged()) == [1, 1]
    job = stage.job()
    assert (job["status"], job["bedrockStatus"], job["bedrockMessage"]) == ("FAILED", "Failed", MESSAGE)


def test_the_late_end_of_a_job_is_not_said_of_its_intents_next_job(stage: Stage, logged: LogReader) -> None:
    stage.put_job()

    def submit_again(_: dict[str, Any]) -> None:
        """Let the index lag behind: the intent has another job by the time its end is written."""
        stage.put_job("secondjob123", intentId=f"intent-{JOB_ID}")

    stage.calls.answer("UpdateItem", submit_again)

    assert stage.deliver(job_end("Failed", MESSAGE)) == ["message-0"]

    assert stage.job("secondjob123")["status"] == "SUBMITTED"
    assert logged()[-1]["error"] == "RetryableError"


def test_the_end_of_an_unknown_job_comes_back(stage: Stage, logged: LogReader) -> None:
    assert stage.deliver(job_end("Failed", job_id="nobodysjob12")) == ["message-0"]

    said = logged()
    assert (_events(said), _failed_counts(said)) == (["BATCH_RESULT_FAILED"], [])
    assert said[-1]["error"] == "UnknownJobError"
    assert stage.items(BATCH_JOBS) == []


def test_a_record_that_vanishes_is_not_made_up_again(stage: Stage, logged: LogReader) -> None:
    stage.put_job()

    def vanish(_: dict[str, Any]) -> None:
        stage.aws.dynamodb.delete_item(TableName=BATCH_JOBS, Key={"intentId": {"S": f"intent-{JOB_ID}"}})

    stage.calls.answer("UpdateItem", vanish)

    assert stage.deliver(job_end("Failed")) == ["message-0"]

    assert stage.items(BATCH_JOBS) == []
    assert logged()[-1]["error"] == "RetryableError"


def test_a_long_message_is_cut(stage: Stage) -> None:
    stage.put_job()

    stage.deliver(job_end("Failed", "長" * 5_000))

    assert stage.job()["bedrockMessage"] == "長" * 1_000


def test_a_bare_event_of_eventbridge_is_recorded(stage: Stage) -> None:
    stage.put_job()

    assert stage.invoke(json.loads(job_end("Stopped"))) == {"batchItemFailures": []}

    assert (stage.job()["status"], stage.job()["bedrockMessage"]) == ("STOPPED", "")
