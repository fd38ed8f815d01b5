"""Tests of the images that a job holds: each is read by one job at a time, and is released if it was not read."""

from typing import Any

import pytest

from batch_result_handler.handler import load_settings
from local.in_memory import FunctionDiedError

from .aws_calls import crash
from .conftest import LogReader
from .stage import (
    BATCH_JOBS,
    JOB_ID,
    PENDING_IMAGES,
    TRANSACTIONS,
    Stage,
    clear_handler_caches,
    job_end,
    simple_record,
)

IMAGE_IDS = ["img-1", "img-2", "img-3"]
SECOND_JOB = "secondjob123"
BAD_RECORD = simple_record("img-1", amount=-1)


def _seed(stage: Stage, *records: str) -> str:
    """Store a job, its images and its output, and return the output's message."""
    stage.put_job(pendingImageIds=IMAGE_IDS)
    stage.put_images(IMAGE_IDS)
    return stage.put_output(*(records or map(simple_record, IMAGE_IDS)))


def _put_shared_job(stage: Stage, image_ids: list[str] = IMAGE_IDS) -> None:
    """Store a job without a user, with images of user-1 and, for img-3, of user-2."""
    stage.put_job(pendingImageIds=image_ids)
    stage.aws.dynamodb.update_item(
        TableName=BATCH_JOBS, Key={"intentId": {"S": f"intent-{JOB_ID}"}}, UpdateExpression="REMOVE userId"
    )
    stage.put_images(["img-1", "img-2"])
    stage.put_images(["img-3"], user_id="user-2")


def _hold_for_second_job(stage: Stage, image_id: str) -> None:
    """Hold an image for another job, as the orchestrator does."""
    hold = {"intentId": f"intent-{SECOND_JOB}", "submittedAt": "2026-11-27T02:00:00Z", "status": "submitted"}
    stage.change(PENDING_IMAGES, {"imageId": image_id}, **hold)


def _statuses(stage: Stage) -> dict[str, str]:
    return {image_id: item["status"] for image_id, item in stage.images().items()}


def _owners(stage: Stage) -> dict[str, str]:
    return {image_id: item["userId"] for image_id, item in stage.transactions().items()}


def _reasons(stage: Stage) -> dict[str, str]:
    return {letter["imageId"]: letter["reason"] for letter in stage.dead_letters()}


def test_shared_job_uses_the_owner_of_each_image(stage: Stage) -> None:
    _put_shared_job(stage)

    assert stage.deliver(stage.put_output(*map(simple_record, IMAGE_IDS))) == []

    assert _owners(stage) == {"img-1": "user-1", "img-2": "user-1", "img-3": "user-2"}
    assert stage.dead_letters() == []


def test_hostile_record_cannot_change_the_owner(stage: Stage) -> None:
    """A record may name any image, user and key, but only the item of the image decides."""
    _put_shared_job(stage)
    hostile = simple_record("img-3", userId="user-1", description="user-1 uploads/user-1/img-1.png")

    assert stage.deliver(stage.put_output(hostile)) == []

    assert _owners(stage) == {"img-3": "user-2"}
    assert stage.images()["img-3"]["processedKey"].split("/")[2] == "user-2"


def test_outside_image_of_shared_job_is_dead_letter(stage: Stage) -> None:
    _put_shared_job(stage, ["img-1", "img-2"])

    assert stage.deliver(stage.put_output(simple_record("img-1"), simple_record("img-3"))) == []

    assert _owners(stage) == {"img-1": "user-1"}
    assert _reasons(stage) == {"img-3": "UNKNOWN_IMAGE"}


@pytest.mark.parametrize("image_ids", [IMAGE_IDS, None])
def test_unowned_image_of_shared_job_is_dead_letter(stage: Stage, image_ids: Any) -> None:
    _put_shared_job(stage, image_ids)
    stage.delete(PENDING_IMAGES, {"imageId": "img-1"})
    stage.aws.dynamodb.update_item(
        TableName=PENDING_IMAGES, Key={"imageId": {"S": "img-2"}}, UpdateExpression="REMOVE userId"
    )

    assert stage.deliver(stage.put_output(*map(simple_record, IMAGE_IDS))) == []

    assert _owners(stage) == {"img-3": "user-2"}
    assert _reasons(stage) == {"img-1": "UNKNOWN_IMAGE", "img-2": "UNKNOWN_IMAGE"}


