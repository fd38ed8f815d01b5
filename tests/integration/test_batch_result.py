"""Tests of the result handler: it stores transactions, moves images and completes the job."""

import hashlib
import json
from collections.abc import Callable
from decimal import Decimal

import pytest

from .conftest import LogReader
from .stage import (
    BUCKET,
    DEAD_LETTERS_KEY,
    JOB_ID,
    OUTPUT_KEY,
    PENDING_IMAGES,
    TRANSACTIONS,
    Stage,
    nova_record,
    s3_notification,
    simple_record,
)

IMAGE_IDS = [f"img-{number:03}" for number in range(150)]


@pytest.mark.parametrize("record", [simple_record, nova_record])
def test_valid_record_stores_transaction_and_moves_image(stage: Stage, record: Callable[[str], str]) -> None:
    stage.put_job()
    stage.put_images(["img-1"])
    upload_etag = stage.images()["img-1"]["uploadETag"]
    message = stage.put_output(record("img-1"))
    modified = stage.aws.s3.head_object(Bucket=BUCKET, Key=OUTPUT_KEY)["LastModified"]

    assert stage.deliver(message) == []

    extracted_at = modified.strftime("%Y-%m-%dT%H:%M:%SZ")
    transaction_id = hashlib.sha256(f"{JOB_ID}#img-1#2026-11-22T14:05:00Z".encode()).hexdigest()[:24]
    assert stage.transactions()["img-1"] == {
        "transactionId": transaction_id,
        "imageId": "img-1",
        "userId": "user-1",
        "jobId": JOB_ID,
        "intentId": f"intent-{JOB_ID}",
        "traceId": "trace-1",
        "amount": Decimal(1280),
        "type": "expense",
        "date": "2025-11-20",
        "merchant": "Kissa Hoshi",
        "category": "other",
        "description": "Coffee with a client",
        "extractedAt": extracted_at,
        "status": "processed",
        "ttl": Decimal(int(modified.timestamp()) + 730 * 86400),
    }
    image = stage.images()["img-1"]
    processed_key = image["processedKey"]
    assert image == {
        "imageId": "img-1",
        "userId": "user-1",
        "s3Key": "uploads/user-1/img-1.png",
        "status": "processed",
        "md5": "m",
        "uploadedAt": "2026-11-22T09:12:44Z",
        "intentId": f"intent-{JOB_ID}",
        "submittedAt": "2026-11-22T14:05:00Z",
        "attempts": 1,
        "uploadETag": upload_etag,
        "processedKey": processed_key,
        "transactionId": transaction_id,
    }
    assert set(stage.objects()) == {OUTPUT_KEY, processed_key, DEAD_LETTERS_KEY}
    assert stage.objects()[processed_key] == b"img-1"
    job = stage.job()
    etag = json.loads(message)["Records"][0]["s3"]["object"]["eTag"]
    assert (job["status"], job["processedOutputs"]) == ("COMPLETED", {OUTPUT_KEY: etag})
    assert job["resultStats"] == {"successCount": 1, "failureCount": 0, "totalCount": 1, "migrationFailedCount": 0}


def test_handler_writes_150_transactions_in_six_calls(stage: Stage) -> None:
    stage.put_job()
    stage.put_images(IMAGE_IDS)

    stage.deliver(stage.put_output(*map(simple_record, IMAGE_IDS)))

    assert [len(call) for call in stage.statements(TRANSACTIONS)] == [25, 25, 25, 25, 25, 25]
    assert len(stage.transactions()) == 150


def test_handler_makes_minimum_number_of_calls(stage: Stage) -> None:
    """For n images: ceil(n/100) reads, ceil(n/25) writes to each table, n copies and ceil(n/1000) deletions.

    The two updates claim the job and complete it.
    """
    stage.put_job()
    stage.put_images(IMAGE_IDS)

    stage.deliver(stage.put_output(*map(simple_record, IMAGE_IDS), "{", simple_record("img-bad", amount=0)))

    assert [len(call) for call in stage.statements(PENDING_IMAGES)] == [25, 25, 25, 25, 25, 25]
    assert stage.calls.counts() == {
        "Query": 1,
        "GetObject": 1,
        "BatchGetItem": 2,
        "BatchExecuteStatement": 12,
        "CopyObject": 150,
        "DeleteObjects": 1,
        "PutObject": 1,
        "UpdateItem": 2,
    }


