"""A job on the local stage: the input of the app and of Bedrock, and the results of the pipeline."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from yorutsuke_common.aws.dynamodb import from_item, to_item
from yorutsuke_common.hashing import images_digest
from yorutsuke_common.names import (
    JOB_TRANSACTIONS_INDEX,
    OUTPUT_MANIFEST_NAME,
    OUTPUT_SUFFIXES,
    UPLOADS_PREFIX,
    LogEvent,
)
from yorutsuke_common.object_keys import dead_letters_key, input_folder, input_key, output_prefix
from yorutsuke_common.schema import BatchJob, ImageStatus, JobStatus, PendingImage, RecordCounts, iso_utc

from .aws import Aws
from .bedrock.jobs import StateChange
from .emulator import REGION
from .errors import NotSettledError
from .receipts import make_image

USER_ID = "user-1"
MODEL_ID = "apac.amazon.nova-lite-v1:0"
SETTLE_SECONDS = 900
LOG_SECONDS = 30
POLL_SECONDS = 0.5
MAX_FILE_NAME_BYTES = 200
"""Maximum length of an image id that becomes the name of its file, in bytes. Other images are named by a digest."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class JobRun:
    """One job of one user on a deployed stage. `outputs` are the stack's; `intent` is the job's intent."""

    aws: Aws
    outputs: dict[str, str]
    job_id: str = "nightly00001"
    intent: str | None = None
    submit_time: str = field(default_factory=lambda: iso_utc(datetime.now(UTC) - timedelta(hours=2)))
    """Two hours ago by default: Bedrock may have written an output since."""

    @property
    def intent_id(self) -> str:
        """The intent of the job."""
        return self.intent or f"intent-{self.job_id}"

    @property
    def bucket(self) -> str:
        """The images bucket."""
        return self.outputs["imagesBucket"]

    def seed_images(self, image_ids: Iterable[str]) -> None:
        """Put each image into `uploads/`, and its item into pending-images as it is after the job's submission."""
        with ThreadPoolExecutor(8) as pool:
            # The list raises the errors of the threads.
            list(pool.map(self._seed_image, image_ids))

    def _seed_image(self, image_id: str) -> None:
        is_usable = len(image_id.encode()) <= MAX_FILE_NAME_BYTES and image_id.isprintable()
        key = f"{UPLOADS_PREFIX}{USER_ID}/{image_id if is_usable else images_digest([image_id])}.png"
        etag = self.aws.s3.put_object(Bucket=self.bucket, Key=key, Body=make_image(image_id))["ETag"]
        image = PendingImage(
            imageId=image_id,
            userId=USER_ID,
            s3Key=key,
            uploadedAt=self.submit_time,
            status=ImageStatus.SUBMITTED.value,
            intentId=self.intent_id,
            submittedAt=self.submit_time,
            attempts=1,
            uploadETag=etag,
        )
        self._put("pendingImagesTable", image.model_dump(exclude_none=True))

    def seed_job(self, image_ids: list[str] | None = None) -> None:
        """Write the job's item as the orchestrator does, with or without the list of its images."""
        job = BatchJob(
            intentId=self.intent_id,
            jobId=self.job_id,
            userId=USER_ID,
            status=JobStatus.SUBMITTED.value,
            submitTime=self.submit_time,
            modelId=MODEL_ID,
            manifestUri=f"s3://{self.bucket}/{input_key(input_folder(self.intent_id))}",
            pendingImageIds=image_ids,
            traceId=f"trace-{self.job_id}",
        )
        self._put("batchJobsTable", job.model_dump(exclude_unset=True, exclude_none=True))

    def drop_output(self, file: Path) -> str:
        """Put a file into the bucket as the job's output, which starts the pipeline, and return its object key."""
        key = output_prefix(self.job_id) + (file.name if file.name.endswith(OUTPUT_SUFFIXES) else "output.jsonl")
        self.aws.s3.upload_file(str(file), self.bucket, key)
        return key

    def drop_lines(self, lines: Iterable[str], name: str = "output.jsonl") -> None:
        """Put lines into the bucket as the job's output."""
        key = output_prefix(self.job_id) + name
        self.aws.s3.put_object(Bucket=self.bucket, Key=key, Body="\n".join(lines).encode())

    def drop_output_manifest(self, counts: RecordCounts) -> None:
        """Put the output manifest into the bucket."""
        self.drop_lines([counts.model_dump_json(exclude_none=True)], OUTPUT_MANIFEST_NAME)

    def end_job(self, status: str, message: str) -> None:
        """Send the event that Bedrock ended the job, from the stage's drill source. Raises LocalStageError."""
        account = self.outputs["functionRoleArn"].split(":")[4]
        StateChange(
            job_arn=f"arn:aws:bedrock:{REGION}:{account}:model-invocation-job/{self.job_id}",
            job_name=f"{self.outputs['jobNamePrefix']}{self.intent_id}",
            model_id=MODEL_ID,
            status=status,
            message=message,
            created=datetime.fromisoformat(self.submit_time),
        ).put(self.aws.events, self.outputs["drillEventSource"])

    def wait_until_completed(self) -> None:
        """Wait until the job is COMPLETED."""
        self.wait_until(lambda job: job["status"] == JobStatus.COMPLETED, "be COMPLETED")

    def wait_until(self, settled: Callable[[dict[str, Any]], bool], change: str) -> None:
        """Wait until the job's item meets a condition. Raises NotSettledError if the function fails instead."""

        def is_settled() -> bool:
            for entry in self.failures():
                detail = entry.get("detail", entry["stack"])
                raise NotSettledError(f"the function failed with {entry['error']}: {detail}")
            return settled(self.job())

        until(is_settled, SETTLE_SECONDS, f"job {self.job_id!r} to {change}")

    def wait_for_entry(self, event: str) -> dict[str, Any]:
        """Return the function's log entry of this event and job, which appears when the invocation has ended."""
        change = f"the log entry {event} of job {self.job_id!r}"
        return until(lambda: next(self._own_entries(event), None), LOG_SECONDS, change)

    def failures(self) -> Iterator[dict[str, Any]]:
        """Yield the log entry of each failure of the function with a message about the job."""
        return self._own_entries(LogEvent.BATCH_RESULT_FAILED)

    def _own_entries(self, event: str) -> Iterator[dict[str, Any]]:
        return self.log_entries(f'"{event}" "{self.job_id}"')

    def log_entries(self, pattern: str = "") -> Iterator[dict[str, Any]]:
        """Yield the JSON entries of the function's log that match a filter pattern, metrics included."""
        pages = self.aws.logs.get_paginator("filter_log_events").paginate(
            logGroupName=self.outputs["logGroup"], filterPattern=pattern
        )
        messages = (event.get("message", "") for page in pages for event in page["events"])
        # Lambda's own START, END and REPORT lines are not JSON.
        return (json.loads(message) for message in messages if message.startswith("{"))

    def job(self) -> dict[str, Any]:
        """Return the job's item, or an empty dict if it does not exist."""
        table, key = self.outputs["batchJobsTable"], to_item({"intentId": self.intent_id})
        response = self.aws.dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True)
        return from_item(response.get("Item", {}))

    def transactions(self) -> list[dict[str, Any]]:
        """Return the job's transactions."""
        pages = self.aws.dynamodb.get_paginator("query").paginate(
            TableName=self.outputs["transactionsTable"],
            IndexName=JOB_TRANSACTIONS_INDEX,
            KeyConditionExpression="jobId = :jobId",
            ExpressionAttributeValues={":jobId": {"S": self.job_id}},
        )
        return [from_item(item) for page in pages for item in page["Items"]]

    def items(self, table: str) -> list[dict[str, Any]]:
        """Return all items of a table, which is named by its output of the stack."""
        pages = self.aws.dynamodb.get_paginator("scan").paginate(TableName=self.outputs[table], ConsistentRead=True)
        return [from_item(item) for page in pages for item in page["Items"]]

    def object_keys(self, prefix: str) -> list[str]:
        """Return the keys below a prefix of the bucket."""
        pages = self.aws.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [entry.get("Key", "") for page in pages for entry in page.get("Contents", [])]

    def dead_letters(self) -> list[dict[str, Any]]:
        """Return the job's dead letters, if any."""
        try:
            body = self.aws.s3.get_object(Bucket=self.bucket, Key=dead_letters_key(self.job_id))["Body"]
        except self.aws.s3.exceptions.NoSuchKey:
            return []
        return [json.loads(line) for line in body.iter_lines()]

    def dlq_depth(self) -> int:
        """Return the number of messages in the dead-letter queue."""
        name, queue = "ApproximateNumberOfMessages", self.outputs["deadLetterQueueUrl"]
        return int(self.aws.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=[name])["Attributes"][name])

    def _put(self, table: str, attributes: dict[str, Any]) -> None:
        self.aws.dynamodb.put_item(TableName=self.outputs[table], Item=to_item(attributes))


def until(probe: Callable[[], _T | None], seconds: float, change: str) -> _T:
    """Call a probe until its result is true, and return the result.

    Args:
        probe: The function to call.
        seconds: The timeout.
        change: The expected change, for the error's message.

    Raises:
        NotSettledError: The timeout has passed.
    """
    deadline = time.monotonic() + seconds
    while True:
        if answer := probe():
            return answer
        if time.monotonic() > deadline:
            raise NotSettledError(f"waited {seconds:.0f} s for {change}.")
        time.sleep(POLL_SECONDS)