def test_owner_of_shared_job_is_read_consistently(stage: Stage) -> None:
    _put_shared_job(stage)

    stage.deliver(stage.put_output(*map(simple_record, IMAGE_IDS)))

    [(request, *_)] = [call["RequestItems"].values() for call in stage.calls.parameters_of("BatchGetItem")]
    assert request["ConsistentRead"] is True


def test_image_of_dead_letter_is_released(stage: Stage, read_logs: LogReader) -> None:
    message = _seed(stage, BAD_RECORD, simple_record("img-2"))

    assert stage.deliver(message) == []

    assert _statuses(stage) == {"img-1": "pending", "img-2": "processed", "img-3": "submitted"}
    [entry] = [entry for entry in read_logs() if entry.get("event") == "BATCH_RESULT_IMAGES_RELEASED"]
    assert (entry["reason"], entry["count"], entry["failed"]) == ("INVALID_TRANSACTION", 1, 0)


def test_image_fails_after_its_last_attempt(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_ATTEMPTS", "1")
    load_settings.cache_clear()
    clear_handler_caches()
    message = _seed(stage, BAD_RECORD, simple_record("img-2"))

    assert stage.deliver(message) == []

    image = stage.images()["img-1"]
    assert (image["status"], image["failureReason"]) == ("failed", "INVALID_TRANSACTION")


def test_second_valid_record_keeps_the_image(stage: Stage) -> None:
    message = _seed(stage, BAD_RECORD, simple_record("img-1"))

    assert stage.deliver(message) == []

    assert stage.images()["img-1"]["status"] == "processed"


def test_complete_output_releases_images_without_record(stage: Stage) -> None:
    stage.deliver(_seed(stage, simple_record("img-1"), "{"))
    assert _statuses(stage)["img-2"] == "submitted"

    assert stage.deliver(stage.put_output_manifest(2, total=3)) == []
    assert _statuses(stage)["img-2"] == "submitted"
    assert stage.deliver(stage.put_output_manifest(2)) == []

    assert _statuses(stage) == {"img-1": "processed", "img-2": "pending", "img-3": "pending"}


@pytest.mark.parametrize("end", ["Failed", "Expired", "Stopped", "PartiallyCompleted"])
def test_job_end_releases_images_without_transaction(stage: Stage, end: str) -> None:
    stage.deliver(_seed(stage, simple_record("img-1")))

    assert stage.deliver(job_end(end)) == []

    assert _statuses(stage) == {"img-1": "processed", "img-2": "pending", "img-3": "pending"}


def test_job_end_releases_images_that_the_index_lacks(stage: Stage) -> None:
    _seed(stage)
    # The handler queries the table of jobs first.
    stage.calls.replace_response("Query", lambda params: {"Items": []} if "status" in params["IndexName"] else None)

    assert stage.deliver(job_end("Failed")) == []

    assert set(_statuses(stage).values()) == {"pending"}


def test_no_other_job_reads_unmoved_image(stage: Stage) -> None:
    message = _seed(stage, simple_record("img-1"))
    stage.calls.fail("CopyObject", "AccessDenied")
    stage.deliver(message)
    stage.calls.reset()

    assert stage.deliver(job_end("PartiallyCompleted")) == []

    assert stage.transactions()["img-1"]["status"] == "migrationFailed"
    assert _statuses(stage)["img-1"] == "migrationFailed"
    stage.remove_processed_outputs()
    assert stage.deliver(message) == []
    assert _statuses(stage)["img-1"] == "processed"


def test_job_end_spares_image_of_interrupted_move(stage: Stage) -> None:
    message = _seed(stage, simple_record("img-1"))
    stage.calls.before_call("CopyObject", crash)
    with pytest.raises(FunctionDiedError):
        stage.deliver(message)
    stage.calls.reset()
    stage.expire_claims()

    assert stage.deliver(job_end("Stopped")) == []

    assert _statuses(stage) == {"img-1": "submitted", "img-2": "pending", "img-3": "pending"}


def test_job_end_waits_for_output_in_progress(stage: Stage) -> None:
    message = _seed(stage)
    failed: list[list[str]] = []
    stage.calls.before_call(
        "CopyObject", lambda: failed.append(stage.deliver_to_second_environment(job_end("PartiallyCompleted")))
    )

    assert stage.deliver(message) == []

    assert failed == [["message-0"]]
    assert set(_statuses(stage).values()) == {"processed"}


def test_late_output_counts_for_released_images(stage: Stage) -> None:
    message = _seed(stage)
    stage.deliver(job_end("Stopped"))
    assert set(_statuses(stage).values()) == {"pending"}

    assert stage.deliver(message) == []

    assert set(_statuses(stage).values()) == {"processed"}
    assert sorted(stage.transactions()) == IMAGE_IDS
    assert {item["attempts"] for item in stage.images().values()} == {1}


def test_late_record_for_other_job_is_dead_letter(stage: Stage) -> None:
    message = _seed(stage)
    stage.deliver(job_end("Stopped"))
    _hold_for_second_job(stage, "img-1")
    before = stage.images()["img-1"]

    assert stage.deliver(message) == []

    assert _reasons(stage) == {"img-1": "OTHER_JOB"}
    assert sorted(stage.transactions()) == ["img-2", "img-3"]
    assert stage.images()["img-1"] == before
    assert "uploads/user-1/img-1.png" in stage.objects()


def test_image_taken_at_last_moment_is_dead_letter(stage: Stage) -> None:
    """Another job holds a released image between the read of its item and the update."""
    message = _seed(stage)
    stage.deliver(job_end("Stopped"))
    stage.calls.reset()
    stage.calls.before_call("BatchExecuteStatement", lambda: _hold_for_second_job(stage, "img-1"))

    assert stage.deliver(message) == []

    assert _reasons(stage) == {"img-1": "OTHER_JOB"}
    assert sorted(stage.transactions()) == ["img-2", "img-3"]


def test_stored_transaction_counts_despite_other_job(stage: Stage) -> None:
    """The user photographs the receipt again, and another job reads the new photograph."""
    message = _seed(stage)
    stage.deliver(message)
    before = stage.transactions()
    _hold_for_second_job(stage, "img-1")
    stage.remove_processed_outputs()

    assert stage.deliver(message) == []

    assert (stage.transactions(), stage.dead_letters()) == (before, [])
    assert stage.images()["img-1"]["intentId"] == f"intent-{SECOND_JOB}"


def test_image_processed_by_other_job_is_dead_letter(stage: Stage) -> None:
    message = _seed(stage)
    stage.change(
        PENDING_IMAGES, {"imageId": "img-1"}, status="processed", processedKey="processed/x", transactionId="t"
    )

    assert stage.deliver(message) == []

    assert _reasons(stage) == {"img-1": "OTHER_JOB"}
    assert stage.images()["img-1"]["transactionId"] == "t"


def test_replaced_photograph_waits_for_another_job(stage: Stage) -> None:
    message = _seed(stage)
    stage.calls.fail("CopyObject", "PreconditionFailed", when=lambda params: "img-1" in params["Key"])

    assert stage.deliver(message) == []

    image = stage.images()["img-1"]
    assert (image["status"], image["attempts"]) == ("pending", 0)
    assert stage.transactions()["img-1"]["status"] == "migrationFailed"


def test_item_with_another_upload_waits_for_another_job(stage: Stage) -> None:
    message = _seed(stage)
    stage.calls.before_call(
        "CopyObject", lambda: stage.change(PENDING_IMAGES, {"imageId": "img-1"}, s3Key="user-1/new.png")
    )

    assert stage.deliver(message) == []

    image = stage.images()["img-1"]
    assert (image["status"], image["s3Key"], image["attempts"]) == ("pending", "user-1/new.png", 0)
    assert stage.transactions()["img-1"]["status"] == "migrationFailed"


def test_release_follows_the_dead_letters(stage: Stage) -> None:
    """A crash between both must not lose the reason, and the redelivery releases the image."""
    message = _seed(stage, BAD_RECORD, simple_record("img-2"))
    stage.calls.before_call("BatchExecuteStatement", crash, 2)
    with pytest.raises(FunctionDiedError):
        stage.deliver(message)
    assert _reasons(stage) == {"img-1": "INVALID_TRANSACTION"}
    assert _statuses(stage)["img-1"] == "submitted"
    stage.calls.reset()
    stage.expire_claims()

    assert stage.deliver(message) == []

    assert _statuses(stage)["img-1"] == "pending"
    assert len(stage.items(TRANSACTIONS)) == 1
