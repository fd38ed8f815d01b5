"""Deliveries at once: one function at a time has a job, and whoever comes meanwhile comes back."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from local.in_memory import FunctionDiedError

from .conftest import LogReader
from .stage import BATCH_JOBS, JOB_ID, OUTPUT_KEY, TRANSACTIONS, Stage, simple_line

IMAGE_IDS = ["img-1", "img-2", "img-3"]
CLAIMED_OPERATIONS = ["GetObject", "BatchGetItem", "BatchWriteItem", "CopyObject", "DeleteObjects", "PutObject"]
"""What is called while a function has the job."""
KEY = {"intentId": {"S": f"intent-{JOB_ID}"}}


def _seed(stage: Stage) -> str:
    stage.put_job()
    stage.put_images(IMAGE_IDS)
    return stage.put_output(*map(simple_line, IMAGE_IDS), "{")


def _at_first(stage: Stage, operation: str, act: Callable[[], None]) -> None:
    """Let something happen just before the first call of an operation."""
    happened: list[str] = []

    def answer(_: dict[str, Any]) -> None:
        if not happened:
            happened.append(operation)
            act()

    stage.calls.answer(operation, answer)


@pytest.mark.parametrize("operation", CLAIMED_OPERATIONS)
def test_a_message_that_meets_a_function_at_work_comes_back_and_touches_nothing(
    stage: Stage, logged: LogReader, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    # No copy is under way while another waits.
    monkeypatch.setattr("yorutsuke_common.aws.calls.CONCURRENCY", 1)
    message = _seed(stage)

    def meet() -> None:
        before = stage.everything()
        assert stage.deliver_elsewhere(message) == ["message-0"]
        assert stage.everything() == before

    _at_first(stage, operation, meet)

    assert stage.deliver(message) == []

    entries = logged()
    [met] = [entry for entry in entries if entry.get("event") == "BATCH_RESULT_JOB_CLAIMED"]
    assert (met["jobId"], met["key"]) == (JOB_ID, OUTPUT_KEY)
    assert datetime.fromisoformat(met["claimedUntil"]) > datetime.now(UTC)
    said = [(entry.get("level"), entry.get("event")) for entry in entries]
    assert [event for level, event in said if level == "WARNING"] == ["BATCH_RESULT_JOB_CLAIMED"]
    assert [event for level, event in said if level == "CRITICAL"] == []
    assert {item["status"] for item in stage.transactions().values()} == {"processed"}
    done = stage.everything()
    assert "claimedBy" not in stage.job()
    assert stage.deliver(message) == []
    assert stage.everything() == done


def test_a_longer_output_that_appears_meanwhile_is_taken_in_when_its_message_comes_back(stage: Stage) -> None:
    stage.put_job()
    stage.put_images(IMAGE_IDS)
    older = stage.put_output(simple_line("img-1"), "{")
    newer: list[str] = []

    def appear() -> None:
        newer.append(stage.put_output(*map(simple_line, IMAGE_IDS)))
        assert stage.deliver_elsewhere(*newer) == ["message-0"]

    _at_first(stage, "PutObject", appear)

    assert stage.deliver(older) == []
    assert stage.deliver(*newer) == []

    assert stage.job()["resultStats"]["successCount"] == 3
    assert stage.job()["resultStats"]["totalCount"] == 3
    assert stage.dead_letters() == []


def test_a_job_completed_between_look_up_and_claim_is_a_duplicate(stage: Stage, logged: LogReader) -> None:
    message = _seed(stage)
    done: list[dict[str, Any]] = []

    def overtake() -> None:
        assert stage.deliver_elsewhere(message) == []
        done.append(stage.everything())

    _at_first(stage, "UpdateItem", overtake)

    assert stage.deliver(message) == []

    assert [stage.everything()] == done
    assert [entry["event"] for entry in logged() if "DUPLICATE" in entry.get("event", "")] == ["BATCH_RESULT_DUPLICATE"]


def test_the_claim_of_a_function_that_died_lasts_as_long_as_it_may_have_lived(stage: Stage) -> None:
    message = _seed(stage)
    stage.calls.die_before("CopyObject")
    before = int(time.time())
    with pytest.raises(FunctionDiedError):
        stage.deliver(message)
    after = int(time.time())
    stage.calls.forget()

    # The context gives a function a minute; five seconds are for clocks that differ.
    assert before + 65 <= stage.job()["claimedUntil"] <= after + 65
    assert stage.deliver(message) == ["message-0"]

    stage.outlive_claims()
    assert stage.deliver(message) == []
    assert stage.job()["status"] == "COMPLETED"


def test_a_function_that_fails_leaves_the_job_free(stage: Stage) -> None:
    message = _seed(stage)
    stage.calls.fail("BatchWriteItem", "InternalServerError")

    assert stage.deliver(message) == ["message-0"]

    assert {"claimedBy", "claimedUntil"}.isdisjoint(stage.job())
    stage.calls.forget()
    assert stage.deliver(message) == []


def test_a_claim_that_cannot_be_given_up_is_reported_beside_the_failure(stage: Stage, logged: LogReader) -> None:
    message = _seed(stage)
    stage.calls.fail("GetObject", "SlowDown")
    stage.calls.fail("UpdateItem", "InternalServerError", when=lambda params: "REMOVE" in params["UpdateExpression"])

    assert stage.deliver(message) == ["message-0"]

    said = [(entry["event"], entry.get("code"), entry.get("detail")) for entry in logged() if "event" in entry]
    assert ("BATCH_RESULT_CLAIM_KEPT", "InternalServerError", None) in said
    assert ("BATCH_RESULT_FAILED", None, "GetObject: SlowDown") in said


def test_a_function_whose_claim_was_taken_away_does_not_complete_the_job(stage: Stage, logged: LogReader) -> None:
    message = _seed(stage)

    def take_away() -> None:
        stage.aws.dynamodb.update_item(
            TableName=BATCH_JOBS,
            Key=KEY,
            UpdateExpression="SET claimedBy = :other",
            ExpressionAttributeValues={":other": {"S": "another function"}},
        )

    _at_first(stage, "PutObject", take_away)

    assert stage.deliver(message) == ["message-0"]

    assert stage.job()["status"] == "SUBMITTED"
    # Not its own to give up.
    assert stage.job()["claimedBy"] == "another function"
    [failed] = [entry for entry in logged() if entry.get("event") == "BATCH_RESULT_FAILED"]
    assert failed["error"] == "RetryableError"


def test_an_image_that_another_job_moved_meanwhile_counts_as_moved(stage: Stage) -> None:
    """An operator may have submitted an image again."""
    second = "secondjob123"
    stage.put_job(second)
    other = stage.put_output(*map(simple_line, IMAGE_IDS), key=f"batch-output/{second}/output.jsonl")
    message = _seed(stage)

    def overtake() -> None:
        assert stage.deliver_elsewhere(other) == []

    _at_first(stage, "CopyObject", overtake)

    assert stage.deliver(message) == []

    statuses = {(item["jobId"], item["imageId"]): item["status"] for item in stage.items(TRANSACTIONS)}
    assert statuses == {(job_id, image_id): "processed" for job_id in (JOB_ID, second) for image_id in IMAGE_IDS}
    assert stage.job()["resultStats"]["migrationFailedCount"] == 0
    assert [key for key in stage.objects() if key.startswith("uploads/")] == []


TENANTS = [f"user-{number}" for number in range(10)]
STRUCK = "user-3"


def _job_of(user_id: str) -> str:
    return f"jobof{user_id.replace('-', ''):>07}"


def _seed_tenants(stage: Stage) -> list[str]:
    """Give each tenant a job of two receipts and a broken line; return the messages of their outputs."""
    messages: list[str] = []
    for user_id in TENANTS:
        image_ids = [f"{user_id}-img-{number}" for number in range(2)]
        stage.put_job(_job_of(user_id), userId=user_id)
        stage.put_images(image_ids, user_id=user_id)
        key = f"batch-output/{_job_of(user_id)}/output.jsonl"
        messages.append(stage.put_output(*map(simple_line, image_ids), "{", key=key))
    return messages


def _of_all_but(stage: Stage, user_id: str) -> dict[str, list[dict[str, Any]]]:
    """Return the items of every tenant but one, without the time of completion."""
    settled = stage.settled()
    return {
        table: [item for item in items if item["userId"] != user_id]
        for table, items in settled.items()
        if table != "objects"
    }


def _is_of_the_struck(params: dict[str, Any]) -> bool:
    return STRUCK in repr(params) or _job_of(STRUCK) in repr(params)


@pytest.mark.parametrize("operation", ["Query", "UpdateItem", *CLAIMED_OPERATIONS])
def test_ten_jobs_in_one_batch_fail_each_for_itself(stage: Stage, operation: str) -> None:
    messages = _seed_tenants(stage)
    stage.calls.fail(operation, "InternalServerError", when=_is_of_the_struck)

    failed = stage.deliver(*messages)

    # An image's move fails for itself as well, and its job is completed.
    assert failed == ([] if operation in {"CopyObject", "DeleteObjects"} else [f"message-{TENANTS.index(STRUCK)}"])
    others = [job for job in stage.items(BATCH_JOBS) if job["userId"] != STRUCK]
    assert [job["status"] for job in others] == ["COMPLETED"] * 9
    assert {item["userId"] for item in stage.transactions().values() if item["status"] == "processed"} >= (
        set(TENANTS) - {STRUCK}
    )
    struck = _of_all_but(stage, STRUCK)

    stage.calls.forget()
    for job in stage.items(BATCH_JOBS):
        stage.forget_processed_outputs(job["jobId"])
        stage.outlive_claims(job["jobId"])
    assert stage.deliver(*messages) == []
    assert _of_all_but(stage, STRUCK) == struck
    assert {item["status"] for item in stage.transactions().values()} == {"processed"}
    assert len(stage.transactions()) == 20
