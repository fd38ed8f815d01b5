"""What Bedrock says of a job beside its lines: results in stages, manifests, and how the job ended."""

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


def _settled(job_run: JobRun) -> dict[str, Any]:
    """Return what the night left behind, images and the time of completion aside."""
    job = job_run.job()
    del job["completedAt"]
    bucket = job_run.outputs["imagesBucket"]
    dead_letters = job_run.aws.s3.get_object(Bucket=bucket, Key=f"dead-letters/{job_run.job_id}.jsonl")["Body"].read()
    images = job_run.aws.dynamodb.scan(TableName=job_run.outputs["pendingImagesTable"])["Items"]
    return {
        "job": job,
        "transactions": sorted(job_run.transactions(), key=repr),
        "pendingImages": sorted((image for image in images if job_run.job_id in str(image)), key=repr),
        "processed": sorted(key for key in job_run.object_keys("processed/") if job_run.job_id in key),
        "uploads": sorted(key for key in job_run.object_keys("uploads/") if job_run.job_id in key),
        "deadLetters": dead_letters,
    }


def _start_over(job_run: JobRun, receipts: list[Receipt]) -> None:
    """Put back everything except what Bedrock wrote."""
    for item in job_run.transactions():
        key = {name: {"S": item[name]} for name in ("userId", "transactionId")}
        job_run.aws.dynamodb.delete_item(TableName=job_run.outputs["transactionsTable"], Key=key)
    for key in (*job_run.object_keys("processed/"), *job_run.object_keys("dead-letters/")):
        if job_run.job_id in key:
            job_run.aws.s3.delete_object(Bucket=job_run.outputs["imagesBucket"], Key=key)
    seed(job_run, receipts)


def _announce(job_run: JobRun, name: str) -> None:
    """Send the message of an object again, as a replay does."""
    key = f"batch-output/{job_run.job_id}/{name}"
    record = {"s3": {"bucket": {"name": job_run.outputs["imagesBucket"]}, "object": {"key": key}}}
    job_run.aws.sqs.send_message(QueueUrl=job_run.outputs["queueUrl"], MessageBody=json.dumps({"Records": [record]}))


def _completed_with(lines: int) -> Callable[[dict[str, Any]], bool]:
    return lambda job: job.get("resultStats", {}).get("totalCount") == lines


def _reconciled(job: dict[str, Any]) -> bool:
    return "bedrockCounts" in job


def _waiting(job_run: JobRun) -> int:
    """Return how many messages have failed and are to come back."""
    attributes = job_run.aws.sqs.get_queue_attributes(
        QueueUrl=job_run.outputs["queueUrl"], AttributeNames=["ApproximateNumberOfMessagesNotVisible"]
    )["Attributes"]
    return int(attributes["ApproximateNumberOfMessagesNotVisible"])


@pytest.mark.usefixtures("quick_redelivery")
@pytest.mark.parametrize("manifest_first", [False, True])
def test_results_in_stages_end_in_the_state_of_a_single_delivery(
    new_job_run: NewJobRun, output_file: OutputFile, *, manifest_first: bool
) -> None:
    job_run = new_job_run()
    receipts = own_receipts(job_run, 100)
    lines = list(bedrock_lines(receipts))
    seed(job_run, receipts)

    if manifest_first:
        job_run.drop_manifest(bedrock_counts(100))
        assert job_run.wait_for_entry("BATCH_RESULT_NOT_RECONCILED")["difference"] == 100
        until(lambda: _waiting(job_run) == 1, REDELIVERY_SECONDS, "the manifest's message to wait, and it alone")
        assert job_run.dlq_depth() == 0
    job_run.drop_output(output_file(*lines[:60], name=OUTPUT_NAME))
    job_run.wait_until(_completed_with(60), "have 60 lines")
    job_run.drop_output(output_file(*lines, name=OUTPUT_NAME))
    job_run.wait_until(_completed_with(100), "have 100 lines")
    if not manifest_first:
        job_run.drop_manifest(bedrock_counts(100))
    job_run.wait_until(_reconciled, "be reconciled")

    staged = _settled(job_run)
    _start_over(job_run, receipts)
    _announce(job_run, OUTPUT_NAME)
    job_run.wait_until_completed()
    _announce(job_run, "manifest.json.out")
    job_run.wait_until(_reconciled, "be reconciled")
    assert _settled(job_run) == staged
    assert (len(staged["transactions"]), len(staged["processed"]), len(staged["uploads"])) == (99, 99, 1)
    assert job_run.dlq_depth() == 0


@pytest.mark.parametrize(
    ("end", "status"), [("Failed", "FAILED"), ("Expired", "EXPIRED"), ("PartiallyCompleted", "PARTIALLY_COMPLETED")]
)
def test_the_end_of_a_job_comes_through_the_event_bus_into_its_record(
    new_job_run: NewJobRun, end: str, status: str
) -> None:
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


def test_a_job_that_was_taken_in_stays_completed_when_its_end_comes_late(
    new_job_run: NewJobRun, output_file: OutputFile
) -> None:
    job_run = new_job_run()
    receipts = own_receipts(job_run, 3)
    seed(job_run, receipts)
    job_run.drop_output(output_file(*bedrock_lines(receipts), name=OUTPUT_NAME))
    job_run.wait_until_completed()

    job_run.end_job("PartiallyCompleted", "Not all records could be processed in time.")
    job_run.wait_until(lambda job: "bedrockStatus" in job, "have ended")

    assert job_run.job()["status"] == "COMPLETED"


def _matches(job_run: JobRun, **changes: object) -> bool:
    """Tell whether the deployed rule selects Bedrock's own event, with changes to its detail."""
    event = json.loads((EVENTS / "bedrock" / "job_state_change.json").read_text())
    event["detail"] |= {"batchJobName": f"{job_run.outputs['jobNamePrefix']}intent-1", **changes}
    rule = job_run.aws.events.describe_rule(Name="yorutsuke-batch-output-failed-jobs-local")
    return job_run.aws.events.test_event_pattern(EventPattern=rule["EventPattern"], Event=json.dumps(event))["Result"]


@pytest.mark.parametrize("status", ["Failed", "Expired", "Stopped", "PartiallyCompleted"])
def test_the_rule_selects_bedrocks_own_event(stage: JobRun, status: str) -> None:
    assert _matches(stage, status=status)


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "Completed"},
        {"status": "InProgress"},
        {"batchJobName": "yorutsuke-prod.intent-1"},
        {"batchJobName": "yorutsuke-local-2.intent-1"},
        {"batchJobName": "somebody-elses-job"},
    ],
)
def test_the_rule_leaves_the_rest_alone(stage: JobRun, changes: dict[str, object]) -> None:
    assert not _matches(stage, **changes)