def test_invalid_records_become_dead_letters(stage: Stage) -> None:
    stage.put_job()
    stage.put_images(["img-1", "img-2", "img-3", "img-4"])
    stage.put_images(["img-5"], user_id="user-2")
    records = [
        simple_record("img-1"),
        "",
        '{"customData": "img-2", "out',
        simple_record("img-3", amount=-1),
        simple_record("img-1", amount=7),
        simple_record("img-5"),
        '{"customData": "img-4"}',
    ]

    assert stage.deliver(stage.put_output(*records)) == []

    letters = [(letter["line"], letter.get("imageId"), letter["reason"]) for letter in stage.dead_letters()]
    assert sorted(letters) == [
        (3, None, "INVALID_JSON"),
        (4, "img-3", "INVALID_TRANSACTION"),
        (5, "img-1", "DUPLICATE_IMAGE"),
        (6, "img-5", "OWNER_MISMATCH"),
        (7, "img-4", "INVALID_RECORD"),
    ]
    assert {image_id: item["status"] for image_id, item in stage.images().items()} == {
        "img-1": "processed",
        # Its record does not name it, so that the job holds it until the output is complete.
        "img-2": "submitted",
        "img-3": "pending",
        "img-4": "pending",
        "img-5": "pending",
    }
    assert stage.transactions()["img-1"]["amount"] == 1280
    assert stage.job()["resultStats"] == {
        "successCount": 1,
        "failureCount": 5,
        "totalCount": 6,
        "migrationFailedCount": 0,
    }


def test_redelivered_output_is_logged_as_duplicate(stage: Stage, read_logs: LogReader) -> None:
    stage.put_job()
    stage.put_images(["img-1", "img-2"])
    message = stage.put_output(simple_record("img-1"), "{")
    stage.deliver(message)
    before = stage.state()
    stage.calls.reset()
    read_logs()

    assert stage.deliver(message) == []

    assert stage.state() == before
    assert stage.calls.counts() == {"Query": 1}
    assert [entry["event"] for entry in read_logs()] == ["BATCH_RESULT_DUPLICATE"]


def test_duplicate_is_detected_without_etag_in_message(stage: Stage) -> None:
    stage.put_job()
    stage.put_images(["img-1"])
    notification = json.loads(stage.put_output(simple_record("img-1")))
    stage.deliver(json.dumps(notification))
    before = stage.state()
    del notification["Records"][0]["s3"]["object"]["eTag"]
    stage.calls.reset()

    assert stage.deliver(json.dumps(notification)) == []

    assert stage.state() == before
    # The updates claim the job and release it.
    assert stage.calls.counts() == {"Query": 1, "GetObject": 1, "UpdateItem": 2}


def test_duplicate_preserves_edited_transaction(stage: Stage) -> None:
    stage.put_job()
    stage.put_images(["img-1"])
    message = stage.put_output(simple_record("img-1"))
    stage.deliver(message)
    stage.change(TRANSACTIONS, stage.transactions()["img-1"], merchant="Kissa Tsuki")

    stage.deliver(message)

    assert stage.transactions()["img-1"]["merchant"] == "Kissa Tsuki"


def test_replay_writes_neither_transactions_nor_images(stage: Stage) -> None:
    stage.put_job()
    stage.put_images(["img-1", "img-2"])
    message = stage.put_output(simple_record("img-1"), "{")
    stage.deliver(message)
    before = stage.comparable_state()
    stage.remove_processed_outputs()
    stage.calls.reset()

    assert stage.deliver(message) == []

    assert stage.comparable_state() == before
    # The reads find the image, its upload, which is gone, and the transaction's status.
    assert stage.calls.counts() == {
        "Query": 1,
        "GetObject": 1,
        "BatchGetItem": 2,
        "HeadObject": 1,
        "PutObject": 1,
        "UpdateItem": 2,
    }


