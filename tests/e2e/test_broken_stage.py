"""A night that went wrong on purpose: what it says is what the stage holds, and every cause is gone."""

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
PLACEHOLDERS = {"STAGE": "local", "dev": "local"}
SETTLE_SECONDS = 120


@dataclass(frozen=True)
class Morning:
    """What the demo said, and the stage that it left."""

    done: "subprocess.CompletedProcess[str]"
    stage: JobRun
    file: Path
    ca_bundle: str

    def job_run(self, job_id: str) -> JobRun:
        return JobRun(self.stage.aws, self.stage.outputs, job_id=job_id)


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
        yield Morning(done, JobRun(aws, outputs), file, kept["caBundle"])
    finally:
        run_demo("--stop", "--stage-file", str(file))


def _row(**values: Any) -> dict[str, Any]:
    nothing = {"transactions": 0, "migrationFailed": 0, "imagesProcessed": 0, "imagesLeft": 0}
    return {**nothing, "deadLetters": {}, "deadMessages": 0, "command": None, **values}


EXPECTED = [
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
        jobId="bedrockfails",
        status="FAILED",
        broke="Bedrock ended the job as Failed, without an output.",
        imagesLeft=40,
    ),
    _row(jobId="nothingamiss", status="COMPLETED", broke="The job succeeded.", transactions=40, imagesProcessed=40),
]


def test_five_jobs_go_wrong_each_in_its_way(morning: Morning) -> None:
    job_run = json.loads(morning.done.stdout)

    assert job_run["seconds"] > 0
    assert {name: value for name, value in job_run.items() if name != "seconds"} == {"jobs": EXPECTED, "dlqDepth": 1}
    assert "Failing the message of job outputdenied: 5 of 5 deliveries" in morning.done.stderr


@pytest.mark.parametrize("row", EXPECTED, ids=lambda row: row["jobId"])
def test_what_is_told_of_a_job_is_what_the_stage_holds(morning: Morning, row: dict[str, Any]) -> None:
    job_run, aws, bucket = morning.job_run(row["jobId"]), morning.stage.aws, morning.stage.outputs["imagesBucket"]
    scanned = aws.dynamodb.scan(TableName="yorutsuke-transactions-local")["Items"]
    statuses = Counter(item["status"].get("S") for item in scanned if item["jobId"] == {"S": row["jobId"]})
    keys = [entry.get("Key", "") for entry in aws.s3.list_objects_v2(Bucket=bucket).get("Contents", [])]
    folders = Counter(key.split("/")[0] for key in keys if f"{row['jobId']}-img-" in key)
    table_row = next(line for line in morning.done.stderr.splitlines() if line.startswith(f"│ {row['jobId']} "))

    assert statuses == Counter(
        {"processed": row["transactions"] - row["migrationFailed"], "migrationFailed": row["migrationFailed"]}
    )
    assert folders == Counter({"uploads": row["imagesLeft"], "processed": row["imagesProcessed"]})
    assert Counter(letter["reason"] for letter in job_run.dead_letters()) == row["deadLetters"]
    assert job_run.job()["status"] == row["status"]
    assert f"│ {row['status']} " in table_row
    assert row["command"] is None or f"│ {row['command']} " in table_row


def test_the_dead_letter_queue_holds_the_one_message_that_failed_five_times(morning: Morning) -> None:
    [message] = morning.stage.aws.sqs.receive_message(
        QueueUrl=morning.stage.outputs["deadLetterQueueUrl"], MaxNumberOfMessages=10, VisibilityTimeout=0
    ).get("Messages", [])

    notification = json.loads(json.loads(message.get("Body", ""))["Message"])
    keys = [record["s3"]["object"]["key"] for record in notification["Records"]]
    assert keys == ["batch-output/outputdenied/output.jsonl"]
    failures = list(morning.job_run("outputdenied").failures())
    assert [failure["error"] for failure in failures] == ["AccessDenied"] * 5


def test_broken_night_restores_the_visibility_timeout(morning: Morning) -> None:
    queue = {"QueueUrl": morning.stage.outputs["queueUrl"]}
    attributes = morning.stage.aws.sqs.get_queue_attributes(**queue, AttributeNames=["VisibilityTimeout"])["Attributes"]

    assert attributes == {"VisibilityTimeout": "360"}


# The last ones here: from now on the stage is not as the night left it.


def _arguments(command: str) -> list[str]:
    """Return the arguments of an operator's command in the documents, for the broken stage and without questions."""
    arguments = operators_arguments(command)
    assert arguments
    [name, *rest] = [PLACEHOLDERS.get(argument, argument) for argument in arguments]
    rest = ["copiesdenied" if (argument, name) == ("JOB", "retry-migrations") else argument for argument in rest]
    rest = ["foreignowner" if argument == "JOB" else argument for argument in rest]
    changes = name in {"redrive", "replay", "retry-migrations"} and "--dry-run" not in rest
    return [name, *rest, *(["--yes"] if changes else [])]


def _operate(morning: Morning, folder: Path, command: str) -> "subprocess.CompletedProcess[str]":
    """Run an operator's command of the documents as a person does."""
    return subprocess.run(
        [sys.executable, "-m", "yorutsuke", *_arguments(command)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": SOURCE, STAGE_FILE_VARIABLE: str(morning.file)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SETTLE_SECONDS,
        check=False,
    )


def test_the_readmes_commands_find_what_is_wrong_and_mend_it(morning: Morning, tmp_path: Path) -> None:
    [broken, first, *mending, last, stop] = [
        command for command in commands_in("README.md") if "demo --" in command or "yorutsuke --" in command
    ]
    assert (demos_arguments(broken), demos_arguments(stop)) == (["--broken"], ["--stop"])

    found = _operate(morning, tmp_path, first)
    mended = [_operate(morning, tmp_path, command) for command in mending]
    redriven = morning.job_run("outputdenied")
    until(lambda: redriven.job()["status"] == "COMPLETED", SETTLE_SECONDS, "what was redriven to be taken in")
    healthy = _operate(morning, tmp_path, last)

    assert (found.returncode, healthy.returncode) == (UNHEALTHY, 0), healthy.stdout
    assert [done.returncode for done in mended] == [0, 0, 0]
    commands = [row["command"] for row in EXPECTED if row["command"]]
    assert sorted(" ".join((operators_arguments(command) or [])[:-2]) for command in mending) == sorted(commands)
    for job_id in ("copiesdenied", "foreignowner", "outputdenied"):
        job_run = morning.job_run(job_id)
        stats = job_run.job()["resultStats"]
        assert (stats["successCount"], stats["failureCount"], stats["migrationFailedCount"]) == (40, 0, 0)
        assert Counter(item["status"] for item in job_run.transactions()) == {"processed": 40}
        assert [key for key in job_run.object_keys("uploads/") if job_id in key] == []


@pytest.mark.parametrize("command", sorted(filter(operators_arguments, documented_commands())))
def test_every_operators_command_of_the_documents_runs(
    morning: Morning, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    # Some commands write a file into the current folder.
    monkeypatch.chdir(tmp_path)
    operator = Operator(morning.stage, {STAGE_FILE_VARIABLE: str(morning.file), "AWS_CA_BUNDLE": morning.ca_bundle})

    ran = operator.run_here(_arguments(command))

    assert ran.code == 0, ran.err + ran.out
