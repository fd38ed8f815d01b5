"""Concurrent deliveries: one invocation at a time claims a job, and SQS redelivers other messages."""

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from local.in_memory import FunctionDiedError

from .conftest import LogReader
from .stage import BATCH_JOBS, JOB_ID, OUTPUT_KEY, TRANSACTIONS, Stage, simple_record

IMAGE_IDS = ["img-1", "img-2", "img-3"]
CLAIMED_OPERATIONS = ["GetObject", "BatchGetItem", "BatchExecuteStatement", "CopyObject", "DeleteObjects", "PutObject"]
"""Operations that the handler calls while it holds the claim."""
KEY = {"intentId": {"S": f"intent-{JOB_ID}"}}
"""The time at which the jobs of `Stage.put_job` were submitted."""


def _seed(stage: Stage) -> str:
    stage.put_job()
    stage.put_images(IMAGE_IDS)
    return stage.put_output(*map(simple_record, IMAGE_IDS), "{")


@pytest.mark.parametrize("operation", CLAIMED_OPERATIONS)
def test_message_fails_while_job_is_claimed(
    stage: Stage, read_logs: LogReader, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    # With sequential calls, no other copy runs during the second delivery.
    monkeypatch.setattr("yorutsuke_common.aws.calls.CONCURRENCY", 1)
    message = _seed(stage)

    def deliver_second() -> None:
        before = stage.state()
        assert stage.deliver_to_second_environment(message) == ["message-0"]
        assert stage.state() == before

    stage.calls.before_call(operation, deliver_second)

    assert stage.deliver(message) == []

    entries = read_logs()
    [warning] = [entry for entry in entries if entry.get("event") == "BATCH_RESULT_JOB_CLAIMED"]
    assert (warning["jobId"], warning["key"]) == (JOB_ID, OUTPUT_KEY)
    assert datetime.fromisoformat(warning["claimedUntil"]) > datetime.now(UTC)
    levels = [(entry.get("level"), entry.get("event")) for entry in entries]
    assert [event for level, event in levels if level == "WARNING"] == ["BATCH_RESULT_JOB_CLAIMED"]
    assert [event for level, event in levels if level == "CRITICAL"] == []
    assert {item["status"] for item in stage.transactions().values()} == {"processed"}
    done = stage.state()
    assert "claimedBy" not in stage.job()
    assert stage.deliver(message) == []
    assert stage.state() == done


def test_extended_output_is_processed_on_redelivery(stage: Stage) -> None:
    stage.put_job()
    stage.put_images(IMAGE_IDS)
    older = stage.put_output(simple_record("img-1"), "{")
    newer: list[str] = []

    def extend_output() -> None:
        newer.append(stage.put_output(*map(simple_record, IMAGE_IDS)))
        assert stage.deliver_to_second_environment(*newer) == ["message-0"]

    stage.calls.before_call("PutObject", extend_output)

    assert stage.deliver(older) == []
    assert stage.deliver(*newer) == []

    assert stage.job()["resultStats"]["successCount"] == 3
    assert stage.job()["resultStats"]["totalCount"] == 3
    assert stage.dead_letters() == []


def test_job_completed_before_claim_is_duplicate(stage: Stage, read_logs: LogReader) -> None:
    message = _seed(stage)
    done: list[dict[str, Any]] = []

    def deliver_first() -> None:
        assert stage.deliver_to_second_environment(message) == []
        done.append(stage.state())

    stage.calls.before_call("UpdateItem", deliver_first)

    assert stage.deliver(message) == []

    assert [stage.state()] == done
    assert [entry["event"] for entry in read_logs() if "DUPLICATE" in entry.get("event", "")] == [
        "BATCH_RESULT_DUPLICATE"
    ]


def test_claim_outlasts_timeout_of_crashed_function(stage: Stage) -> None:
    message = _seed(stage)
    stage.calls.crash_before("CopyObject")
    before = int(time.time())
    with pytest.raises(FunctionDiedError):
        stage.deliver(message)
    after = int(time.time())
    stage.calls.reset()

    # The context allows 60 seconds. The claim adds 5 seconds, because clocks differ.
    assert before + 65 <= stage.job()["claimedUntil"] <= after + 65
    assert stage.deliver(message) == ["message-0"]

    stage.expire_claims()
    assert stage.deliver(message) == []
    assert stage.job()["status"] == "COMPLETED"


def test_failed_delivery_releases_claim(stage: Stage) -> None:
    message = _seed(stage)
    stage.calls.fail("BatchExecuteStatement", "InternalServerError")

    assert stage.deliver(message) == ["message-0"]

    assert {"claimedBy", "claimedUntil"}.isdisjoint(stage.job())
    stage.calls.reset()
    assert stage.deliver(message) == []


def test_failed_claim_release_is_logged(stage: Stage, read_logs: LogReader) -> None:
    message = _seed(stage)
    stage.calls.fail("GetObject", "SlowDown")
    stage.calls.fail("UpdateItem", "InternalServerError", when=lambda params: "REMOVE" in params["UpdateExpression"])

    assert stage.deliver(message) == ["message-0"]

    entries = [(entry["event"], entry.get("code"), entry.get("detail")) for entry in read_logs() if "event" in entry]
    assert ("BATCH_RESULT_CLAIM_KEPT", "InternalServerError", None) in entries
    assert ("BATCH_RESULT_FAILED", None, "GetObject: SlowDown") in entries


def test_function_without_claim_cannot_complete_job(stage: Stage, read_logs: LogReader) -> None:
    message = _seed(stage)

    def replace_claim() -> None:
        stage.aws.dynamodb.update_item(
            TableName=BATCH_JOBS,
            Key=KEY,
            UpdateExpression="SET claimedBy = :other",
            ExpressionAttributeValues={":other": {"S": "another function"}},
        )

    stage.calls.before_call("PutObject", replace_claim)

    assert stage.deliver(message) == ["message-0"]

    assert stage.job()["status"] == "SUBMITTED"
    # A function releases only its own claim.
    assert stage.job()["claimedBy"] == "another function"
    [failed] = [entry for entry in read_logs() if entry.get("event") == "BATCH_RESULT_FAILED"]
    assert failed["error"] == "RetryableError"


def test_completion_by_other_function_is_lost_claim(stage: Stage, read_logs: LogReader) -> None:
    message = _seed(stage)

    def complete_with_other_claim() -> None:
        stage.expire_claims()
        assert stage.deliver_to_second_environment(message) == []

    stage.calls.before_call("PutObject", complete_with_other_claim)

    assert stage.deliver(message) == ["message-0"]

    entries = read_logs()
    [failed] = [entry for entry in entries if entry.get("event") == "BATCH_RESULT_FAILED"]
    assert (failed["error"], "was lost while" in failed["detail"]) == ("RetryableError", True)
    # The metrics precede the completion, so both functions emit the same counts. The failure rate stays the same.
    assert [entry["SuccessCount"] for entry in entries if "SuccessCount" in entry] == [[3.0], [3.0]]
    done = stage.state()
    assert stage.deliver(message) == []
    assert [entry["event"] for entry in read_logs()] == ["BATCH_RESULT_DUPLICATE"]
    assert stage.state() == done


def test_repeated_completion_with_own_token_is_accepted(stage: Stage) -> None:
    message = _seed(stage)
    completions: list[dict[str, Any]] = []

    def complete_first(params: dict[str, Any]) -> None:
        """Complete the job and let its output be replayed, as if the answer to the completion had been lost."""
        if "completedAt" in params["UpdateExpression"] and not completions:
            completions.append(params)
            stage.aws.dynamodb.update_item(**params)
            stage.remove_processed_outputs()

    stage.calls.replace_response("UpdateItem", complete_first)

    assert stage.deliver(message) == []

    assert stage.job()["completedBy"] == completions[0]["ExpressionAttributeValues"][":claim"]["S"]
    assert stage.job()["status"] == "COMPLETED"


def test_image_moved_by_other_job_counts_as_moved(stage: Stage) -> None:
    """Two jobs of other programs contain one image, which they do not hold."""
    second = "secondjob123"
    stage.put_job(second)
    other = stage.put_output(*map(simple_record, IMAGE_IDS), key=f"batch-output/{second}/output.jsonl")
    message = _seed(stage)
    stage.remove_holds()

    def deliver_first() -> None:
        assert stage.deliver_to_second_environment(other) == []

    stage.calls.before_call("CopyObject", deliver_first)

    assert stage.deliver(message) == []

    statuses = {(item["jobId"], item["imageId"]): item["status"] for item in stage.items(TRANSACTIONS)}
    assert statuses == {(job_id, image_id): "processed" for job_id in (JOB_ID, second) for image_id in IMAGE_IDS}
    assert stage.job()["resultStats"]["migrationFailedCount"] == 0
    assert [key for key in stage.objects() if key.startswith("uploads/")] == []


USERS = [f"user-{number}" for number in range(10)]
FAILING_USER = "user-3"


def _job_id_of(user_id: str) -> str:
    return f"jobof{user_id.replace('-', ''):>07}"


def _put_jobs(stage: Stage) -> list[str]:
    """Give each user a job with two receipts and an invalid record, and return the messages of their outputs."""
    messages: list[str] = []
    for user_id in USERS:
        image_ids = [f"{user_id}-img-{number}" for number in range(2)]
        stage.put_job(_job_id_of(user_id), userId=user_id)
        stage.put_images(image_ids, user_id=user_id, job_id=_job_id_of(user_id))
        key = f"batch-output/{_job_id_of(user_id)}/output.jsonl"
        messages.append(stage.put_output(*map(simple_record, image_ids), "{", key=key))
    return messages


def _items_of_other_users(stage: Stage, user_id: str) -> dict[str, list[dict[str, Any]]]:
    """Return the items of all users except one, without the completion times of jobs."""
    settled = stage.comparable_state()
    return {
        table: [item for item in items if item["userId"] != user_id]
        for table, items in settled.items()
        if table != "objects"
    }


def _affects_failing_user(params: dict[str, Any]) -> bool:
    return FAILING_USER in repr(params) or _job_id_of(FAILING_USER) in repr(params)


@pytest.mark.parametrize("operation", ["Query", "UpdateItem", *CLAIMED_OPERATIONS])
def test_failing_job_does_not_affect_other_jobs(stage: Stage, operation: str) -> None:
    messages = _put_jobs(stage)
    stage.calls.fail(operation, "InternalServerError", when=_affects_failing_user)

    failed = stage.deliver(*messages)

    # A failed migration does not fail its job.
    assert failed == ([] if operation in {"CopyObject", "DeleteObjects"} else [f"message-{USERS.index(FAILING_USER)}"])
    others = [job for job in stage.items(BATCH_JOBS) if job["userId"] != FAILING_USER]
    assert [job["status"] for job in others] == ["COMPLETED"] * 9
    assert {item["userId"] for item in stage.transactions().values() if item["status"] == "processed"} >= (
        set(USERS) - {FAILING_USER}
    )
    items_of_others = _items_of_other_users(stage, FAILING_USER)

    stage.calls.reset()
    for job in stage.items(BATCH_JOBS):
        stage.remove_processed_outputs(job["jobId"])
        stage.expire_claims(job["jobId"])
    assert stage.deliver(*messages) == []
    assert _items_of_other_users(stage, FAILING_USER) == items_of_others
    assert {item["status"] for item in stage.transactions().values()} == {"processed"}
    assert len(stage.transactions()) == 20
