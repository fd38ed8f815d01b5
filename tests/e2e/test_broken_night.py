"""A night that went wrong on purpose: what it says is what the stage holds, and every cause is gone."""

import json
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from local.aws import Aws
from local.night import Night, until

from .conftest import dead_messages, redrive
from .demo_command import run_demo

if TYPE_CHECKING:
    import subprocess

SETTLE_SECONDS = 120


@dataclass(frozen=True)
class Morning:
    """What the demo said, and the stage that it left."""

    done: "subprocess.CompletedProcess[str]"
    stage: Night

    def night(self, job_id: str) -> Night:
        return Night(self.stage.aws, self.stage.outputs, job_id=job_id)


@pytest.fixture(scope="module")
def morning(tmp_path_factory: pytest.TempPathFactory) -> Generator[Morning]:
    """The broken night, once: reached by nothing but the file that it leaves, and the names that a stage has."""
    file = tmp_path_factory.mktemp("broken") / "stage.json"
    done = run_demo("--broken", "--json", "--stage-file", str(file))
    try:
        assert done.returncode == 0, done.stderr
        kept = json.loads(file.read_text())
        aws = Aws(kept["endpoint"], Path(kept["caBundle"]))
        [bucket] = [name for entry in aws.s3.list_buckets()["Buckets"] if (name := entry.get("Name", ""))]
        outputs = {
            "imagesBucket": bucket,
            "logGroup": "/aws/lambda/yorutsuke-batch-result-handler-local",
            "queueUrl": aws.sqs.get_queue_url(QueueName="yorutsuke-batch-output-local")["QueueUrl"],
            "deadLetterQueueUrl": aws.sqs.get_queue_url(QueueName="yorutsuke-batch-output-dlq-local")["QueueUrl"],
            **{
                f"{table}Table": f"yorutsuke-{name}-local"
                for table, name in (
                    ("transactions", "transactions"),
                    ("batchJobs", "batch-jobs"),
                    ("pendingImages", "pending-images"),
                )
            },
        }
        yield Morning(done, Night(aws, outputs))
    finally:
        run_demo("--stop", "--stage-file", str(file))


def _row(**values: Any) -> dict[str, Any]:
    nothing = {"transactions": 0, "migrationFailed": 0, "imagesProcessed": 0, "imagesLeft": 0}
    return {**nothing, "deadLetters": {}, "deadMessages": 0, "command": None, **values}


EXPECTED = [
    _row(
        jobId="copiesdenied",
        status="COMPLETED",
        broke="its images could not be copied to processed/",
        transactions=40,
        migrationFailed=40,
        imagesLeft=40,
        command="retry-migrations copiesdenied",
    ),
    _row(
        jobId="outputdenied",
        status="SUBMITTED",
        broke="its output could not be read, 5 times",
        imagesLeft=40,
        deadMessages=1,
        command="redrive",
    ),
    _row(
        jobId="foreignowner",
        status="COMPLETED",
        broke="5 of its images were said to be another user's",
        transactions=35,
        imagesProcessed=35,
        imagesLeft=5,
        deadLetters={"OWNER_MISMATCH": 5},
        command="replay foreignowner",
    ),
    _row(
        jobId="bedrockfails",
        status="FAILED",
        broke="Bedrock ended it as Failed, without an output",
        imagesLeft=40,
    ),
    _row(jobId="nothingamiss", status="COMPLETED", broke="nothing", transactions=40, imagesProcessed=40),
]


def test_five_jobs_go_wrong_each_in_its_way(morning: Morning) -> None:
    night = json.loads(morning.done.stdout)

    assert night["seconds"] > 0
    assert {name: value for name, value in night.items() if name != "seconds"} == {"jobs": EXPECTED, "dlqDepth": 1}
    assert "outputdenied: waiting for the dead-letter queue: 5 of 5 receives failed" in morning.done.stderr


@pytest.mark.parametrize("row", EXPECTED, ids=lambda row: row["jobId"])
def test_what_is_told_of_a_job_is_what_the_stage_holds(morning: Morning, row: dict[str, Any]) -> None:
    night, aws, bucket = morning.night(row["jobId"]), morning.stage.aws, morning.stage.outputs["imagesBucket"]
    scanned = aws.dynamodb.scan(TableName="yorutsuke-transactions-local")["Items"]
    statuses = Counter(item["status"].get("S") for item in scanned if item["jobId"] == {"S": row["jobId"]})
    keys = [entry.get("Key", "") for entry in aws.s3.list_objects_v2(Bucket=bucket).get("Contents", [])]
    folders = Counter(key.split("/")[0] for key in keys if f"{row['jobId']}-img-" in key)
    table_row = next(line for line in morning.done.stderr.splitlines() if line.startswith(f"│ {row['jobId']} "))

    assert statuses == Counter(
        {"processed": row["transactions"] - row["migrationFailed"], "migrationFailed": row["migrationFailed"]}
    )
    assert folders == Counter({"uploads": row["imagesLeft"], "processed": row["imagesProcessed"]})
    assert Counter(letter["reason"] for letter in night.dead_letters()) == row["deadLetters"]
    assert night.job()["status"] == row["status"]
    assert f"│ {row['status']} " in table_row
    assert row["command"] is None or f"│ {row['command']} " in table_row


def test_the_dead_letter_queue_holds_the_one_message_that_failed_five_times(morning: Morning) -> None:
    [message] = morning.stage.aws.sqs.receive_message(
        QueueUrl=morning.stage.outputs["deadLetterQueueUrl"], MaxNumberOfMessages=10, VisibilityTimeout=0
    ).get("Messages", [])

    notification = json.loads(json.loads(message.get("Body", ""))["Message"])
    keys = [record["s3"]["object"]["key"] for record in notification["Records"]]
    assert keys == ["batch-output/outputdenied/output.jsonl"]
    failures = list(morning.night("outputdenied").failures())
    assert [failure["error"] for failure in failures] == ["AccessDenied"] * 5


# The last one here: from now on the stage is not as the night left it.
@pytest.mark.parametrize("job_id", ["copiesdenied", "foreignowner", "outputdenied"])
def test_no_cause_is_left_a_job_whose_output_is_taken_in_once_more_is_whole(morning: Morning, job_id: str) -> None:
    night = morning.night(job_id)
    if job_id == "outputdenied":
        [message] = dead_messages(night)
        redrive(night, message)
    else:
        _replay(night)

    until(lambda: "processedOutputs" in night.job(), SETTLE_SECONDS, f"{job_id} to be taken in once more")
    job = night.job()
    assert (job["status"], job["resultStats"]["successCount"]) == ("COMPLETED", 40)
    assert (job["resultStats"]["failureCount"], job["resultStats"]["migrationFailedCount"]) == (0, 0)
    assert Counter(item["status"] for item in night.transactions()) == {"processed": 40}
    assert len([key for key in night.object_keys("processed/") if job_id in key]) == 40
    assert [key for key in night.object_keys("uploads/") if job_id in key] == []


def _replay(night: Night) -> None:
    """Have a job's output taken in again, as an operator does."""
    night.aws.dynamodb.update_item(
        TableName=night.outputs["batchJobsTable"],
        Key={"intentId": {"S": night.intent_id}},
        UpdateExpression="REMOVE processedOutputs",
    )
    key = f"batch-output/{night.job_id}/output.jsonl"
    record = {"s3": {"bucket": {"name": night.outputs["imagesBucket"]}, "object": {"key": key}}}
    night.aws.sqs.send_message(QueueUrl=night.outputs["queueUrl"], MessageBody=json.dumps({"Records": [record]}))
