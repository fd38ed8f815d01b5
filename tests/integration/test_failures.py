"""Whatever goes wrong, nothing is lost, nothing is doubled, and the message comes back where coming back can help."""

import json
from typing import Any

import pytest

from local.in_memory import FunctionDiedError

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
    simple_line,
)

IMAGE_IDS = ["img-1", "img-2", "img-3"]


def _unprocessed(table: str, times: int) -> Any:
    """Answer the first calls to a table by handing everything back unprocessed."""
    left = times

    def answer(params: dict[str, Any]) -> dict[str, Any] | None:
        nonlocal left
        if table not in params["RequestItems"] or left == 0:
            return None
        left -= 1
        return {"UnprocessedItems": params["RequestItems"]}

    return answer


def _seed(stage: Stage) -> str:
    stage.put_job()
    stage.put_images(IMAGE_IDS)
    return stage.put_output(*map(simple_line, IMAGE_IDS), "{")


def _failures(logged: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Return level, error and detail of each BATCH_RESULT_FAILED entry."""
    return [
        (entry["level"], entry["error"], entry["detail"])
        for entry in logged
        if entry.get("event") == "BATCH_RESULT_FAILED"
    ]


def test_unprocessed_items_are_sent_again(stage: Stage, logged: LogReader) -> None:
    message = _seed(stage)
    stage.calls.answer("BatchWriteItem", _unprocessed(TRANSACTIONS, times=3))

    assert stage.deliver(message) == []

    assert set(stage.transactions()) == set(IMAGE_IDS)
    retries = [entry["attempt"] for entry in logged() if entry.get("event") == "BATCH_WRITE_RETRIED"]
    assert retries == [1, 2, 3]


@pytest.mark.parametrize("table", [TRANSACTIONS, PENDING_IMAGES])
def test_items_that_stay_unprocessed_fail_the_message_and_the_job_is_not_completed(
    stage: Stage, logged: LogReader, table: str
) -> None:
    message = _seed(stage)
    stage.calls.answer("BatchWriteItem", _unprocessed(table, times=4))

    assert stage.deliver(message) == ["message-0"]

    assert stage.job()["status"] == "SUBMITTED"
    events = [entry.get("event") for entry in logged()]
    assert events[-2:] == ["BATCH_WRITE_FAILED_FINAL", "BATCH_RESULT_FAILED"]
    # No image has left uploads/: its transaction, or the record of where it went, is not durable.
    assert {f"uploads/user-1/{image_id}.png" for image_id in IMAGE_IDS} <= set(stage.objects())
    stage.calls.forget()
    assert stage.deliver(message) == []
    assert stage.job()["status"] == "COMPLETED"


def test_keys_that_stay_unread_fail_the_message(stage: Stage) -> None:
    message = _seed(stage)
    stage.calls.answer("BatchGetItem", lambda params: {"Responses": {}, "UnprocessedKeys": params["RequestItems"]})

    assert stage.deliver(message) == ["message-0"]

    assert stage.calls.counts()["BatchGetItem"] == 4
    assert stage.transactions() == {}


def test_of_several_messages_only_the_one_that_failed_comes_back(stage: Stage) -> None:
    message = _seed(stage)
    poison = json.dumps(s3_notification("batch-output/nobodysjob12/output.jsonl", "0"))

    assert stage.deliver(poison, message, "no JSON") == ["message-0", "message-2"]

    assert stage.job()["status"] == "COMPLETED"


@pytest.mark.parametrize(
    ("key", "error"),
    [
        ("batch-output/nobodysjob12/output.jsonl", "UnknownJobError"),
        ("batch-output/output.jsonl", "InvalidEventError"),
        (f"batch-output/{JOB_ID}/deeper/output.jsonl", "InvalidEventError"),
        (f"batch-output/{JOB_ID}/other.json.out", "InvalidEventError"),
        (f"elsewhere/{JOB_ID}/output.jsonl", "InvalidEventError"),
        ("batch-output//output.jsonl", "InvalidEventError"),
    ],
)
def test_an_object_that_is_no_jobs_output_fails_the_message(
    stage: Stage, logged: LogReader, key: str, error: str
) -> None:
    stage.put_job()

    assert stage.deliver(json.dumps(s3_notification(key, "0"))) == ["message-0"]

    [(level, name, detail)] = _failures(logged())
    assert (level, name) == ("CRITICAL", error)
    assert (key if error == "InvalidEventError" else "nobodysjob12") in detail
    assert "GetObject" not in stage.calls.counts()


def test_an_object_of_another_bucket_fails_the_message(stage: Stage, logged: LogReader) -> None:
    stage.put_job()

    assert stage.deliver(json.dumps(s3_notification(OUTPUT_KEY, "0", bucket="other"))) == ["message-0"]

    [(_, name, detail)] = _failures(logged())
    assert name == "InvalidEventError"
    assert detail == f"bucket 'other' is not this stage's bucket '{BUCKET}'. Correct the notification's source."


def test_an_unreadable_output_fails_the_message(stage: Stage, logged: LogReader) -> None:
    stage.put_job()

    assert stage.deliver(json.dumps(s3_notification(OUTPUT_KEY, "0"))) == ["message-0"]

    assert _failures(logged()) == [("CRITICAL", "NoSuchKey", "GetObject: NoSuchKey")]
    assert stage.job()["status"] == "SUBMITTED"


def test_a_bare_s3_event_that_fails_raises_so_that_lambda_retries_it(stage: Stage) -> None:
    with pytest.raises(Exception, match="has no record in table"):
        stage.invoke(s3_notification("batch-output/nobodysjob12/output.jsonl", "0"))


def test_a_job_record_that_breaks_the_schema_fails_the_message(stage: Stage, logged: LogReader) -> None:
    stage.put_job(userId="")
    message = stage.put_output(simple_line("img-1"))

    assert stage.deliver(message) == ["message-0"]

    [(_, name, detail)] = _failures(logged())
    assert name == "UnknownJobError"
    assert "userId: must have 1 or more characters" in detail


def test_two_records_with_one_job_id_fail_the_message(stage: Stage, logged: LogReader) -> None:
    stage.put_job()
    stage.put_job(intentId="intent-twin")

    assert stage.deliver(stage.put_output(simple_line("img-1"))) == ["message-0"]

    [(_, name, detail)] = _failures(logged())
    assert name == "UnknownJobError"
    assert "has several records" in detail


def test_a_second_output_object_of_a_job_is_refused(stage: Stage, logged: LogReader) -> None:
    stage.deliver(_seed(stage))
    before = stage.everything()
    second_key = f"batch-output/{JOB_ID}/second.jsonl"
    message = stage.put_output(simple_line("img-9"), key=second_key)
    logged()

    assert stage.deliver(message) == ["message-0"]

    assert [name for _, name, _ in _failures(logged())] == ["OutputConflictError"]
    stage.aws.s3.delete_object(Bucket=BUCKET, Key=second_key)
    assert stage.everything() == before


def test_a_job_whose_completion_cannot_be_written_fails_the_message(stage: Stage, logged: LogReader) -> None:
    message = _seed(stage)
    stage.calls.fail("UpdateItem", "InternalServerError", when=lambda params: "#status" in params["UpdateExpression"])

    assert stage.deliver(message) == ["message-0"]

    assert _failures(logged()) == [("CRITICAL", "InternalServerError", "UpdateItem: InternalServerError")]
    assert stage.job()["status"] == "SUBMITTED"


def test_a_job_record_that_vanishes_is_not_made_up_again(stage: Stage, logged: LogReader) -> None:
    message = _seed(stage)

    def vanish(params: dict[str, Any]) -> None:
        if "#status" in params["UpdateExpression"]:
            stage.aws.dynamodb.delete_item(TableName=BATCH_JOBS, Key={"intentId": {"S": f"intent-{JOB_ID}"}})

    stage.calls.answer("UpdateItem", vanish)

    assert stage.deliver(message) == ["message-0"]

    assert stage.items(BATCH_JOBS) == []
    assert [name for _, name, _ in _failures(logged())] == ["RetryableError"]


@pytest.mark.parametrize("operation", ["CopyObject", "DeleteObjects"])
def test_an_image_that_cannot_be_moved_stays_and_a_replay_moves_it(
    stage: Stage, logged: LogReader, operation: str
) -> None:
    message = _seed(stage)
    if operation == "CopyObject":
        stage.calls.fail(operation, "SlowDown", when=lambda params: "img-2" in params["Key"])
    else:
        refused = {"Key": "uploads/user-1/img-2.png", "Code": "InternalError", "Message": "injected"}
        stage.calls.answer(operation, lambda _: {"Errors": [refused]})

    assert stage.deliver(message) == []

    assert {image_id: item["status"] for image_id, item in stage.transactions().items()} == {
        "img-1": "processed",
        "img-2": "migrationFailed",
        "img-3": "processed",
    }
    assert "uploads/user-1/img-2.png" in stage.objects()
    assert stage.job()["resultStats"]["migrationFailedCount"] == 1
    failed = [entry for entry in logged() if entry.get("event") == "BATCH_RESULT_IMAGE_MIGRATION_FAILED"]
    code = "SlowDown" if operation == "CopyObject" else "InternalError"
    assert [(entry["level"], entry["imageId"], entry["code"]) for entry in failed] == [("WARNING", "img-2", code)]

    stage.calls.forget()
    stage.forget_processed_outputs()
    assert stage.deliver(message) == []

    assert {item["status"] for item in stage.transactions().values()} == {"processed"}
    assert not [key for key in stage.objects() if key.startswith("uploads/")]
    assert stage.job()["resultStats"]["migrationFailedCount"] == 0


def test_a_refused_delete_call_keeps_every_source(stage: Stage) -> None:
    message = _seed(stage)
    stage.calls.fail("DeleteObjects", "AccessDenied")

    assert stage.deliver(message) == []

    assert {item["status"] for item in stage.transactions().values()} == {"migrationFailed"}
    assert {f"uploads/user-1/{image_id}.png" for image_id in IMAGE_IDS} <= set(stage.objects())
    assert stage.job()["resultStats"]["migrationFailedCount"] == 3


def test_an_image_that_nobody_knows_gets_its_transaction_all_the_same(stage: Stage, logged: LogReader) -> None:
    stage.put_job()

    assert stage.deliver(stage.put_output(simple_line("img-1"))) == []

    assert stage.transactions()["img-1"]["status"] == "migrationFailed"
    assert stage.job()["resultStats"]["migrationFailedCount"] == 1
    warned = [entry for entry in logged() if entry.get("event") == "BATCH_RESULT_IMAGE_MIGRATION_FAILED"]
    assert [(entry["imageId"], entry["code"]) for entry in warned] == [("img-1", "UnknownImage")]


def test_an_image_that_is_in_neither_place_fails_its_migration_only(stage: Stage) -> None:
    message = _seed(stage)
    stage.aws.s3.delete_object(Bucket=BUCKET, Key="uploads/user-1/img-2.png")

    assert stage.deliver(message) == []

    assert stage.transactions()["img-2"]["status"] == "migrationFailed"
    assert stage.images()["img-2"]["status"] == "pending"


def test_a_target_that_exists_is_no_proof_that_a_failed_copy_was_made(stage: Stage) -> None:
    message = _seed(stage)
    stage.deliver(message)
    target = stage.images()["img-1"]["processedKey"]
    stage.start_over(IMAGE_IDS)
    stage.aws.s3.put_object(Bucket=BUCKET, Key=target, Body=b"another image")
    stage.calls.fail("CopyObject", "SlowDown")
    stage.forget_processed_outputs()

    assert stage.deliver(message) == []

    assert stage.objects()["uploads/user-1/img-1.png"] == b"img-1"
    assert stage.transactions()["img-1"]["status"] == "migrationFailed"


def test_two_images_with_one_upload_name_keep_their_bytes(stage: Stage) -> None:
    stage.put_job()
    stage.put_images(["img-1"])
    stage.deliver(stage.put_output(simple_line("img-1")))
    second = "secondjob123"
    stage.put_job(second)
    stage.aws.s3.put_object(Bucket=BUCKET, Key="uploads/user-1/img-1.png", Body=b"another image")
    stage.aws.dynamodb.put_item(
        TableName=PENDING_IMAGES,
        Item={
            "imageId": {"S": "img-2"},
            "userId": {"S": "user-1"},
            "s3Key": {"S": "uploads/user-1/img-1.png"},
            "status": {"S": "pending"},
        },
    )

    stage.deliver(stage.put_output(simple_line("img-2"), key=f"batch-output/{second}/output.jsonl"))

    images = stage.images()
    assert stage.objects()[images["img-1"]["processedKey"]] == b"img-1"
    assert stage.objects()[images["img-2"]["processedKey"]] == b"another image"


def test_an_image_without_a_usable_key_fails_its_own_migration_only(stage: Stage) -> None:
    message = _seed(stage)
    for image_id, key in (("img-2", "uploads/"), ("img-3", "uploads/a\x01.png")):
        stage.aws.dynamodb.update_item(
            TableName=PENDING_IMAGES,
            Key={"imageId": {"S": image_id}},
            UpdateExpression="SET s3Key = :key",
            ExpressionAttributeValues={":key": {"S": key}},
        )

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
    "BatchWriteItem",
    "CopyObject",
    "DeleteObjects",
    "PutObject",
]


@pytest.mark.parametrize("operation", CALLS_OF_A_JOB)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_function_that_dies_at_any_kind_of_call_leaves_a_state_that_the_next_run_completes(
    stage: Stage, operation: str, moment: str
) -> None:
    message = _seed(stage)
    stage.deliver(message)
    clean = stage.settled()
    stage.start_over(IMAGE_IDS)
    stage.calls.forget()
    (stage.calls.die_before if moment == "before" else stage.calls.die_after)(operation)

    with pytest.raises(FunctionDiedError):
        stage.deliver(message)

    for image_id in IMAGE_IDS:
        assert [key for key in stage.objects() if key.endswith(f"{image_id}.png")]
    stage.calls.forget()
    stage.outlive_claims()
    assert stage.deliver(message) == []
    assert stage.settled() == clean
