"""A job's output becomes transactions, its images move, and the job is completed."""

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
    nova_line,
    s3_notification,
    simple_line,
)

IMAGE_IDS = [f"img-{number:03}" for number in range(150)]


def _batch_writes(stage: Stage, table: str) -> list[int]:
    """Return the number of items of each BatchWriteItem call to a table."""
    return [
        len(params["RequestItems"][table])
        for params in stage.calls.of("BatchWriteItem")
        if table in params["RequestItems"]
    ]


@pytest.mark.parametrize("line", [simple_line, nova_line])
def test_a_good_line_becomes_a_transaction_and_its_image_moves(stage: Stage, line: Callable[[str], str]) -> None:
    stage.put_job()
    stage.put_images(["img-1"])
    message = stage.put_output(line("img-1"))
    modified = stage.aws.s3.head_object(Bucket=BUCKET, Key=OUTPUT_KEY)["LastModified"]

    assert stage.deliver(message) == []

    extracted_at = modified.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert stage.transactions()["img-1"] == {
        "transactionId": hashlib.sha256(f"{JOB_ID}#img-1#2026-11-22T14:05:00Z".encode()).hexdigest()[:24],
        "imageId": "img-1",
        "userId": "user-1",
        "jobId": JOB_ID,
        "intentId": f"intent-{JOB_ID}",
        "traceId": "trace-1",
        "amount": Decimal(1280),
        "type": "expense",
        "date": "2026-11-20",
        "merchant": "Kissa Hoshi",
        "category": "other",
        "description": "Coffee with a client",
        "extractedAt": extracted_at,
        "status": "processed",
        "ttl": Decimal(int(modified.timestamp()) + 730 * 86400),
    }
    image = stage.images()["img-1"]
    moved_to = image["processedKey"]
    assert image == {
        "imageId": "img-1",
        "userId": "user-1",
        "s3Key": "uploads/user-1/img-1.png",
        "status": "processed",
        "md5": "m",
        "processedKey": moved_to,
    }
    assert set(stage.objects()) == {OUTPUT_KEY, moved_to, DEAD_LETTERS_KEY}
    assert stage.objects()[moved_to] == b"img-1"
    job = stage.job()
    etag = json.loads(message)["Records"][0]["s3"]["object"]["eTag"]
    assert (job["status"], job["processedOutputs"]) == ("COMPLETED", {OUTPUT_KEY: etag})
    assert job["resultStats"] == {"successCount": 1, "failureCount": 0, "totalCount": 1, "migrationFailedCount": 0}


def test_150_transactions_take_six_batch_writes(stage: Stage) -> None:
    stage.put_job()
    stage.put_images(IMAGE_IDS)

    stage.deliver(stage.put_output(*map(simple_line, IMAGE_IDS)))

    assert _batch_writes(stage, TRANSACTIONS) == [25, 25, 25, 25, 25, 25]
    assert len(stage.transactions()) == 150


def test_a_job_takes_the_fewest_calls(stage: Stage) -> None:
    """ceil(n/100) look-ups, ceil(n/25) writes of each table, n copies, ceil(n/1000) deletes; a claim, a completion."""
    stage.put_job()
    stage.put_images(IMAGE_IDS)

    stage.deliver(stage.put_output(*map(simple_line, IMAGE_IDS), "{", simple_line("img-bad", amount=0)))

    assert _batch_writes(stage, PENDING_IMAGES) == [25, 25, 25, 25, 25, 25]
    assert stage.calls.counts() == {
        "Query": 1,
        "GetObject": 1,
        "BatchGetItem": 2,
        "BatchWriteItem": 12,
        "CopyObject": 150,
        "DeleteObjects": 1,
        "PutObject": 1,
        "UpdateItem": 2,
    }


def test_bad_lines_are_kept_with_their_reason_and_leave_their_images(stage: Stage) -> None:
    stage.put_job()
    stage.put_images(["img-1", "img-2", "img-3", "img-4"])
    stage.put_images(["img-5"], user_id="user-2")
    lines = [
        simple_line("img-1"),
        "",
        '{"customData": "img-2", "out',
        simple_line("img-3", amount=-1),
        simple_line("img-1", amount=7),
        simple_line("img-5"),
        '{"customData": "img-4"}',
    ]

    assert stage.deliver(stage.put_output(*lines)) == []

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
        "img-2": "pending",
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


def test_the_same_output_again_changes_nothing_and_is_seen_as_a_duplicate(stage: Stage, logged: LogReader) -> None:
    stage.put_job()
    stage.put_images(["img-1", "img-2"])
    message = stage.put_output(simple_line("img-1"), "{")
    stage.deliver(message)
    before = stage.everything()
    stage.calls.forget()
    logged()

    assert stage.deliver(message) == []

    assert stage.everything() == before
    assert stage.calls.counts() == {"Query": 1}
    assert [entry["event"] for entry in logged()] == ["BATCH_RESULT_DUPLICATE"]


def test_a_duplicate_without_an_etag_in_its_message_is_known_by_the_object(stage: Stage) -> None:
    stage.put_job()
    stage.put_images(["img-1"])
    notification = json.loads(stage.put_output(simple_line("img-1")))
    stage.deliver(json.dumps(notification))
    before = stage.everything()
    del notification["Records"][0]["s3"]["object"]["eTag"]
    stage.calls.forget()

    assert stage.deliver(json.dumps(notification)) == []

    assert stage.everything() == before
    # Claimed, and given up again.
    assert stage.calls.counts() == {"Query": 1, "GetObject": 1, "UpdateItem": 2}


