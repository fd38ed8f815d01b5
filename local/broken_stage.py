"""`demo -- --broken`: a stage with jobs that failed for real causes, which no longer exist.

The pipeline itself produces all failures, so that the operator's command can repair them.
"""

import json
import time
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from rich.table import Table
from rich.text import Text

from yorutsuke_common.names import BEDROCK_MIN_RECORDS, PROCESSED_PREFIX, UPLOADS_PREFIX
from yorutsuke_common.object_keys import output_prefix
from yorutsuke_common.schema import JobStatus, TransactionStatus
from yorutsuke_infra.messaging import MAX_RECEIVES

from .job_run import USER_ID, JobRun, until
from .receipts import Receipt, make_receipts, simple_lines
from .terminal import step

RECEIPTS = 40
"""Number of receipts of each job but `bedrockfails`."""
MISATTRIBUTED = 5
OTHER_USER_ID = "user-2"
REDELIVERY_SECONDS = 3
"""Visibility timeout of the queue while a message fails, in seconds. With the stage's own timeout of six minutes, five
receives would take half an hour."""
DEAD_LETTER_SECONDS = 60
BEDROCK_FAILS = "bedrockfails"
TROUBLES = {
    "outputdenied": (f"The output could not be read in {MAX_RECEIVES} deliveries.", "redrive"),
    "foreignowner": (f"{MISATTRIBUTED} images belonged to another user.", "replay foreignowner"),
    "copiesdenied": ("The images could not be copied to processed/.", "retry-migrations copiesdenied"),
    BEDROCK_FAILS: ("Bedrock ended the job as Failed, without an output.", f"resubmit {BEDROCK_FAILS}"),
    "nothingamiss": ("The job succeeded.", None),
}
"""The problem of each job, by its id, and the operator's command that repairs the job, if there is one."""


def break_stage(stage: JobRun) -> dict[str, Any]:
    """Make the jobs of a stage fail, remove every cause, and return the object that `--json` prints.

    Raises NotSettledError.
    """
    started = time.perf_counter()
    jobs = [replace(stage, job_id=job_id) for job_id in TROUBLES]
    output_denied, foreign_owner, copies_denied, bedrock_fails, nothing_amiss = jobs
    with step(f"Adding {len(jobs)} jobs with {sum(len(_receipts(job)) for job in jobs)} receipt images"):
        for job in jobs:
            job.seed_images(_image_ids(job))
            job.seed_job(_image_ids(job))
    with _denied(stage, "s3:PutObject", f"{PROCESSED_PREFIX}*"):
        _process(copies_denied, " while copies to processed/ are denied")
    with _misattributed(stage, _image_ids(foreign_owner)[:MISATTRIBUTED]):
        _process(foreign_owner, f" while {MISATTRIBUTED} images belong to {OTHER_USER_ID}")
    with step(f"Ending job {bedrock_fails.job_id} as Failed, as Bedrock does"):
        bedrock_fails.end_job("Failed", "The model could not be reached.")
        bedrock_fails.wait_until(lambda item: item["status"] == JobStatus.FAILED, "be FAILED")
    _process(nothing_amiss)
    with _denied(stage, "s3:GetObject", f"{output_prefix(output_denied.job_id)}*"), _quick_redelivery(stage):
        output_denied.drop_lines(simple_lines(_receipts(output_denied)))
        _wait_until_given_up(output_denied)
    return {
        "jobs": [_remains(job) for job in jobs],
        "dlqDepth": stage.dlq_depth(),
        "seconds": round(time.perf_counter() - started, 2),
    }


def broken_stage_table(job_run: Mapping[str, Any]) -> Table:
    """Return the result of `break_stage` as a table with a row for each job."""
    table = Table(title="Jobs of the broken stage", title_justify="left", caption_justify="left")
    table.caption = Text("Run each command as: ./nox -s yorutsuke -- COMMAND --stage local", style="table.caption")
    for title in ("job", "status", "failure", "remains", "repair"):
        table.add_column(title, no_wrap=title in {"job", "repair"})
    for job in job_run["jobs"]:
        counts = {
            "transactions": job["transactions"],
            "with status migrationFailed": job["migrationFailed"],
            "images in processed/": job["imagesProcessed"],
            "images in uploads/": job["imagesLeft"],
            **{f"dead letters ({reason})": count for reason, count in job["deadLetters"].items()},
            "messages in the dead-letter queue": job["deadMessages"],
        }
        remains = ", ".join(f"{name}: {count}" for name, count in counts.items() if count)
        table.add_row(job["jobId"], job["status"], job["broke"], remains, job["command"] or "–")
    return table


