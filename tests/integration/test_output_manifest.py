"""Tests of the output manifest: its counts are compared with the processed records, in any order of messages."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from yorutsuke_common.errors import NotReconciledError
from yorutsuke_common.schema import iso_utc

from .conftest import LogReader
from .stage import (
    BUCKET,
    DEAD_LETTERS_KEY,
    JOB_ID,
    OUTPUT_KEY,
    OUTPUT_MANIFEST_KEY,
    TRANSACTIONS,
    Stage,
    nova_record,
    s3_notification,
)

IMAGE_IDS = [f"img-{number:03}" for number in range(10)]
RECORDS = [nova_record(image_id) for image_id in IMAGE_IDS]
# Both the first 6 records and the others contain an invalid record: truncated JSON, and an amount of 0.
RECORDS[1], RECORDS[7] = RECORDS[1][:40], nova_record(IMAGE_IDS[7], amount=0)
EARLIER, LATER = (datetime(2026, 11, 22, 18, minute, tzinfo=UTC) for minute in (42, 51))


def _partial_output(stage: Stage) -> str:
    """Write an output file with the first 6 records, and return its message."""
    message = stage.put_output(*RECORDS[:6])
    stage.set_last_modified(OUTPUT_KEY, EARLIER)
    return message


def _complete_output(stage: Stage) -> str:
    """Write all records under the same key, and return the message."""
    message = stage.put_output(*RECORDS)
    stage.set_last_modified(OUTPUT_KEY, LATER)
    return message


def _state_without_times(stage: Stage) -> dict[str, Any]:
    """Return the state without the times of transactions, which follow from the version that each was read from."""
    state = stage.comparable_state()
    for transaction in state[TRANSACTIONS]:
        del transaction["extractedAt"], transaction["ttl"]
    return state


def _entries(entries: Sequence[dict[str, Any]], event: str) -> list[dict[str, Any]]:
    return [entry for entry in entries if entry.get("event") == event]


def _metrics(entries: Sequence[dict[str, Any]], name: str) -> list[float]:
    return [entry[name][0] for entry in entries if name in entry]


def _partial_complete_manifest(stage: Stage) -> None:
    assert stage.deliver(_partial_output(stage)) == []
    assert stage.job()["resultStats"]["totalCount"] == 6
    assert stage.deliver(_complete_output(stage)) == []
    assert stage.deliver(stage.put_output_manifest(10)) == []


def _manifest_partial_complete(stage: Stage) -> None:
    manifest = stage.put_output_manifest(10)
    assert stage.deliver(manifest) == ["message-0"]
    assert stage.deliver(_partial_output(stage)) == []
    assert stage.deliver(manifest) == ["message-0"]
    assert stage.deliver(_complete_output(stage)) == []
    assert stage.deliver(manifest) == []


def _growing_manifest(stage: Stage) -> None:
    assert stage.deliver(_partial_output(stage)) == []
    assert stage.deliver(stage.put_output_manifest(6, total=10)) == []
    assert stage.job()["bedrockCounts"]["processedRecordCount"] == 6
    manifest = stage.put_output_manifest(10)
    assert stage.deliver(manifest) == ["message-0"]
    assert stage.deliver(_complete_output(stage)) == []
    # The counts of the partial output do not apply to the complete output.
    assert "bedrockCounts" not in stage.job()
    assert stage.deliver(manifest) == []


def _late_redelivery(stage: Stage) -> None:
    """Deliver the message of the partial output after the complete output was processed."""
    part = _partial_output(stage)
    assert stage.deliver(_complete_output(stage)) == []
    assert stage.deliver(part) == []
    assert stage.deliver(stage.put_output_manifest(10)) == []


def _manifest_and_output_together(stage: Stage) -> None:
    assert stage.deliver(_partial_output(stage)) == []
    assert stage.deliver(stage.put_output_manifest(10), _complete_output(stage)) == ["message-0"]
    assert stage.deliver(stage.put_output_manifest(10)) == []


@pytest.mark.parametrize(
    "deliver_all",
    [
        _partial_complete_manifest,
        _manifest_partial_complete,
        _growing_manifest,
        _late_redelivery,
        _manifest_and_output_together,
    ],
)
def test_growing_output_ends_like_complete_output(stage: Stage, deliver_all: Callable[[Stage], None]) -> None:
    stage.put_job(pendingImageIds=[*IMAGE_IDS, "img-unprocessed"])
    stage.put_images(IMAGE_IDS)

    deliver_all(stage)

    settled = _state_without_times(stage)
    stage.restore_inputs(IMAGE_IDS, pendingImageIds=[*IMAGE_IDS, "img-unprocessed"])
    assert stage.transactions() == {}
    output, manifest = (
        json.dumps(s3_notification(key, stage.aws.s3.head_object(Bucket=BUCKET, Key=key)["ETag"].strip('"')))
        for key in (OUTPUT_KEY, OUTPUT_MANIFEST_KEY)
    )
    assert stage.deliver(output) == []
    assert stage.deliver(manifest) == []
    assert _state_without_times(stage) == settled
    assert stage.job()["resultStats"] == {
        "successCount": 8,
        "failureCount": 2,
        "totalCount": 10,
        "migrationFailedCount": 0,
        # The truncated record ends before its recordId, and img-unprocessed does not have a record.
        "missingCount": 2,
    }
    assert len(stage.dead_letters()) == 2
    assert len(stage.transactions()) == 8


def test_stored_transaction_keeps_its_first_times(stage: Stage) -> None:
    stage.put_job()
    stage.put_images(IMAGE_IDS)
    stage.deliver(_partial_output(stage))
    first = stage.transactions()

    stage.deliver(_complete_output(stage))

    transactions = stage.transactions()
    assert {image_id: transactions[image_id] for image_id in first} == first
    added = [item["extractedAt"] for image_id, item in transactions.items() if image_id not in first]
    assert added == [iso_utc(LATER)] * 3


def test_moved_image_keeps_its_processed_key(stage: Stage) -> None:
    """The second version is written after midnight in Tokyo, so new images get another date."""
    stage.put_job()
    stage.put_images(IMAGE_IDS)
    stage.deliver(stage.put_output(*RECORDS[:6]))
    moved = stage.images()["img-000"]["processedKey"]
    message = stage.put_output(*RECORDS)
    stage.set_last_modified(OUTPUT_KEY, datetime(2027, 1, 1, 15, 0, tzinfo=UTC))

    assert stage.deliver(message) == []

    assert stage.images()["img-000"]["processedKey"] == moved
    assert stage.images()["img-009"]["processedKey"].startswith("processed/2027-01-02/")
    assert sum(key.startswith("processed/") for key in stage.objects()) == 8


def test_matching_manifest_counts_are_stored(stage: Stage, read_logs: LogReader) -> None:
    stage.put_job()
    stage.put_images(IMAGE_IDS)
    stage.deliver(_complete_output(stage))
    stage.calls.reset()
    read_logs()

    assert stage.deliver(stage.put_output_manifest(10)) == []

    assert stage.job()["bedrockCounts"] == {
        "totalRecordCount": 10,
        "processedRecordCount": 10,
        "successRecordCount": 98,
        "errorRecordCount": 2,
        "inputTokenCount": 152300,
        "outputTokenCount": 9120,
    }
    assert stage.job()["status"] == "COMPLETED"
    # The images whose records do not name them are found, and released under a claim.
    released = {"Query": 2, "BatchGetItem": 3, "UpdateItem": 2, "BatchExecuteStatement": 1}
    assert stage.calls.counts() == Counter({"Query": 1, "GetObject": 1, "UpdateItem": 1}) + Counter(released)
    assert "submitted" not in {item["status"] for item in stage.images().values()}
    entries = read_logs()
    [entry] = _entries(entries, "BATCH_RESULT_RECONCILED")
    assert (entry["level"], entry["difference"], entry["intentId"]) == ("INFO", 0, f"intent-{JOB_ID}")
    assert _metrics(entries, "ManifestDifference") == [0]


def test_differing_manifest_counts_fail_message(stage: Stage, read_logs: LogReader) -> None:
    stage.put_job()
    stage.put_images(IMAGE_IDS)
    stage.deliver(_partial_output(stage))
    before = stage.state()
    manifest = stage.put_output_manifest(10)
    read_logs()

    assert stage.deliver(manifest) == ["message-0"]
    with pytest.raises(NotReconciledError) as raised:
        stage.invoke(json.loads(manifest))

    stage.aws.s3.delete_object(Bucket=BUCKET, Key=OUTPUT_MANIFEST_KEY)
    assert stage.state() == before
    entries = read_logs()
    entry, of_direct_event = [entry for entry in entries if "_aws" not in entry]
    names = ("event", "level", "jobId", "processedRecords", "lines", "difference")
    assert [entry[name] for name in names] == ["BATCH_RESULT_NOT_RECONCILED", "WARNING", JOB_ID, 10, 6, 4]
    problem = f"'{OUTPUT_MANIFEST_KEY}' counts 10 records, but the processed output of job '{JOB_ID}' has 6"
    assert (entry["problem"], of_direct_event["problem"]) == (problem, problem)
    assert str(raised.value) == (
        f"{problem}. SQS delivers the message again later. If it reaches the dead-letter queue, redrive it together "
        "with the output's message."
    )
    assert _metrics(entries, "ManifestDifference") == [4, 4]


def test_extra_records_count_as_difference(stage: Stage, read_logs: LogReader) -> None:
    stage.put_job()
    stage.put_images(IMAGE_IDS)
    stage.deliver(_complete_output(stage))

    assert stage.deliver(stage.put_output_manifest(6, total=10)) == ["message-0"]

    assert _metrics(read_logs(), "ManifestDifference") == [4]
    assert "bedrockCounts" not in stage.job()


def test_unprocessed_records_do_not_count_as_difference(stage: Stage, read_logs: LogReader) -> None:
    stage.put_job()
    stage.put_images(IMAGE_IDS)
    stage.deliver(_partial_output(stage))

    assert stage.deliver(stage.put_output_manifest(6, total=10)) == []

    entries = read_logs()
    assert (_metrics(entries, "ManifestDifference"), _metrics(entries, "UnprocessedCount")) == ([0], [4])
    [entry] = _entries(entries, "BATCH_RESULT_RECONCILED")
    assert entry["unprocessedRecords"] == 4


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "it is not valid JSON"),
        ("{", "it is not valid JSON"),
        ("[]", "it must be an object, not an array"),
        ("{}", "totalRecordCount: is missing; processedRecordCount: is missing"),
        (
            '{"totalRecordCount": 1, "processedRecordCount": -1, "successRecordCount": 0, "errorRecordCount": 0}',
            "processedRecordCount: must be at least 0",
        ),
        (" " * 70_000, "is larger than 65536 bytes. Only Bedrock may write this object."),
    ],
)
def test_invalid_manifest_fails_message(stage: Stage, read_logs: LogReader, content: str, problem: str) -> None:
    stage.put_job()
    stage.deliver(stage.put_output())
    job = stage.job()
    read_logs()

    assert stage.deliver(stage.put_output(content, key=OUTPUT_MANIFEST_KEY)) == ["message-0"]

    [failed] = _entries(read_logs(), "BATCH_RESULT_FAILED")
    assert failed["error"] == "InvalidOutputManifestError"
    assert f"'{OUTPUT_MANIFEST_KEY}' is" in failed["detail"]
    assert problem in failed["detail"]
    assert stage.job() == job


def test_manifest_of_unknown_job_fails_message(stage: Stage, read_logs: LogReader) -> None:
    assert stage.deliver(stage.put_output_manifest(1)) == ["message-0"]

    [failed] = _entries(read_logs(), "BATCH_RESULT_FAILED")
    assert failed["error"] == "UnknownJobError"


def test_rewritten_manifest_skips_earlier_message(stage: Stage, read_logs: LogReader) -> None:
    stage.put_job()
    earlier = stage.put_output_manifest(1, total=10)
    later = stage.put_output_manifest(2, total=10)

    assert stage.deliver(earlier, later) == ["message-1"]

    entries = read_logs()
    assert [entry["why"] for entry in _entries(entries, "BATCH_RESULT_MANIFEST_SKIPPED")] == [
        "the output manifest was written again since its notification"
    ]
    assert _metrics(entries, "ManifestDifference") == [2]


def test_manifest_without_etag_is_compared(stage: Stage) -> None:
    stage.put_job()
    stage.put_images(IMAGE_IDS)
    stage.deliver(_partial_output(stage))
    notification = json.loads(stage.put_output_manifest(6, total=10))
    del notification["Records"][0]["s3"]["object"]["eTag"]

    assert stage.deliver(json.dumps(notification)) == []

    assert stage.job()["bedrockCounts"]["processedRecordCount"] == 6


def test_manifest_without_processed_records_is_skipped(stage: Stage, read_logs: LogReader) -> None:
    stage.put_job()
    before = stage.job()

    assert stage.deliver(stage.put_output_manifest(0, total=10)) == []

    assert stage.job() == before
    entries = read_logs()
    assert [entry["why"] for entry in _entries(entries, "BATCH_RESULT_MANIFEST_SKIPPED")] == [
        "Bedrock has not processed a model request yet"
    ]
    assert _metrics(entries, "UnprocessedCount") == [10]


def test_manifest_follows_output_within_one_message(stage: Stage) -> None:
    stage.put_job()
    stage.put_images(IMAGE_IDS)
    records = [
        json.loads(message)["Records"][0] for message in (stage.put_output_manifest(10), _complete_output(stage))
    ]

    assert stage.deliver(json.dumps({"Records": records})) == []

    assert stage.job()["bedrockCounts"]["processedRecordCount"] == 10


def test_concurrent_output_update_fails_manifest_message(stage: Stage, read_logs: LogReader) -> None:
    stage.put_job()
    stage.put_images(IMAGE_IDS)
    stage.deliver(_partial_output(stage))
    manifest = stage.put_output_manifest(6, total=10)
    delivered: list[str] = []

    def extend_output(_: dict[str, Any]) -> None:
        """Process the complete output after the counts are compared and before they are stored."""
        if not delivered:
            delivered.append(_complete_output(stage))
            stage.deliver_to_second_environment(*delivered)

    stage.calls.replace_response("UpdateItem", extend_output)

    assert stage.deliver(manifest) == ["message-0"]

    entries = read_logs()
    assert _entries(entries, "BATCH_RESULT_FAILED") == []
    problem = f"the processed outputs of job '{JOB_ID}' have changed since the job was read"
    refusals = _entries(entries, "BATCH_RESULT_NOT_RECONCILED")
    assert [(entry["lines"], entry["problem"]) for entry in refusals] == [(6, problem)]
    assert stage.job()["resultStats"]["totalCount"] == 10
    assert "bedrockCounts" not in stage.job()


def test_unprocessed_output_does_not_reconcile(stage: Stage) -> None:
    stage.put_job()
    stage.put_images(IMAGE_IDS)
    stage.deliver(_partial_output(stage))
    stage.remove_processed_outputs()

    assert stage.deliver(stage.put_output_manifest(6)) == ["message-0"]


def test_missing_images_are_logged_individually(stage: Stage, read_logs: LogReader) -> None:
    stage.put_job(pendingImageIds=["img-1", "img-2", "img-3", "img-4", "img-5"])
    stage.put_images(["img-1", "img-2"])
    error = json.dumps({"recordId": "img-3", "error": "ThrottlingException"})

    stage.deliver(
        stage.put_output(nova_record("img-1"), nova_record("img-2", amount=-1), error, '{"recordId": "img-4"')
    )

    assert stage.job()["resultStats"]["missingCount"] == 2
    entries = read_logs()
    missing = [(entry["imageId"], entry["level"]) for entry in _entries(entries, "BATCH_RESULT_IMAGE_MISSING")]
    assert missing == [("img-4", "WARNING"), ("img-5", "WARNING")]
    assert _metrics(entries, "MissingCount") == [2]
    assert _metrics(entries, "FailureCount") == [3]


def test_job_without_image_ids_omits_missing_count(stage: Stage, read_logs: LogReader) -> None:
    stage.put_job()

    stage.deliver(stage.put_output("{"))

    assert "missingCount" not in stage.job()["resultStats"]
    assert _metrics(read_logs(), "MissingCount") == []
    assert stage.objects()[DEAD_LETTERS_KEY]
