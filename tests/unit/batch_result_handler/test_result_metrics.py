"""The metrics of a job, as CloudWatch reads them from the log."""

import json
from typing import Any

import pytest

from batch_result_handler.result_metrics import ResultMetrics
from yorutsuke_common.schema import OutputStats

METRICS = ResultMetrics("dev")


def emitted(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Return the written log entries without their timestamps."""
    entries: list[dict[str, Any]] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for entry in entries:
        assert isinstance(entry["_aws"].pop("Timestamp"), int)
    return entries


def entry_of(job_id: str, **values: float) -> dict[str, Any]:
    """Return the log entry of a job's metrics."""
    metrics = [{"Name": name, "Unit": "Milliseconds" if name == "ProcessingTime" else "Count"} for name in values]
    directive = {"Namespace": "BatchResult", "Dimensions": [["stage", "service"]], "Metrics": metrics}
    return {
        "_aws": {"CloudWatchMetrics": [directive]},
        "stage": "dev",
        "service": "batch_result_handler",
        "jobId": job_id,
        **{name: [value] for name, value in values.items()},
    }


def test_each_job_emits_its_own_counts(capsys: pytest.CaptureFixture[str]) -> None:
    empty = OutputStats(successCount=0, failureCount=0, totalCount=0, migrationFailedCount=0)
    counted = OutputStats(successCount=9, failureCount=1, totalCount=10, migrationFailedCount=2)

    METRICS.job_completed("abcdefgh1234", counted, None, 1234.5)
    METRICS.job_completed("zzzzzzzz9999", empty, None, 0.5)

    assert emitted(capsys) == [
        entry_of("abcdefgh1234", SuccessCount=9, FailureCount=1, MigrationFailedCount=2, ProcessingTime=1234.5),
        entry_of("zzzzzzzz9999", SuccessCount=0, FailureCount=0, MigrationFailedCount=0, ProcessingTime=0.5),
    ]


@pytest.mark.parametrize("missing", [0, 3])
def test_missing_images_are_counted_when_known(capsys: pytest.CaptureFixture[str], missing: int) -> None:
    stats = OutputStats(successCount=9, failureCount=0, totalCount=9, migrationFailedCount=0)

    METRICS.job_completed("abcdefgh1234", stats, missing, 1.5)

    counts = {"SuccessCount": 9, "FailureCount": 0, "MigrationFailedCount": 0, "MissingCount": missing}
    assert emitted(capsys) == [entry_of("abcdefgh1234", **counts, ProcessingTime=1.5)]


def test_manifest_difference_and_unprocessed_records_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    METRICS.output_manifest_compared("abcdefgh1234", difference=40, unprocessed=5)

    assert emitted(capsys) == [entry_of("abcdefgh1234", ManifestDifference=40, UnprocessedCount=5)]


def test_failed_redelivery_counts_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    METRICS.redelivery_failed("message-1")

    entry = entry_of("", RedeliveryFailed=1)
    del entry["jobId"]
    assert emitted(capsys) == [{**entry, "messageId": "message-1"}]


def test_failed_job_counts_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    METRICS.job_failed("abcdefgh1234")

    assert emitted(capsys) == [entry_of("abcdefgh1234", JobFailed=1)]