def test_extended_output_is_processed_again(stage: Stage) -> None:
    stage.put_job()
    stage.put_images(["img-1", "img-2"])
    stage.deliver(stage.put_output(simple_record("img-1"), "{"))

    stage.deliver(stage.put_output(simple_record("img-1"), simple_record("img-2")))

    assert set(stage.transactions()) == {"img-1", "img-2"}
    assert stage.job()["resultStats"] == {
        "successCount": 2,
        "failureCount": 0,
        "totalCount": 2,
        "migrationFailedCount": 0,
    }
    # The second delivery replaces the dead letters of the first.
    assert stage.objects()[DEAD_LETTERS_KEY] == b""


def test_output_without_records_completes_job(stage: Stage) -> None:
    stage.put_job()

    stage.deliver(stage.put_output("", "  "))

    assert stage.job()["status"] == "COMPLETED"
    assert stage.job()["resultStats"] == {
        "successCount": 0,
        "failureCount": 0,
        "totalCount": 0,
        "migrationFailedCount": 0,
    }
    assert stage.calls.counts() == {"Query": 1, "GetObject": 1, "PutObject": 1, "UpdateItem": 2}


def test_image_moves_when_key_lacks_uploads_prefix(stage: Stage) -> None:
    stage.put_job()
    stage.put_images(["img-1"], prefix="")

    stage.deliver(stage.put_output(simple_record("img-1")))

    assert stage.images()["img-1"]["processedKey"].endswith("-img-1.png")
    assert "uploads/user-1/img-1.png" not in stage.objects()


def test_output_is_processed_in_several_chunks(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yorutsuke_common.records.reader.CHUNK_RECORDS", 50)
    stage.put_job()
    stage.put_images(IMAGE_IDS[:120])

    stage.deliver(stage.put_output(*map(simple_record, IMAGE_IDS[:120]), simple_record("img-000")))

    assert len(stage.transactions()) == 120
    assert [letter["reason"] for letter in stage.dead_letters()] == ["DUPLICATE_IMAGE"]
    assert stage.calls.counts()["DeleteObjects"] == 3


def test_large_dead_letters_use_multipart_upload(stage: Stage) -> None:
    stage.put_job()
    description = "x" * 31_000
    records = [simple_record(f"img-{number}", amount=0, description=description) for number in range(300)]

    stage.deliver(stage.put_output(*records))

    assert [letter["line"] for letter in stage.dead_letters()] == list(range(1, 301))
    assert stage.calls.counts()["UploadPart"] == 2
    assert "PutObject" not in stage.calls.counts()


def test_direct_s3_event_is_processed(stage: Stage) -> None:
    stage.put_job()
    stage.put_images(["img-1"])
    notification = json.loads(stage.put_output(simple_record("img-1")))

    assert stage.invoke(notification) == {"batchItemFailures": []}
    assert stage.job()["status"] == "COMPLETED"


def test_s3_event_in_sns_message_is_processed(stage: Stage) -> None:
    stage.put_job()
    stage.put_images(["img-1"])
    message = stage.put_output(simple_record("img-1"))

    assert stage.deliver(json.dumps({"Type": "Notification", "MessageId": "1", "Message": message})) == []
    assert stage.job()["status"] == "COMPLETED"


def test_s3_test_event_is_acknowledged(stage: Stage) -> None:
    assert stage.deliver(json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": BUCKET})) == []
    assert stage.calls.counts() == {}


def test_form_encoded_key_is_decoded(stage: Stage) -> None:
    stage.put_job()
    stage.put_images(["img-1"])
    key = f"batch-output/{JOB_ID}/run 1+2.jsonl.out"
    etag = json.loads(stage.put_output(nova_record("img-1"), key=key))["Records"][0]["s3"]["object"]["eTag"]

    notification = s3_notification(f"batch-output/{JOB_ID}/run+1%2B2.jsonl.out", etag)

    assert stage.deliver(json.dumps(notification)) == []
    assert stage.job()["processedOutputs"] == {key: etag}


def test_missing_trace_id_is_derived_from_job_id(stage: Stage) -> None:
    stage.put_job(traceId=None)
    stage.put_images(["img-1"])

    stage.deliver(stage.put_output(simple_record("img-1")))

    assert stage.transactions()["img-1"]["traceId"] == f"job-{JOB_ID}"
