"""Tests of failures: data is neither lost nor stored twice, and a message fails if a redelivery can help."""

import gzip
import json
from typing import Any

import pytest

from local.in_memory import FunctionDiedError
from yorutsuke_common.aws.calls import RESERVED_SECONDS

from .conftest import LogReader
from .stage import (
    BATCH_JOBS,
    BUCKET,
    JOB_ID,
    OUTPUT_KEY,
    PENDING_IMAGES,
    TRANSACTIONS,
    Stage,
    s3_notification,
    simple_record,
)

IMAGE_IDS = ["img-1", "img-2", "img-3"]


def _throttled(table: str, times: int) -> Any:
    """Throttle all statements of the first calls to a table."""
    remaining = times

    def respond(params: dict[str, Any]) -> dict[str, Any] | None:
        nonlocal remaining
        if f'"{table}"' not in params["Statements"][0]["Statement"] or remaining == 0:
            return None
        remaining -= 1
        return {"Responses": [{"Error": {"Code": "ProvisionedThroughputExceeded"}} for _ in params["Statements"]]}

    return respond


def _seed(stage: Stage) -> str:
    stage.put_job()
    stage.put_images(IMAGE_IDS)
    return stage.put_output(*map(simple_record, IMAGE_IDS), "{")


def _failures(entries: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Return level, error and detail of each BATCH_RESULT_FAILED entry."""
    return [
        (entry["level"], entry["error"], entry["detail"])
        for entry in entries
        if entry.get("event") == "BATCH_RESULT_FAILED"
    ]


def test_throttled_statements_are_retried(stage: Stage, read_logs: LogReader) -> None:
    message = _seed(stage)
    stage.calls.replace_response("BatchExecuteStatement", _throttled(TRANSACTIONS, times=3))

    assert stage.deliver(message) == []

    assert set(stage.transactions()) == set(IMAGE_IDS)
    retries = [entry["attempt"] for entry in read_logs() if entry.get("event") == "DYNAMODB_THROTTLED"]
    assert retries == [1, 2, 3]


@pytest.mark.parametrize("table", [TRANSACTIONS, PENDING_IMAGES])
def test_message_fails_when_statements_stay_throttled(stage: Stage, read_logs: LogReader, table: str) -> None:
    message = _seed(stage)
    stage.calls.replace_response("BatchExecuteStatement", _throttled(table, times=50))

    # The time is sufficient for the calls, but not for retries of throttled ones.
    assert stage.deliver(message, seconds=RESERVED_SECONDS) == ["message-0"]

    assert stage.job()["status"] == "SUBMITTED"
    events = [entry.get("event") for entry in read_logs()]
    assert events[-2:] == ["DYNAMODB_THROTTLED_FINAL", "BATCH_RESULT_FAILED"]
    # The reserved time is sufficient to release the claim.
    assert "claimedBy" not in stage.job()
    # Every image stays in uploads/ until its transaction and its processed key are stored.
    assert {f"uploads/user-1/{image_id}.png" for image_id in IMAGE_IDS} <= set(stage.objects())
    stage.calls.reset()
    assert stage.deliver(message) == []
    assert stage.job()["status"] == "COMPLETED"


def test_message_fails_when_keys_stay_unprocessed(stage: Stage) -> None:
    message = _seed(stage)
    answers = [{"Responses": {}, "UnprocessedKeys": {PENDING_IMAGES: {"Keys": [{"imageId": {"S": "img-1"}}]}}}] * 50
    stage.calls.replace_response("BatchGetItem", lambda _: answers.pop() if answers else None)

    # The time is sufficient for the calls, but not for retries of throttled ones.
    assert stage.deliver(message, seconds=RESERVED_SECONDS) == ["message-0"]

    assert stage.calls.counts()["BatchGetItem"] == 1
    assert stage.transactions() == {}


def test_only_failed_messages_are_returned(stage: Stage) -> None:
    message = _seed(stage)
    invalid = json.dumps(s3_notification("batch-output/unknownjob12/output.jsonl", "0"))

    assert stage.deliver(invalid, message, "not JSON") == ["message-0", "message-2"]

    assert stage.job()["status"] == "COMPLETED"


@pytest.mark.parametrize(
    ("key", "error"),
    [
        ("batch-output/unknownjob12/output.jsonl", "UnknownJobError"),
        ("batch-output/output.jsonl", "InvalidEventError"),
        (f"batch-output/{JOB_ID}/deeper/output.jsonl", "InvalidEventError"),
        (f"batch-output/{JOB_ID}/other.json.out", "InvalidEventError"),
        (f"elsewhere/{JOB_ID}/output.jsonl", "InvalidEventError"),
        ("batch-output//output.jsonl", "InvalidEventError"),
    ],
)
def test_unexpected_object_key_fails_message(stage: Stage, read_logs: LogReader, key: str, error: str) -> None:
    stage.put_job()

    assert stage.deliver(json.dumps(s3_notification(key, "0"))) == ["message-0"]

    [(level, name, detail)] = _failures(read_logs())
    assert (level, name) == ("CRITICAL", error)
    assert (key if error == "InvalidEventError" else "unknownjob12") in detail
    assert "GetObject" not in stage.calls.counts()


def test_object_in_other_bucket_fails_message(stage: Stage, read_logs: LogReader) -> None:
    stage.put_job()

    assert stage.deliver(json.dumps(s3_notification(OUTPUT_KEY, "0", bucket="other"))) == ["message-0"]

    [(_, name, detail)] = _failures(read_logs())
    assert name == "InvalidEventError"
    assert detail == f"bucket 'other' is not this stage's bucket '{BUCKET}'. Correct the notification's source."


def test_missing_output_fails_message(stage: Stage, read_logs: LogReader) -> None:
    stage.put_job()

    assert stage.deliver(json.dumps(s3_notification(OUTPUT_KEY, "0"))) == ["message-0"]

    assert _failures(read_logs()) == [("CRITICAL", "NoSuchKey", "GetObject: NoSuchKey")]
    assert stage.job()["status"] == "SUBMITTED"


def test_direct_s3_event_raises_error_on_failure(stage: Stage) -> None:
    with pytest.raises(Exception, match="has no item in table"):
        stage.invoke(s3_notification("batch-output/unknownjob12/output.jsonl", "0"))


def test_invalid_job_item_fails_message(stage: Stage, read_logs: LogReader) -> None:
    stage.put_job(userId="")
    message = stage.put_output(simple_record("img-1"))

    assert stage.deliver(message) == ["message-0"]

    [(_, name, detail)] = _failures(read_logs())
    assert name == "UnknownJobError"
    assert "userId: must have 1 or more characters" in detail


def test_ambiguous_job_id_fails_message(stage: Stage, read_logs: LogReader) -> None:
    stage.put_job()
    stage.put_job(intentId="intent-second")

    assert stage.deliver(stage.put_output(simple_record("img-1"))) == ["message-0"]

    [(_, name, detail)] = _failures(read_logs())
    assert name == "UnknownJobError"
    assert "has several items" in detail


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_compressed_output_file_fails_message(stage: Stage, read_logs: LogReader, encoding: str) -> None:
    message = _seed(stage)
    content = stage.aws.s3.get_object(Bucket=BUCKET, Key=OUTPUT_KEY)["Body"].read()
    stage.aws.s3.put_object(Bucket=BUCKET, Key=OUTPUT_KEY, Body=gzip.compress(content), ContentEncoding=encoding)

    assert stage.deliver(message) == ["message-0"]

    [(_, name, detail)] = _failures(read_logs())
    assert name == "CompressedOutputError"
    assert detail.startswith(f"object key '{OUTPUT_KEY}' is a gzip file. An output file must not be compressed.")
    assert (stage.job()["status"], stage.transactions()) == ("SUBMITTED", {})


def test_output_after_a_compressed_one_is_processed(stage: Stage) -> None:
    _seed(stage)
    content = stage.aws.s3.get_object(Bucket=BUCKET, Key=OUTPUT_KEY)["Body"].read()
    stage.aws.s3.put_object(Bucket=BUCKET, Key=OUTPUT_KEY, Body=gzip.compress(content))
    stage.deliver(json.dumps(s3_notification(OUTPUT_KEY, "")))

    assert stage.deliver(stage.put_output(*content.decode().splitlines())) == []
    assert (stage.job()["status"], len(stage.transactions())) == ("COMPLETED", len(IMAGE_IDS))


def test_failed_completion_update_fails_message(stage: Stage, read_logs: LogReader) -> None:
    message = _seed(stage)
    stage.calls.fail("UpdateItem", "InternalServerError", when=lambda params: "#status" in params["UpdateExpression"])

    assert stage.deliver(message) == ["message-0"]

    assert _failures(read_logs()) == [("CRITICAL", "InternalServerError", "UpdateItem: InternalServerError")]
    assert stage.job()["status"] == "SUBMITTED"


def test_deleted_item_is_not_recreated(stage: Stage, read_logs: LogReader) -> None:
    message = _seed(stage)

    def delete_record(params: dict[str, Any]) -> None:
        if "#status" in params["UpdateExpression"]:
            stage.aws.dynamodb.delete_item(TableName=BATCH_JOBS, Key={"intentId": {"S": f"intent-{JOB_ID}"}})

    stage.calls.replace_response("UpdateItem", delete_record)

    assert stage.deliver(message) == ["message-0"]

    assert stage.items(BATCH_JOBS) == []
    assert [name for _, name, _ in _failures(read_logs())] == ["RetryableError"]


@pytest.mark.parametrize("operation", ["CopyObject", "DeleteObjects"])
def test_replay_moves_image_after_failed_migration(stage: Stage, read_logs: LogReader, operation: str) -> None:
    message = _seed(stage)
    if operation == "CopyObject":
        stage.calls.fail(operation, "SlowDown", when=lambda params: "img-2" in params["Key"])
    else:
        refused = {"Key": "uploads/user-1/img-2.png", "Code": "InternalError", "Message": "injected"}
        stage.calls.replace_response(operation, lambda _: {"Errors": [refused]})

    assert stage.deliver(message) == []

    assert {image_id: item["status"] for image_id, item in stage.transactions().items()} == {
        "img-1": "processed",
        "img-2": "migrationFailed",
        "img-3": "processed",
    }
    assert "uploads/user-1/img-2.png" in stage.objects()
    assert stage.job()["resultStats"]["migrationFailedCount"] == 1
    failed = [entry for entry in read_logs() if entry.get("event") == "BATCH_RESULT_IMAGE_MIGRATION_FAILED"]
    code = "SlowDown" if operation == "CopyObject" else "InternalError"
    assert [(entry["level"], entry["imageId"], entry["code"]) for entry in failed] == [("WARNING", "img-2", code)]

    stage.calls.reset()
    stage.remove_processed_outputs()
    assert stage.deliver(message) == []

    assert {item["status"] for item in stage.transactions().values()} == {"processed"}
    assert not [key for key in stage.objects() if key.startswith("uploads/")]
    assert stage.job()["resultStats"]["migrationFailedCount"] == 0


def test_failed_delete_call_keeps_all_uploads(stage: Stage) -> None:
    message = _seed(stage)
    stage.calls.fail("DeleteObjects", "AccessDenied")

    assert stage.deliver(message) == []

    assert {item["status"] for item in stage.transactions().values()} == {"migrationFailed"}
    assert {f"uploads/user-1/{image_id}.png" for image_id in IMAGE_IDS} <= set(stage.objects())
    assert stage.job()["resultStats"]["migrationFailedCount"] == 3


def test_item_near_400_kb_fails_only_its_migration(stage: Stage, read_logs: LogReader) -> None:
    message = _seed(stage)
    size = sum(len(name) + len(str(value)) for name, value in stage.images()["img-2"].items())
    # moto's limit is 405,000 bytes. 10 bytes are left, fewer than the shortest attribute of a mark needs.
    stage.change(PENDING_IMAGES, {"imageId": "img-2"}, note="x" * (405_000 - size - len("note") - 10))
    before = stage.images()["img-2"]

    assert stage.deliver(message) == []

    assert {image_id: item["status"] for image_id, item in stage.transactions().items()} == {
        "img-1": "processed",
        "img-2": "migrationFailed",
        "img-3": "processed",
    }
    failed = [entry for entry in read_logs() if entry.get("event") == "BATCH_RESULT_IMAGE_MIGRATION_FAILED"]
    assert [(entry["imageId"], entry["operation"], entry["code"]) for entry in failed] == [
        ("img-2", "UpdateItem", "ValidationError")
    ]
    assert (stage.job()["status"], stage.job()["resultStats"]["migrationFailedCount"]) == ("COMPLETED", 1)
    assert stage.images()["img-2"] == before
    assert [key for key in stage.objects() if key.startswith("uploads/")] == ["uploads/user-1/img-2.png"]


@pytest.mark.parametrize("requested", [None, ["img-1", "img-2"]])
def test_image_without_item_or_request_is_unknown(stage: Stage, requested: list[str] | None) -> None:
    stage.put_job(pendingImageIds=requested)
    # img-2 is only in the job, and img-3 only in pending-images.
    stage.put_images(["img-1", "img-3"])
    records = map(simple_record, ["img-1", "img-2", "img-3", "img-4"])

    assert stage.deliver(stage.put_output(*records)) == []

    unknown = ["img-3", "img-4"] if requested else ["img-2", "img-4"]
    letters = {letter["imageId"]: (letter["reason"], letter["detail"]) for letter in stage.dead_letters()}
    detail = "the image must have an item in pending-images, because the job's images are not known"
    if requested:
        detail = "the image must be one of the job's images"
    assert letters == dict.fromkeys(unknown, ("UNKNOWN_IMAGE", detail))
    assert sorted(stage.transactions()) == [name for name in ("img-1", "img-2", "img-3") if name not in unknown]
    counts = stage.job()["resultStats"]
    assert (counts["successCount"], counts["failureCount"]) == (4 - len(unknown), len(unknown))


def test_image_without_owner_is_an_owner_mismatch(stage: Stage) -> None:
    message = _seed(stage)
    stage.aws.dynamodb.update_item(
        TableName=PENDING_IMAGES, Key={"imageId": {"S": "img-2"}}, UpdateExpression="REMOVE userId"
    )

    assert stage.deliver(message) == []

    letters = {letter.get("imageId"): letter["reason"] for letter in stage.dead_letters()}
    assert letters == {"img-2": "OWNER_MISMATCH", None: "INVALID_JSON"}
    assert sorted(stage.transactions()) == ["img-1", "img-3"]
    assert stage.images()["img-2"]["status"] == "pending"
    assert "uploads/user-1/img-2.png" in stage.objects()


def test_requested_image_without_item_gets_transaction(stage: Stage, read_logs: LogReader) -> None:
    stage.put_job(pendingImageIds=["img-1"])

    assert stage.deliver(stage.put_output(simple_record("img-1"))) == []

    assert stage.transactions()["img-1"]["status"] == "migrationFailed"
    assert stage.job()["resultStats"]["migrationFailedCount"] == 1
    warned = [entry for entry in read_logs() if entry.get("event") == "BATCH_RESULT_IMAGE_MIGRATION_FAILED"]
    assert [(entry["imageId"], entry["code"]) for entry in warned] == [("img-1", "UnknownImage")]


def test_missing_upload_fails_only_its_migration(stage: Stage) -> None:
    message = _seed(stage)
    stage.aws.s3.delete_object(Bucket=BUCKET, Key="uploads/user-1/img-2.png")

    assert stage.deliver(message) == []

    assert stage.transactions()["img-2"]["status"] == "migrationFailed"
    assert stage.images()["img-2"]["status"] == "migrationFailed"


def test_existing_target_does_not_imply_successful_copy(stage: Stage) -> None:
    message = _seed(stage)
    stage.deliver(message)
    target = stage.images()["img-1"]["processedKey"]
    stage.restore_inputs(IMAGE_IDS)
    stage.aws.s3.put_object(Bucket=BUCKET, Key=target, Body=b"another image")
    stage.calls.fail("CopyObject", "SlowDown")
    stage.remove_processed_outputs()

    assert stage.deliver(message) == []

    assert stage.objects()["uploads/user-1/img-1.png"] == b"img-1"
    assert stage.transactions()["img-1"]["status"] == "migrationFailed"


def test_images_with_same_upload_name_stay_separate(stage: Stage) -> None:
    stage.put_job()
    stage.put_images(["img-1"])
    stage.deliver(stage.put_output(simple_record("img-1")))
    second = "secondjob123"
    stage.put_job(second)
    stage.put_images(["img-2"], job_id=second)
    key = "uploads/user-1/img-1.png"
    etag = stage.aws.s3.put_object(Bucket=BUCKET, Key=key, Body=b"another image")["ETag"]
    stage.change(PENDING_IMAGES, {"imageId": "img-2"}, s3Key=key, uploadETag=etag)

    stage.deliver(stage.put_output(simple_record("img-2"), key=f"batch-output/{second}/output.jsonl"))

    images = stage.images()
    assert stage.objects()[images["img-1"]["processedKey"]] == b"img-1"
    assert stage.objects()[images["img-2"]["processedKey"]] == b"another image"


def test_invalid_upload_key_fails_only_its_migration(stage: Stage) -> None:
    message = _seed(stage)
    for image_id, key in (("img-2", "uploads/user-1/"), ("img-3", "uploads/user-1/a\x01.png")):
        stage.change(PENDING_IMAGES, {"imageId": image_id}, s3Key=key)

    assert stage.deliver(message) == []

    assert {image_id: item["status"] for image_id, item in stage.transactions().items()} == {
        "img-1": "processed",
        "img-2": "migrationFailed",
        "img-3": "migrationFailed",
    }


CALLS_OF_A_JOB = [
    "Query",
    "UpdateItem",
    "GetObject",
    "BatchGetItem",
    "BatchExecuteStatement",
    "CopyObject",
    "DeleteObjects",
    "PutObject",
]


@pytest.mark.parametrize("operation", CALLS_OF_A_JOB)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_next_delivery_completes_job_after_crash(stage: Stage, operation: str, moment: str) -> None:
    message = _seed(stage)
    stage.deliver(message)
    clean = stage.comparable_state()
    stage.restore_inputs(IMAGE_IDS)
    stage.calls.reset()
    (stage.calls.crash_before if moment == "before" else stage.calls.crash_after)(operation)

    with pytest.raises(FunctionDiedError):
        stage.deliver(message)

    for image_id in IMAGE_IDS:
        assert [key for key in stage.objects() if key.endswith(f"{image_id}.png")]
    stage.calls.reset()
    stage.expire_claims()
    assert stage.deliver(message) == []
    assert stage.comparable_state() == clean
