"""Tests of the handler's logs and metrics: they identify the job and exclude receipt contents."""

import json

import pytest

from local.in_memory import FunctionDiedError

from .aws_calls import crash
from .conftest import LogReader
from .stage import BUCKET, JOB_ID, RECEIPT, Stage, s3_notification, simple_record


def test_log_entries_name_job(stage: Stage, read_logs: LogReader) -> None:
    stage.put_job()
    stage.put_images(["img-1"])
    stage.deliver(stage.put_output(simple_record("img-1"), "{"))

    entries = [entry for entry in read_logs() if "_aws" not in entry]

    assert [entry["event"] for entry in entries] == [
        "BATCH_RESULT_STARTED",
        "BATCH_RESULT_LINE_SKIPPED",
        "BATCH_RESULT_PER_TRANSACTION",
        "BATCH_RESULT_COMPLETED",
    ]
    names = {"jobId": JOB_ID, "intentId": f"intent-{JOB_ID}", "traceId": "trace-1", "userId": "user-1"}
    for entry in entries:
        assert entry | names == entry
        assert entry["messageId"] == "message-0"


def test_failure_entry_names_job(stage: Stage, read_logs: LogReader) -> None:
    stage.put_job()
    stage.put_images(["img-1"])
    stage.calls.fail("UpdateItem", "InternalServerError")
    stage.deliver(stage.put_output(simple_record("img-1")))

    failed = read_logs()[-1]

    assert (failed["event"], failed["jobId"], failed["intentId"]) == (
        "BATCH_RESULT_FAILED",
        JOB_ID,
        f"intent-{JOB_ID}",
    )


def test_failed_message_does_not_inherit_job(stage: Stage, read_logs: LogReader) -> None:
    stage.put_job()
    stage.deliver(stage.put_output(), "not JSON")

    failed = read_logs()[-1]

    assert failed["event"] == "BATCH_RESULT_FAILED"
    assert not {"jobId", "intentId", "traceId", "userId"} & set(failed)


def test_unknown_job_does_not_inherit_intent(stage: Stage, read_logs: LogReader) -> None:
    stage.put_job()
    records = [
        json.loads(stage.put_output())["Records"][0],
        s3_notification("batch-output/unknownjob12/output.jsonl", "0")["Records"][0],
    ]
    stage.deliver(json.dumps({"Records": records}))

    failed = read_logs()[-1]

    assert (failed["event"], failed["jobId"]) == ("BATCH_RESULT_FAILED", "unknownjob12")
    assert not {"intentId", "traceId", "userId"} & set(failed)


def test_logs_exclude_receipt_contents(stage: Stage, read_logs: LogReader) -> None:
    stage.put_job()
    stage.put_images(["img-1", "img-2"])
    secret = {"merchant": "Secret Shop", "description": "secret goods", "amount": 987654321}
    stage.deliver(
        stage.put_output(
            simple_record("img-1", **secret),
            simple_record("img-2", **secret, date="2026-02-30"),
            simple_record("img-3", **secret, category="secret category"),
            json.dumps({"customData": "img-4", "output": {"text": "secret reply"}}),
            '{"customData": "secret line',
        )
    )

    text = json.dumps(read_logs())

    assert "BATCH_RESULT_LINE_SKIPPED" in text
    for word in ("ecret", "987654321", RECEIPT["date"], "2026-02-30"):
        assert str(word) not in text


def test_metrics_match_job_results(stage: Stage, read_logs: LogReader) -> None:
    stage.put_job()
    stage.put_images(["img-1", "img-lost"])
    stage.aws.s3.delete_object(Bucket=BUCKET, Key="uploads/user-1/img-lost.png")
    stage.deliver(stage.put_output(simple_record("img-1"), simple_record("img-lost"), "{"))

    [metrics] = [entry for entry in read_logs() if "_aws" in entry]

    [declared] = metrics["_aws"]["CloudWatchMetrics"]
    assert declared["Namespace"] == "BatchResult"
    assert sorted(declared["Dimensions"][0]) == ["service", "stage"]
    assert declared["Metrics"] == [
        {"Name": "SuccessCount", "Unit": "Count"},
        {"Name": "FailureCount", "Unit": "Count"},
        {"Name": "MigrationFailedCount", "Unit": "Count"},
        {"Name": "ProcessingTime", "Unit": "Milliseconds"},
    ]
    assert metrics["ProcessingTime"][0] > 0
    assert {name: metrics[name] for name in metrics if name not in ("_aws", "ProcessingTime")} == {
        "service": "batch_result_handler",
        "stage": "test",
        "jobId": JOB_ID,
        "SuccessCount": [2.0],
        "FailureCount": [1.0],
        "MigrationFailedCount": [1.0],
    }


def test_metrics_are_emitted_before_the_completion(stage: Stage, read_logs: LogReader) -> None:
    stage.put_job()
    stage.put_images(["img-1"])
    message = stage.put_output(simple_record("img-1"), "{")
    # The first UpdateItem claims the job, and the second one completes it.
    stage.calls.before_call("UpdateItem", crash, number=1)
    with pytest.raises(FunctionDiedError):
        stage.deliver(message)

    [metrics] = [entry for entry in read_logs() if "_aws" in entry]

    assert (metrics["SuccessCount"], metrics["FailureCount"]) == ([1.0], [1.0])
    assert stage.job()["status"] == "SUBMITTED"


def test_metrics_exclude_duplicates_and_failures(stage: Stage, read_logs: LogReader) -> None:
    stage.put_job()
    message = stage.put_output("{")
    stage.deliver(message)
    read_logs()

    stage.deliver(message, "not JSON")

    assert [entry for entry in read_logs() if "_aws" in entry] == []