def test_a_persons_later_edit_survives_a_duplicate(stage: Stage) -> None:
    stage.put_job()
    stage.put_images(["img-1"])
    message = stage.put_output(simple_line("img-1"))
    stage.deliver(message)
    edited = stage.transactions()["img-1"]
    stage.aws.dynamodb.update_item(
        TableName=TRANSACTIONS,
        Key={"userId": {"S": edited["userId"]}, "transactionId": {"S": edited["transactionId"]}},
        UpdateExpression="SET merchant = :merchant",
        ExpressionAttributeValues={":merchant": {"S": "Kissa Tsuki"}},
    )

    stage.deliver(message)

    assert stage.transactions()["img-1"]["merchant"] == "Kissa Tsuki"


def test_a_replayed_output_writes_the_same_bytes(stage: Stage) -> None:
    stage.put_job()
    stage.put_images(["img-1", "img-2"])
    message = stage.put_output(simple_line("img-1"), "{")
    stage.deliver(message)
    before = stage.everything()
    stage.forget_processed_outputs()
    stage.calls.forget()

    assert stage.deliver(message) == []

    after = stage.everything()
    for state in (before, after):
        for job in state["yorutsuke-batch-jobs-test"]:
            del job["completedAt"]
    assert after == before
    assert stage.calls.counts()["BatchWriteItem"] == 1
    assert "CopyObject" not in stage.calls.counts()


def test_a_longer_output_under_the_same_key_is_processed_again(stage: Stage) -> None:
    stage.put_job()
    stage.put_images(["img-1", "img-2"])
    stage.deliver(stage.put_output(simple_line("img-1"), "{"))

    stage.deliver(stage.put_output(simple_line("img-1"), simple_line("img-2")))

    assert set(stage.transactions()) == {"img-1", "img-2"}
    assert stage.job()["resultStats"] == {
        "successCount": 2,
        "failureCount": 0,
        "totalCount": 2,
        "migrationFailedCount": 0,
    }
    # The dead letter of the first run is gone with the failure it told of.
    assert stage.objects()[DEAD_LETTERS_KEY] == b""


def test_an_output_without_records_completes_the_job(stage: Stage) -> None:
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


def test_an_s3_key_without_the_uploads_prefix_is_met(stage: Stage) -> None:
    stage.put_job()
    stage.put_images(["img-1"], prefix="")

    stage.deliver(stage.put_output(simple_line("img-1")))

    assert stage.images()["img-1"]["processedKey"].endswith("-img-1.png")
    assert "uploads/user-1/img-1.png" not in stage.objects()


def test_more_than_one_block_of_lines_is_taken_in(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yorutsuke_common.records.reader.CHUNK_RECORDS", 50)
    stage.put_job()
    stage.put_images(IMAGE_IDS[:120])

    stage.deliver(stage.put_output(*map(simple_line, IMAGE_IDS[:120]), simple_line("img-000")))

    assert len(stage.transactions()) == 120
    assert [letter["reason"] for letter in stage.dead_letters()] == ["DUPLICATE_IMAGE"]
    assert stage.calls.counts()["DeleteObjects"] == 3


def test_dead_letters_past_one_part_go_out_as_a_multipart_upload(stage: Stage) -> None:
    stage.put_job()
    long = "x" * 31_000
    lines = [simple_line(f"img-{number}", amount=0, description=long) for number in range(300)]

    stage.deliver(stage.put_output(*lines))

    assert [letter["line"] for letter in stage.dead_letters()] == list(range(1, 301))
    assert stage.calls.counts()["UploadPart"] == 2
    assert "PutObject" not in stage.calls.counts()


def test_a_bare_s3_event_is_processed(stage: Stage) -> None:
    stage.put_job()
    stage.put_images(["img-1"])
    notification = json.loads(stage.put_output(simple_line("img-1")))

    assert stage.invoke(notification) == {"batchItemFailures": []}
    assert stage.job()["status"] == "COMPLETED"


def test_an_s3_event_inside_sns_inside_sqs_is_processed(stage: Stage) -> None:
    stage.put_job()
    stage.put_images(["img-1"])
    message = stage.put_output(simple_line("img-1"))

    assert stage.deliver(json.dumps({"Type": "Notification", "MessageId": "1", "Message": message})) == []
    assert stage.job()["status"] == "COMPLETED"


def test_the_test_event_that_s3_sends_is_acknowledged(stage: Stage) -> None:
    assert stage.deliver(json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": BUCKET})) == []
    assert stage.calls.counts() == {}


def test_a_form_encoded_key_is_decoded(stage: Stage) -> None:
    stage.put_job()
    stage.put_images(["img-1"])
    key = f"batch-output/{JOB_ID}/night 1+2.jsonl.out"
    etag = json.loads(stage.put_output(nova_line("img-1"), key=key))["Records"][0]["s3"]["object"]["eTag"]

    notification = s3_notification(f"batch-output/{JOB_ID}/night+1%2B2.jsonl.out", etag)

    assert stage.deliver(json.dumps(notification)) == []
    assert stage.job()["processedOutputs"] == {key: etag}


def test_a_job_without_a_trace_id_gets_the_same_one_in_every_run(stage: Stage) -> None:
    stage.put_job(traceId=None)
    stage.put_images(["img-1"])

    stage.deliver(stage.put_output(simple_line("img-1")))

    assert stage.transactions()["img-1"]["traceId"] == f"job-{JOB_ID}"