def _remains(job_run: JobRun) -> dict[str, Any]:
    """Return the `--json` object of a job. The ids of its images start with its own id."""
    broke, command = TROUBLES[job_run.job_id]
    processed, left = (
        sum(job_run.job_id in key for key in job_run.object_keys(prefix))
        for prefix in (PROCESSED_PREFIX, UPLOADS_PREFIX)
    )
    statuses = Counter(transaction["status"] for transaction in job_run.transactions())
    return {
        "jobId": job_run.job_id,
        "status": job_run.job()["status"],
        "broke": broke,
        "transactions": statuses.total(),
        "migrationFailed": statuses[TransactionStatus.MIGRATION_FAILED],
        "imagesProcessed": processed,
        "imagesLeft": left,
        "deadLetters": Counter(letter["reason"] for letter in job_run.dead_letters()),
        "deadMessages": _dead_messages(job_run),
        "command": command,
    }


def _receipts(job_run: JobRun) -> list[Receipt]:
    # The images of the failed job are enough for a new job.
    count = BEDROCK_MIN_RECORDS if job_run.job_id == BEDROCK_FAILS else RECEIPTS
    return make_receipts(count, prefix=f"{job_run.job_id}-")


def _image_ids(job_run: JobRun) -> list[str]:
    return [receipt.image_id for receipt in _receipts(job_run)]


def _dead_messages(job_run: JobRun) -> int:
    """Return the number of dead messages that name the job, out of at most ten. The messages stay visible."""
    received = job_run.aws.sqs.receive_message(
        QueueUrl=job_run.outputs["deadLetterQueueUrl"], MaxNumberOfMessages=10, VisibilityTimeout=0
    )
    return sum(job_run.job_id in message.get("Body", "") for message in received.get("Messages", []))


def _process(job_run: JobRun, circumstance: str = "") -> None:
    with step(f"Processing job {job_run.job_id}{circumstance}"):
        job_run.drop_lines(simple_lines(_receipts(job_run)))
        job_run.wait_until_completed()


def _wait_until_given_up(job_run: JobRun) -> None:
    """Wait until the message about an output has failed MAX_RECEIVES times and is in the dead-letter queue."""
    with step(f"Failing the message of job {job_run.job_id}") as show_progress:

        def is_given_up() -> int:
            show_progress(f"{len(list(job_run.failures()))} of {MAX_RECEIVES} deliveries")
            return _dead_messages(job_run)

        until(is_given_up, DEAD_LETTER_SECONDS, f"the message about {job_run.job_id!r} to be in the dead-letter queue")


@contextmanager
def _denied(stage: JobRun, action: str, keys: str) -> Generator[None]:
    """Deny the result handler's role an action of S3 on some keys of the bucket.

    A Deny overrides every Allow. Source: IAM user guide, "Policy evaluation logic".
    """
    statement = {"Effect": "Deny", "Action": action, "Resource": f"arn:aws:s3:::{stage.bucket}/{keys}"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    role, name = stage.outputs["functionRoleArn"].rpartition("/")[2], f"deny-{action.partition(':')[2]}"
    stage.aws.iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=document)
    try:
        yield
    finally:
        stage.aws.iam.delete_role_policy(RoleName=role, PolicyName=name)


@contextmanager
def _quick_redelivery(stage: JobRun) -> Generator[None]:
    """Let failed messages return to the queue after REDELIVERY_SECONDS. Other messages must not be in process."""
    sqs, queue_url = stage.aws.sqs, stage.outputs["queueUrl"]
    attributes: Any = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["VisibilityTimeout"])["Attributes"]
    sqs.set_queue_attributes(QueueUrl=queue_url, Attributes={"VisibilityTimeout": str(REDELIVERY_SECONDS)})
    try:
        yield
    finally:
        sqs.set_queue_attributes(QueueUrl=queue_url, Attributes=attributes)


@contextmanager
def _misattributed(stage: JobRun, image_ids: list[str]) -> Generator[None]:
    """Name another user as the owner of images in pending-images."""

    def set_owner(user_id: str) -> None:
        for image_id in image_ids:
            stage.aws.dynamodb.update_item(
                TableName=stage.outputs["pendingImagesTable"],
                Key={"imageId": {"S": image_id}},
                UpdateExpression="SET userId = :userId",
                ExpressionAttributeValues={":userId": {"S": user_id}},
            )

    set_owner(OTHER_USER_ID)
    try:
        yield
    finally:
        set_owner(USER_ID)
