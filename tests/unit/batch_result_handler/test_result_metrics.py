"""The metrics of a job, as CloudWatch reads them from the log."""

import json
from typing import Any

import pytest

from batch_result_handler.result_metrics import emit_metrics
from yorutsuke_common.schema import ResultStats


def emitted(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Return the log entries written, without their timestamps."""
    entries: list[dict[str, Any]] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for entry in entries:
        assert isinstance(entry["_aws"].pop("Timestamp"), int)
    return entries


def entry_of(job_id: str, *, success: int, failure: int, migration_failed: int, milliseconds: float) -> dict[str, Any]:
    """Return the log entry of a job's metrics."""
    return {
        "_aws": {
            "CloudWatchMetrics": [
                {
                    "Namespace": "BatchResult",
                    "Dimensions": [["stage", "service"]],
                    "Metrics": [
                        {"Name": "SuccessCount", "Unit": "Count"},
                        {"Name": "FailureCount", "Unit": "Count"},
                        {"Name": "MigrationFailedCount", "Unit": "Count"},
                        {"Name": "ProcessingTime", "Unit": "Milliseconds"},
                    ],
                }
            ]
        },
        "stage": "dev",
        "service": "batch_result_handler",
        "jobId": job_id,
        "SuccessCount": [success],
        "FailureCount": [failure],
        "MigrationFailedCount": [migration_failed],
        "ProcessingTime": [milliseconds],
    }


def test_each_job_is_one_entry_with_its_own_counts_also_where_they_are_zero(capsys: pytest.CaptureFixture[str]) -> None:
    none = ResultStats(successCount=0, failureCount=0, totalCount=0, migrationFailedCount=0)
    some = ResultStats(successCount=9, failureCount=1, totalCount=10, migrationFailedCount=2)

    emit_metrics(some, 1234.5, "abcdefgh1234", "dev", "batch_result_handler")
    emit_metrics(none, 0.5, "zzzzzzzz9999", "dev", "batch_result_handler")

    assert emitted(capsys) == [
        entry_of("abcdefgh1234", success=9, failure=1, migration_failed=2, milliseconds=1234.5),
        entry_of("zzzzzzzz9999", success=0, failure=0, migration_failed=0, milliseconds=0.5),
    ]
