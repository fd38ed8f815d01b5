"""What Bedrock says of a job beside its lines: results in stages, manifests, and how the job ended."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local.night import Night, until
from local.receipts import Receipt, bedrock_counts, bedrock_lines

from .conftest import NewNight, OutputFile, own_receipts, seed

EVENTS = Path(__file__).parents[1] / "events"
OUTPUT_NAME = "manifest.jsonl.out"
REDELIVERY_SECONDS = 30


def _settled(night: Night) -> dict[str, Any]:
    """Return what the night left behind, images and the time of completion aside."""
    job = night.job()
    del job["completedAt"]
    bucket = night.outputs["imagesBucket"]
    dead_letters = night.aws.s3.get_object(Bucket=bucket, Key=f"dead-letters/{night.job_id}.jsonl")["Body"].read()
    images = night.aws.dynamodb.scan(TableName=night.outputs["pendingImagesTable"])["Items"]
    return {
        "job": job,
        "transactions": sorted(night.transactions(), key=repr),
        "pendingImages": sorted((image for image in images if night.job_id in str(image)), key=repr),
        "processed": sorted(key for key in night.object_keys("processed/") if night.job_id in key),
        "uploads": sorted(key for key in night.object_keys("uploads/") if night.job_id in key),
        "deadLetters": dead_letters,
    }


def _start_over(night: Night, receipts: list[Receipt]) -> None:
    """Put back everything except what Bedrock wrote."""
    for item in night.transactions():
        key = {name: {"S": item[name]} for name in ("userId", "transactionId")}
        night.aws.dynamodb.delete_item(TableName=night.outputs["transactionsTable"], Key=key)
    for key in (*night.object_keys("processed/"), *night.object_keys("dead-letters/")):
        if night.job_id in key:
            night.aws.s3.delete_object(Bucket=night.outputs["imagesBucket"], Key=key)
    seed(night, receipts)


def _announce(night: Night, name: str) -> None:
    """Send the message of an object again, as a replay does."""
    key = f"batch-output/{night.job_id}/{name}"
    record = {"s3": {"bucket": {"name": night.outputs["imagesBucket"]}, "object": {"key": key}}}
    night.aws.sqs.send_message(QueueUrl=night.outputs["queueUrl"], MessageBody=json.dumps({"Records": [record]}))


def _completed_with(lines: int) -> Callable[[dict[str, Any]], bool]:
    return lambda job: job.get("resultStats", {}).get("totalCount") == lines


def _reconciled(job: dict[str, Any]) -> bool:
    return "bedrockCounts" in job


def _waiting(night: Night) -> int:
    """Return how many messages have failed and are to come back."""
    attributes = night.aws.sqs.get_queue_attributes(
        QueueUrl=night.outputs["queueUrl"], AttributeNames=["ApproximateNumberOfMessagesNotVisible"]
    )["Attributes"]
    return int(attributes["ApproximateNumberOfMessagesNotVisible"])


@pytest.mark.usefixtures("quick_redelivery")
@pytest.mark.parametrize("manifest_first", [False, True])
def test_results_in_stages_end_in_the_state_of_a_single_delivery(
    new_night: NewNight, output_file: OutputFile, *, manifest_first: bool
) -> None:
    night = new_night()
    receipts = own_receipts(night, 100)
    lines = list(bedrock_lines(receipts))
    seed(night, receipts)

    if manifest_first:
        night.drop_manifest(bedrock_counts(100))
        assert night.wait_for_entry("BATCH_RESULT_NOT_RECONCILED")["difference"] == 100
        until(lambda: _waiting(night) == 1, REDELIVERY_SECONDS, "the manifest's message to wait, and it alone")
        assert night.dlq_depth() == 0
    night.drop_output(output_file(*lines[:60], name=OUTPUT_NAME))
    night.wait_until(_completed_with(60), "have 60 lines")
    night.drop_output(output_file(*lines, name=OUTPUT_NAME))
    night.wait_until(_completed_with(100), "have 100 lines")
    if not manifest_first:
        night.drop_manifest(bedrock_counts(100))
    night.wait_until(_reconciled, "be reconciled")

    staged = _settled(night)
    _start_over(night, receipts)
    _announce(night, OUTPUT_NAME)
    night.wait_until_completed()
    _announce(night, "manifest.json.out")
    night.wait_until(_reconciled, "be reconciled")
    assert _settled(night) == staged
    assert (len(staged["transactions"]), len(staged["processed"]), len(staged["uploads"])) == (99, 99, 1)
    assert night.dlq_depth() == 0


@pytest.mark.parametrize(
    ("end", "status"), [("Failed", "FAILED"), ("Expired", "EXPIRED"), ("PartiallyCompleted", "PARTIALLY_COMPLETED")]
)
def test_the_end_of_a_job_comes_through_the_event_bus_into_its_record(
    new_night: NewNight, end: str, status: str
) -> None:
    night = new_night()
    night.seed_job()
    submitted = night.job()

    night.end_job(end, f"{end}: for a reason.")
    night.wait_until(lambda job: "bedrockStatus" in job, f"have ended as {end}")

    assert night.job() == {
        **submitted,
        "status": status,
        "bedrockStatus": end,
        "bedrockMessage": f"{end}: for a reason.",
    }
    assert night.wait_for_entry("BATCH_RESULT_JOB_FAILED")["bedrockStatus"] == end
    assert night.wait_for_entry("JobFailed")["JobFailed"] == [1]


def test_a_job_that_was_taken_in_stays_completed_when_its_end_comes_late(
    new_night: NewNight, output_file: OutputFile
) -> None:
    night = new_night()
    receipts = own_receipts(night, 3)
    seed(night, receipts)
    night.drop_output(output_file(*bedrock_lines(receipts), name=OUTPUT_NAME))
    night.wait_until_completed()

    night.end_job("PartiallyCompleted", "Not all records could be processed in time.")
    night.wait_until(lambda job: "bedrockStatus" in job, "have ended")

    assert night.job()["status"] == "COMPLETED"


def _matches(night: Night, **changes: object) -> bool:
    """Tell whether the deployed rule selects Bedrock's own event, with changes to its detail."""
    event = json.loads((EVENTS / "bedrock" / "job_state_change.json").read_text())
    event["detail"] |= {"batchJobName": f"{night.outputs['jobNamePrefix']}intent-1", **changes}
    rule = night.aws.events.describe_rule(Name="yorutsuke-batch-output-failed-jobs-local")
    return night.aws.events.test_event_pattern(EventPattern=rule["EventPattern"], Event=json.dumps(event))["Result"]


@pytest.mark.parametrize("status", ["Failed", "Expired", "Stopped", "PartiallyCompleted"])
def test_the_rule_selects_bedrocks_own_event(stage: Night, status: str) -> None:
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
def test_the_rule_leaves_the_rest_alone(stage: Night, changes: dict[str, object]) -> None:
    assert not _matches(stage, **changes)
