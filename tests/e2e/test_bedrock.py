"""Tests of Bedrock's other outputs: partial output files, output manifests, and the event at a job's end."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local.job_run import JobRun, until
from local.receipts import Receipt, bedrock_counts, bedrock_lines

from .conftest import NewJobRun, OutputFile, own_receipts, seed

EVENTS = Path(__file__).parents[1] / "events"
OUTPUT_NAME = "manifest.jsonl.out"
REDELIVERY_SECONDS = 30


def _final_state(job_run: JobRun) -> dict[str, Any]:
    """Return the final items and objects of a job, without the times that differ between two runs.

    A transaction keeps the times of the output file's version from which it was added.
    """
    job = job_run.job()
    del job["completedAt"], job["completedBy"]
    transactions = job_run.transactions()
    for transaction in transactions:
        del transaction["extractedAt"], transaction["ttl"]
    bucket = job_run.outputs["imagesBucket"]
    dead_letters = job_run.aws.s3.get_object(Bucket=bucket, Key=f"dead-letters/{job_run.job_id}.jsonl")["Body"].read()
    images = job_run.aws.dynamodb.scan(TableName=job_run.outputs["pendingImagesTable"])["Items"]
    return {
        "job": job,
        "transactions": sorted(transactions, key=repr),
        "pendingImages": sorted((image for image in images if job_run.job_id in str(image)), key=repr),
        "processed": sorted(key for key in job_run.object_keys("processed/") if job_run.job_id in key),
        "uploads": sorted(key for key in job_run.object_keys("uploads/") if job_run.job_id in key),
        "deadLetters": dead_letters,
    }


def _reset(job_run: JobRun, receipts: list[Receipt]) -> None:
    """Reset the job to its state before processing, but keep Bedrock's output."""
    for item in job_run.transactions():
        key = {name: {"S": item[name]} for name in ("userId", "transactionId")}
        job_run.aws.dynamodb.delete_item(TableName=job_run.outputs["transactionsTable"], Key=key)
    for key in (*job_run.object_keys("processed/"), *job_run.object_keys("dead-letters/")):
        if job_run.job_id in key:
            job_run.aws.s3.delete_object(Bucket=job_run.outputs["imagesBucket"], Key=key)
    seed(job_run, receipts)


def _send_notification(job_run: JobRun, name: str) -> None:
    """Send an object's S3 notification to the queue again, as a replay does."""
    key = f"batch-output/{job_run.job_id}/{name}"
    record = {"s3": {"bucket": {"name": job_run.outputs["imagesBucket"]}, "object": {"key": key}}}
    job_run.aws.sqs.send_message(QueueUrl=job_run.outputs["queueUrl"], MessageBody=json.dumps({"Records": [record]}))


def _completed_with(records: int) -> Callable[[dict[str, Any]], bool]:
    return lambda job: job.get("resultStats", {}).get("totalCount") == records


def _is_reconciled(job: dict[str, Any]) -> bool:
    return "bedrockCounts" in job


def _failed_messages(job_run: JobRun) -> int:
    """Return the number of failed messages that wait for their redelivery."""
    attributes = job_run.aws.sqs.get_queue_attributes(
        QueueUrl=job_run.outputs["queueUrl"], AttributeNames=["ApproximateNumberOfMessagesNotVisible"]
    )["Attributes"]
    return int(attributes["ApproximateNumberOfMessagesNotVisible"])


