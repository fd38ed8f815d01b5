"""Tests of `demo --broken`: its report matches the broken stage, and the documented commands repair the stage."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from local.aws import Aws
from local.job_run import JobRun, until
from tests.documented import commands_in, demos_arguments, documented_commands, operators_arguments
from yorutsuke.local_stage import STAGE_FILE_VARIABLE

from .demo_command import run_demo
from .operator_stage import SOURCE, Operator

UNHEALTHY = 3
PLACEHOLDERS = {"STAGE": "local", "dev": "local", "tutorial0001": "nothingamiss"}
SETTLE_SECONDS = 120


@dataclass(frozen=True)
class BrokenStage:
    """The demo's result, and the stage that the demo left running."""

    demo: "subprocess.CompletedProcess[str]"
    stage: JobRun
    file: Path
    ca_bundle: str

    def job_run(self, job_id: str) -> JobRun:
        return JobRun(self.stage.aws, self.stage.outputs, job_id=job_id)


@pytest.fixture(scope="module")
def broken_stage(tmp_path_factory: pytest.TempPathFactory) -> Generator[BrokenStage]:
    """The broken stage. The tests use only the stage's file and the names of its resources."""
    file = tmp_path_factory.mktemp("broken") / "stage.json"
    demo = run_demo("--broken", "--json", "--stage-file", str(file))
    try:
        assert demo.returncode == 0, demo.stderr
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
        yield BrokenStage(demo, JobRun(aws, outputs), file, kept["caBundle"])
    finally:
        run_demo("--stop", "--stage-file", str(file))


def _row(**values: Any) -> dict[str, Any]:
    zeros = {"transactions": 0, "migrationFailed": 0, "imagesProcessed": 0, "imagesLeft": 0}
    return {**zeros, "deadLetters": {}, "deadMessages": 0, "command": None, **values}


EXPECTED = [
    _row(
        jobId="outputdenied",
        status="SUBMITTED",
        broke="The output could not be read in 5 deliveries.",
        imagesLeft=40,
        deadMessages=1,
        command="redrive",
    ),
    _row(
        jobId="foreignowner",
        status="COMPLETED",
        broke="5 images belonged to another user.",
        transactions=35,
        imagesProcessed=35,
        imagesLeft=5,
        deadLetters={"OWNER_MISMATCH": 5},
        command="replay foreignowner",
    ),
    _row(
        jobId="copiesdenied",
        status="COMPLETED",
        broke="The images could not be copied to processed/.",
        transactions=40,
        migrationFailed=40,
        imagesLeft=40,
        command="retry-migrations copiesdenied",
    ),
    _row(
        jobId="bedrockfails",
        status="FAILED",
        broke="Bedrock ended the job as Failed, without an output.",
        imagesLeft=100,
        command="resubmit bedrockfails",
    ),
    _row(jobId="nothingamiss", status="COMPLETED", broke="The job succeeded.", transactions=40, imagesProcessed=40),
]


def test_report_lists_four_failures_and_a_healthy_job(broken_stage: BrokenStage) -> None:
    report = json.loads(broken_stage.demo.stdout)

    assert report["seconds"] > 0
    assert {name: value for name, value in report.items() if name != "seconds"} == {"jobs": EXPECTED, "dlqDepth": 1}
    assert "Failing the message of job outputdenied: 5 of 5 deliveries" in broken_stage.demo.stderr


@pytest.mark.parametrize("row", EXPECTED, ids=lambda row: row["jobId"])
def test_report_matches_the_stored_job(broken_stage: BrokenStage, row: dict[str, Any]) -> None:
    job_run, aws = broken_stage.job_run(row["jobId"]), broken_stage.stage.aws
    bucket = broken_stage.stage.outputs["imagesBucket"]
    scanned = aws.dynamodb.scan(TableName="yorutsuke-transactions-local")["Items"]
    statuses = Counter(item["status"].get("S") for item in scanned if item["jobId"] == {"S": row["jobId"]})
    keys = [entry.get("Key", "") for entry in aws.s3.list_objects_v2(Bucket=bucket).get("Contents", [])]
    folders = Counter(key.split("/")[0] for key in keys if f"{row['jobId']}-img-" in key)
    table_row = next(line for line in broken_stage.demo.stderr.splitlines() if line.startswith(f"│ {row['jobId']} "))

    assert statuses == Counter(
        {"processed": row["transactions"] - row["migrationFailed"], "migrationFailed": row["migrationFailed"]}
    )
    assert folders == Counter({"uploads": row["imagesLeft"], "processed": row["imagesProcessed"]})
    assert Counter(letter["reason"] for letter in job_run.dead_letters()) == row["deadLetters"]
    assert job_run.job()["status"] == row["status"]
    assert f"│ {row['status']} " in table_row
    assert row["command"] is None or f"│ {row['command']} " in table_row


