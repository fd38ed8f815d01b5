"""Bedrock's manifest against what was taken in: results shown in stages, in any order, end in one state."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from .conftest import LogReader
from .stage import BUCKET, DEAD_LETTERS_KEY, JOB_ID, MANIFEST_KEY, OUTPUT_KEY, Stage, nova_line, s3_notification

IMAGE_IDS = [f"img-{number:03}" for number in range(10)]
LINES = [nova_line(image_id) for image_id in IMAGE_IDS]
# In the first part, and in what comes later: a line that is no JSON, and one that says no transaction.
LINES[1], LINES[7] = LINES[1][:40], nova_line(IMAGE_IDS[7], amount=0)
EARLIER, LATER = (datetime(2026, 11, 22, 18, minute, tzinfo=UTC) for minute in (42, 51))


def _part(stage: Stage) -> str:
    """Let Bedrock show the first 6 lines; return the message that says so."""
    message = stage.put_output(*LINES[:6])
    stage.date_object(OUTPUT_KEY, EARLIER)
    return message


def _whole(stage: Stage) -> str:
    """Let Bedrock show all lines under the same key; return the message that says so."""
    message = stage.put_output(*LINES)
    stage.date_object(OUTPUT_KEY, LATER)
    return message


def _entries(logged: Sequence[dict[str, Any]], event: str) -> list[dict[str, Any]]:
    return [entry for entry in logged if entry.get("event") == event]


def _metrics(logged: Sequence[dict[str, Any]], name: str) -> list[float]:
    return [entry[name][0] for entry in logged if name in entry]


def _part_whole_manifest(stage: Stage) -> None:
    assert stage.deliver(_part(stage)) == []
    assert stage.job()["resultStats"]["totalCount"] == 6
    assert stage.deliver(_whole(stage)) == []
    assert stage.deliver(stage.put_manifest(10)) == []


def _manifest_part_whole(stage: Stage) -> None:
    manifest = stage.put_manifest(10)
    assert stage.deliver(manifest) == ["message-0"]
    assert stage.deliver(_part(stage)) == []
    assert stage.deliver(manifest) == ["message-0"]
    assert stage.deliver(_whole(stage)) == []
    assert stage.deliver(manifest) == []


def _growing_manifest(stage: Stage) -> None:
    assert stage.deliver(_part(stage)) == []
    assert stage.deliver(stage.put_manifest(6, total=10)) == []
    assert stage.job()["bedrockCounts"]["processedRecordCount"] == 6
    manifest = stage.put_manifest(10)
    assert stage.deliver(manifest) == ["message-0"]
    assert stage.deliver(_whole(stage)) == []
    # What was counted of the part is not said of the whole.
    assert "bedrockCounts" not in stage.job()
    assert stage.deliver(manifest) == []


def _old_message_late(stage: Stage) -> None:
    """The message of the first part comes again when the whole is there already, and finds the whole."""
    part = _part(stage)
    assert stage.deliver(_whole(stage)) == []
    assert stage.deliver(part) == []
    assert stage.deliver(stage.put_manifest(10)) == []


def _all_in_one_batch(stage: Stage) -> None:
    assert stage.deliver(_part(stage)) == []
    assert stage.deliver(stage.put_manifest(10), _whole(stage)) == ["message-0"]
    assert stage.deliver(stage.put_manifest(10)) == []


@pytest.mark.parametrize(
    "staged", [_part_whole_manifest, _manifest_part_whole, _growing_manifest, _old_message_late, _all_in_one_batch]
)
def test_results_shown_in_stages_end_in_the_state_of_a_single_delivery(
    stage: Stage, staged: Callable[[Stage], None]
) -> None:
    stage.put_job(pendingImageIds=[*IMAGE_IDS, "img-never"])
    stage.put_images(IMAGE_IDS)

    staged(stage)

    settled = stage.settled()
    stage.start_over(IMAGE_IDS, pendingImageIds=[*IMAGE_IDS, "img-never"])
    assert stage.transactions() == {}
    output, manifest = (
        json.dumps(s3_notification(key, stage.aws.s3.head_object(Bucket=BUCKET, Key=key)["ETag"].strip('"')))
        for key in (OUTPUT_KEY, MANIFEST_KEY)
    )
    assert stage.deliver(output) == []
    assert stage.deliver(manifest) == []
    assert stage.settled() == settled
    assert stage.job()["resultStats"] == {
        "successCount": 8,
        "failureCount": 2,
        "totalCount": 10,
        "migrationFailedCount": 0,
        # The line that was no JSON answered nobody, and one image was never spoken of.
        "missingCount": 2,
    }
    assert len(stage.dead_letters()) == 2
    assert len(stage.transactions()) == 8


def test_an_image_that_an_earlier_stage_moved_stays_where_it_was_moved_to(stage: Stage) -> None:
    """Midnight in Tokyo lies between the stages: the one difference from a single delivery."""
    stage.put_job()
    stage.put_images(IMAGE_IDS)
    stage.deliver(stage.put_output(*LINES[:6]))
    moved = stage.images()["img-000"]["processedKey"]
    message = stage.put_output(*LINES)
    stage.date_object(OUTPUT_KEY, datetime(2027, 1, 1, 15, 0, tzinfo=UTC))

    assert stage.deliver(message) == []

    assert stage.images()["img-000"]["processedKey"] == moved
    assert stage.images()["img-009"]["processedKey"].startswith("processed/2027-01-02/")
    assert sum(key.startswith("processed/") for key in stage.objects()) == 8


def test_a_manifest_that_agrees_is_recorded_with_its_counts(stage: Stage, logged: LogReader) -> None:
    stage.put_job()
    stage.put_images(IMAGE_IDS)
    stage.deliver(_whole(stage))
    stage.calls.forget()
    logged()

    assert stage.deliver(stage.put_manifest(10)) == []

    assert stage.job()["bedrockCounts"] == {
        "totalRecordCount": 10,
        "processedRecordCount": 10,
        "successRecordCount": 98,
        "errorRecordCount": 2,
        "inputTokenCount": 152300,
        "outputTokenCount": 9120,
    }
    assert stage.job()["status"] == "COMPLETED"
    assert stage.calls.counts() == {"Query": 1, "GetObject": 1, "UpdateItem": 1}
    said = logged()
    [entry] = _entries(said, "BATCH_RESULT_RECONCILED")
    assert (entry["level"], entry["difference"], entry["intentId"]) == ("INFO", 0, f"intent-{JOB_ID}")
    assert _metrics(said, "ManifestDifference") == [0]


def test_a_manifest_that_disagrees_comes_back_and_says_by_how_much(stage: Stage, logged: LogReader) -> None:
    stage.put_job()
    stage.put_images(IMAGE_IDS)
    stage.deliver(_part(stage))
    before = stage.everything()
    manifest = stage.put_manifest(10)
    logged()

    assert stage.deliver(manifest) == ["message-0"]

    stage.aws.s3.delete_object(Bucket=BUCKET, Key=MANIFEST_KEY)
    assert stage.everything() == before
    said = logged()
    [entry] = [entry for entry in said if "_aws" not in entry]
    names = ("event", "level", "jobId", "processedRecords", "lines", "difference")
    assert [entry[name] for name in names] == ["BATCH_RESULT_NOT_RECONCILED", "WARNING", JOB_ID, 10, 6, 4]
    assert _metrics(said, "ManifestDifference") == [4]


def test_more_lines_than_the_manifest_counts_are_a_difference_too(stage: Stage, logged: LogReader) -> None:
    stage.put_job()
    stage.put_images(IMAGE_IDS)
    stage.deliver(_whole(stage))

    assert stage.deliver(stage.put_manifest(6, total=10)) == ["message-0"]

    assert _metrics(logged(), "ManifestDifference") == [4]
    assert "bedrockCounts" not in stage.job()


def test_records_that_bedrock_never_processed_are_reported_and_no_difference(stage: Stage, logged: LogReader) -> None:
    stage.put_job()
    stage.put_images(IMAGE_IDS)
    stage.deliver(_part(stage))

    assert stage.deliver(stage.put_manifest(6, total=10)) == []

    said = logged()
    assert (_metrics(said, "ManifestDifference"), _metrics(said, "UnprocessedCount")) == ([0], [4])
    [entry] = _entries(said, "BATCH_RESULT_RECONCILED")
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
def test_an_object_that_is_no_manifest_fails_its_message_and_changes_nothing(
    stage: Stage, logged: LogReader, content: str, problem: str
) -> None:
    stage.put_job()
    stage.deliver(stage.put_output())
    job = stage.job()
    logged()

    assert stage.deliver(stage.put_output(content, key=MANIFEST_KEY)) == ["message-0"]

    [failed] = _entries(logged(), "BATCH_RESULT_FAILED")
    assert failed["error"] == "InvalidManifestError"
    assert f"'{MANIFEST_KEY}' is" in failed["detail"]
    assert problem in failed["detail"]
    assert stage.job() == job


def test_a_manifest_of_an_unknown_job_fails_its_message(stage: Stage, logged: LogReader) -> None:
    assert stage.deliver(stage.put_manifest(1)) == ["message-0"]

    [failed] = _entries(logged(), "BATCH_RESULT_FAILED")
    assert failed["error"] == "UnknownJobError"


def test_a_manifest_that_was_written_again_is_left_to_its_later_message(stage: Stage, logged: LogReader) -> None:
    stage.put_job()
    earlier = stage.put_manifest(1, total=10)
    later = stage.put_manifest(2, total=10)

    assert stage.deliver(earlier, later) == ["message-1"]

    said = logged()
    assert [entry["why"] for entry in _entries(said, "BATCH_RESULT_MANIFEST_SKIPPED")] == [
        "the manifest was written again since its notification"
    ]
    assert _metrics(said, "ManifestDifference") == [2]


def test_a_manifest_announced_without_an_etag_is_compared_as_it_is(stage: Stage) -> None:
    stage.put_job()
    stage.put_images(IMAGE_IDS)
    stage.deliver(_part(stage))
    notification = json.loads(stage.put_manifest(6, total=10))
    del notification["Records"][0]["s3"]["object"]["eTag"]

    assert stage.deliver(json.dumps(notification)) == []

    assert stage.job()["bedrockCounts"]["processedRecordCount"] == 6


def test_a_manifest_of_a_job_that_has_just_begun_is_no_agreement(stage: Stage, logged: LogReader) -> None:
    stage.put_job()
    before = stage.job()

    assert stage.deliver(stage.put_manifest(0, total=10)) == []

    assert stage.job() == before
    said = logged()
    assert [entry["why"] for entry in _entries(said, "BATCH_RESULT_MANIFEST_SKIPPED")] == [
        "Bedrock has not processed a record yet"
    ]
    assert _metrics(said, "UnprocessedCount") == [10]


def test_a_manifest_before_its_output_in_one_message_waits_for_it(stage: Stage) -> None:
    stage.put_job()
    stage.put_images(IMAGE_IDS)
    records = [json.loads(message)["Records"][0] for message in (stage.put_manifest(10), _whole(stage))]

    assert stage.deliver(json.dumps({"Records": records})) == []

    assert stage.job()["bedrockCounts"]["processedRecordCount"] == 10


def test_a_manifest_compared_while_the_output_is_taken_in_anew_is_compared_again(
    stage: Stage, logged: LogReader
) -> None:
    stage.put_job()
    stage.put_images(IMAGE_IDS)
    stage.deliver(_part(stage))
    manifest = stage.put_manifest(6, total=10)
    overtaken: list[str] = []

    def overtake(_: dict[str, Any]) -> None:
        """Let the whole output appear and be taken in after the counts were compared, before they are recorded."""
        if not overtaken:
            overtaken.append(_whole(stage))
            stage.deliver_elsewhere(*overtaken)

    stage.calls.answer("UpdateItem", overtake)

    assert stage.deliver(manifest) == ["message-0"]

    said = logged()
    assert _entries(said, "BATCH_RESULT_FAILED") == []
    assert [entry["lines"] for entry in _entries(said, "BATCH_RESULT_NOT_RECONCILED")] == [6]
    assert stage.job()["resultStats"]["totalCount"] == 10
    assert "bedrockCounts" not in stage.job()


def test_an_output_whose_results_are_in_doubt_does_not_reconcile(stage: Stage) -> None:
    stage.put_job()
    stage.put_images(IMAGE_IDS)
    stage.deliver(_part(stage))
    stage.forget_processed_outputs()

    assert stage.deliver(stage.put_manifest(6)) == ["message-0"]


def test_images_that_no_line_answered_are_reported_one_by_one(stage: Stage, logged: LogReader) -> None:
    stage.put_job(pendingImageIds=["img-1", "img-2", "img-3", "img-4", "img-5"])
    stage.put_images(["img-1", "img-2"])
    error = json.dumps({"recordId": "img-3", "error": "ThrottlingException"})

    stage.deliver(stage.put_output(nova_line("img-1"), nova_line("img-2", amount=-1), error, '{"recordId": "img-4"'))

    assert stage.job()["resultStats"]["missingCount"] == 2
    said = logged()
    missing = [(entry["imageId"], entry["level"]) for entry in _entries(said, "BATCH_RESULT_IMAGE_MISSING")]
    assert missing == [("img-4", "WARNING"), ("img-5", "WARNING")]
    assert _metrics(said, "MissingCount") == [2]
    assert _metrics(said, "FailureCount") == [3]


def test_a_job_that_does_not_keep_what_it_asked_for_counts_nothing_missing(stage: Stage, logged: LogReader) -> None:
    stage.put_job()

    stage.deliver(stage.put_output("{"))

    assert "missingCount" not in stage.job()["resultStats"]
    assert _metrics(logged(), "MissingCount") == []
    assert stage.objects()[DEAD_LETTERS_KEY]