@pytest.mark.usefixtures("quick_redelivery")
@pytest.mark.parametrize("output_manifest_first", [False, True])
def test_partial_outputs_end_like_a_single_output(
    new_job_run: NewJobRun, output_file: OutputFile, *, output_manifest_first: bool
) -> None:
    job_run = new_job_run()
    receipts = own_receipts(job_run, 100)
    lines = list(bedrock_lines(receipts))
    seed(job_run, receipts)

    if output_manifest_first:
        job_run.drop_output_manifest(bedrock_counts(100))
        assert job_run.wait_for_entry("BATCH_RESULT_NOT_RECONCILED")["difference"] == 100
        until(lambda: _failed_messages(job_run) == 1, REDELIVERY_SECONDS, "only the output manifest's message to wait")
        assert job_run.dlq_depth() == 0
    job_run.drop_output(output_file(*lines[:60], name=OUTPUT_NAME))
    job_run.wait_until(_completed_with(60), "have 60 records")
    job_run.drop_output(output_file(*lines, name=OUTPUT_NAME))
    job_run.wait_until(_completed_with(100), "have 100 records")
    if not output_manifest_first:
        job_run.drop_output_manifest(bedrock_counts(100))
    job_run.wait_until(_is_reconciled, "be reconciled")

    partial = _final_state(job_run)
    _reset(job_run, receipts)
    _send_notification(job_run, OUTPUT_NAME)
    job_run.wait_until_completed()
    _send_notification(job_run, "manifest.json.out")
    job_run.wait_until(_is_reconciled, "be reconciled")
    assert _final_state(job_run) == partial
    assert (len(partial["transactions"]), len(partial["processed"]), len(partial["uploads"])) == (99, 99, 1)
    assert job_run.dlq_depth() == 0


@pytest.mark.parametrize(
    ("end", "status"), [("Failed", "FAILED"), ("Expired", "EXPIRED"), ("PartiallyCompleted", "PARTIALLY_COMPLETED")]
)
def test_job_end_event_updates_the_item(new_job_run: NewJobRun, end: str, status: str) -> None:
    job_run = new_job_run()
    job_run.seed_job()
    submitted = job_run.job()

    job_run.end_job(end, f"{end}: for a reason.")
    job_run.wait_until(lambda job: "bedrockStatus" in job, f"have ended as {end}")

    assert job_run.job() == {
        **submitted,
        "status": status,
        "bedrockStatus": end,
        "bedrockMessage": f"{end}: for a reason.",
    }
    assert job_run.wait_for_entry("BATCH_RESULT_JOB_FAILED")["bedrockStatus"] == end
    assert job_run.wait_for_entry("JobFailed")["JobFailed"] == [1]


def test_late_end_event_keeps_a_job_completed(new_job_run: NewJobRun, output_file: OutputFile) -> None:
    job_run = new_job_run()
    receipts = own_receipts(job_run, 3)
    seed(job_run, receipts)
    job_run.drop_output(output_file(*bedrock_lines(receipts), name=OUTPUT_NAME))
    job_run.wait_until_completed()

    job_run.end_job("PartiallyCompleted", "Not all records could be processed in time.")
    job_run.wait_until(lambda job: "bedrockStatus" in job, "have ended")

    assert job_run.job()["status"] == "COMPLETED"


def _matches(job_run: JobRun, **changes: object) -> bool:
    """Return whether the deployed rule matches Bedrock's event with these changes to its detail."""
    event = json.loads((EVENTS / "bedrock" / "job_state_change.json").read_text())
    event["detail"] |= {"batchJobName": f"{job_run.outputs['jobNamePrefix']}intent-1", **changes}
    rule = job_run.aws.events.describe_rule(Name="yorutsuke-batch-output-failed-jobs-local")
    return job_run.aws.events.test_event_pattern(EventPattern=rule["EventPattern"], Event=json.dumps(event))["Result"]


@pytest.mark.parametrize("status", ["Failed", "Expired", "Stopped", "PartiallyCompleted"])
def test_event_rule_matches_unsuccessful_ends_of_jobs(stage: JobRun, status: str) -> None:
    assert _matches(stage, status=status)


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "Completed"},
        {"status": "InProgress"},
        {"batchJobName": "yorutsuke-prod.intent-1"},
        {"batchJobName": "yorutsuke-local-2.intent-1"},
        {"batchJobName": "another-application-job"},
    ],
)
def test_event_rule_ignores_other_events(stage: JobRun, changes: dict[str, object]) -> None:
    assert not _matches(stage, **changes)