def test_dead_letter_queue_holds_the_failed_message(broken_stage: BrokenStage) -> None:
    [message] = broken_stage.stage.aws.sqs.receive_message(
        QueueUrl=broken_stage.stage.outputs["deadLetterQueueUrl"], MaxNumberOfMessages=10, VisibilityTimeout=0
    ).get("Messages", [])

    notification = json.loads(json.loads(message.get("Body", ""))["Message"])
    keys = [record["s3"]["object"]["key"] for record in notification["Records"]]
    assert keys == ["batch-output/outputdenied/output.jsonl"]
    failures = list(broken_stage.job_run("outputdenied").failures())
    assert [failure["error"] for failure in failures] == ["AccessDenied"] * 5


def test_broken_demo_restores_the_visibility_timeout(broken_stage: BrokenStage) -> None:
    stage = broken_stage.stage
    queue: Any = {"QueueUrl": stage.outputs["queueUrl"], "AttributeNames": ["VisibilityTimeout"]}

    assert stage.aws.sqs.get_queue_attributes(**queue)["Attributes"] == {"VisibilityTimeout": "360"}


# The tests below modify the broken stage, so they come last.


def _arguments(command: str) -> list[str]:
    """Return a documented command's arguments for the broken stage, with --yes if the command asks for confirmation."""
    arguments = operators_arguments(command)
    assert arguments
    [name, *rest] = [PLACEHOLDERS.get(argument, argument) for argument in arguments]
    jobs = {"retry-migrations": "copiesdenied", "resubmit": "bedrockfails"}
    rest = [jobs.get(name, "foreignowner") if argument == "JOB" else argument for argument in rest]
    changes = name in {"redrive", "replay", "retry-migrations", "resubmit", "smoke"} and "--dry-run" not in rest
    return [name, *rest, *(["--yes"] if changes else [])]


def _operate(broken_stage: BrokenStage, folder: Path, command: str) -> "subprocess.CompletedProcess[str]":
    """Run a documented operator's command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "yorutsuke", *_arguments(command)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": SOURCE, STAGE_FILE_VARIABLE: str(broken_stage.file)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SETTLE_SECONDS,
        check=False,
    )


def test_demo_page_commands_find_and_repair_the_failures(broken_stage: BrokenStage, tmp_path: Path) -> None:
    # The first three commands are those of the smoke run.
    [_, _, _, broken, first, *repairs, last, stop] = [
        command for command in commands_in("docs/demo.md") if "demo --" in command or "yorutsuke --" in command
    ]
    assert (demos_arguments(broken), demos_arguments(stop)) == (["--broken"], ["--stop"])

    found = _operate(broken_stage, tmp_path, first)
    repaired = [_operate(broken_stage, tmp_path, command) for command in repairs]
    redriven = broken_stage.job_run("outputdenied")
    until(lambda: redriven.job()["status"] == "COMPLETED", SETTLE_SECONDS, "the redriven job to be COMPLETED")
    healthy = _operate(broken_stage, tmp_path, last)

    assert (found.returncode, healthy.returncode) == (UNHEALTHY, 0), healthy.stdout
    assert [process.returncode for process in repaired] == [0, 0, 0, 0]
    commands = [row["command"] for row in EXPECTED if row["command"]]
    assert sorted(" ".join((operators_arguments(command) or [])[:-2]) for command in repairs) == sorted(commands)
    for job_id in ("copiesdenied", "foreignowner", "outputdenied"):
        job_run = broken_stage.job_run(job_id)
        stats = job_run.job()["resultStats"]
        assert (stats["successCount"], stats["failureCount"], stats["migrationFailedCount"]) == (40, 0, 0)
        assert Counter(item["status"] for item in job_run.transactions()) == {"processed": 40}
        assert [key for key in job_run.object_keys("uploads/") if job_id in key] == []


def test_resubmitted_images_become_transactions(broken_stage: BrokenStage) -> None:
    failed = broken_stage.job_run("bedrockfails")
    [intent_id] = [
        intent_id
        for item in failed.aws.dynamodb.scan(TableName=failed.outputs["batchJobsTable"])["Items"]
        if (intent_id := item["intentId"].get("S", "")).startswith("resubmit-")
    ]
    submitted = JobRun(failed.aws, failed.outputs, intent=intent_id).job()
    again = JobRun(failed.aws, failed.outputs, job_id=submitted["jobId"], intent=intent_id)
    again.wait_until(lambda job: "bedrockCounts" in job, "be reconciled")

    assert again.job()["resultStats"]["totalCount"] == 100
    assert len(again.transactions()) > 90


@pytest.mark.parametrize("command", sorted(filter(operators_arguments, documented_commands())))
def test_every_documented_operators_command_succeeds(
    broken_stage: BrokenStage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    # Some commands write a file into the current folder.
    monkeypatch.chdir(tmp_path)
    environment = {STAGE_FILE_VARIABLE: str(broken_stage.file), "AWS_CA_BUNDLE": broken_stage.ca_bundle}
    operator = Operator(broken_stage.stage, environment)

    result = operator.run_in_process(_arguments(command))

    # The commands of the demo's page have moved and submitted the images before.
    nothing_left = any(
        f"does not have images that {text}" in result.message for text in ("could not be moved", "can be submitted")
    )
    assert result.code == (1 if nothing_left else 0), result.err + result.out
