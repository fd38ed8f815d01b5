"""A night's job on the local stage: what is there before Bedrock has finished, and what is there afterwards."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

from yorutsuke_common.hashing import image_digest
from yorutsuke_common.names import (
    BATCH_OUTPUT_PREFIX,
    DEAD_LETTERS_PREFIX,
    JOB_TRANSACTIONS_INDEX,
    OUTPUT_MANIFEST_NAME,
    OUTPUT_SUFFIXES,
    UPLOADS_PREFIX,
)
from yorutsuke_common.schema import (
    MAX_IMAGE_ID_BYTES,
    BatchJob,
    ImageStatus,
    JobStatus,
    PendingImage,
    RecordCounts,
    iso_utc,
)

from .aws import Aws
from .emulator import REGION
from .errors import LocalStageError, NotSettledError
from .receipts import make_image
from .state_change import StateChange

USER_ID = "user-1"
MODEL_ID = "apac.amazon.nova-lite-v1:0"
SETTLE_SECONDS = 900
LOG_SECONDS = 30
POLL_SECONDS = 0.5
# A longer image id, or one with line breaks, is not made a file's name as it is.
MAX_FILE_NAME_BYTES = 200

_T = TypeVar("_T")


def _hours_ago() -> str:
    """Return when a job was submitted whose output is there by now: what looks at recent jobs finds it."""
    return iso_utc(datetime.now(UTC) - timedelta(hours=2))


@dataclass(frozen=True)
class Night:
    """One job of one user on a deployed stage. `outputs` are the stack's; `intent` is what it was submitted under."""

    aws: Aws
    outputs: dict[str, str]
    job_id: str = "nightly00001"
    intent: str | None = None
    submit_time: str = field(default_factory=_hours_ago)

    @property
    def intent_id(self) -> str:
        """The intent that the job was submitted for."""
        return self.intent or f"intent-{self.job_id}"

    @property
    def trace_id(self) -> str:
        """The trace that the intent began."""
        return f"trace-{self.job_id}"

    def seed_images(self, image_ids: Iterable[str]) -> None:
        """Put each image into `uploads/` and its item into pending-images."""
        with ThreadPoolExecutor(8) as pool:
            # The list is what lets a failure in one of the threads be seen.
            list(pool.map(self._seed_image, image_ids))

    def seed_job(self, image_ids: list[str] | None = None) -> None:
        """Write the job's record, as the orchestrator does when it submits the job, with its images or without."""
        job = BatchJob(
            intentId=self.intent_id,
            jobId=self.job_id,
            userId=USER_ID,
            status=JobStatus.SUBMITTED.value,
            submitTime=self.submit_time,
            modelId=MODEL_ID,
            manifestUri=f"s3://{self.outputs['imagesBucket']}/batch-input/{self.intent_id}/manifest.jsonl",
            pendingImageIds=image_ids,
            traceId=self.trace_id,
        )
        self._put(self.outputs["batchJobsTable"], job.model_dump(exclude_unset=True, exclude_none=True))

    def set_owner(self, image_ids: Iterable[str], user_id: str) -> None:
        """Have pending-images say that these images are a user's."""
        for image_id in image_ids:
            self.aws.dynamodb.update_item(
                TableName=self.outputs["pendingImagesTable"],
                Key={"imageId": {"S": image_id}},
                UpdateExpression="SET userId = :userId",
                ConditionExpression="attribute_exists(imageId)",
                ExpressionAttributeValues={":userId": {"S": user_id}},
            )

    def drop_output(self, file: Path) -> str:
        """Put the job's output where Bedrock would; return its object key. From here on the pipeline works alone."""
        name = file.name if file.name.endswith(OUTPUT_SUFFIXES) else "output.jsonl"
        key = f"{BATCH_OUTPUT_PREFIX}{self.job_id}/{name}"
        self.aws.s3.upload_file(str(file), self.outputs["imagesBucket"], key)
        return key

    def drop_manifest(self, counts: RecordCounts) -> None:
        """Put the job's manifest where Bedrock would."""
        self.aws.s3.put_object(
            Bucket=self.outputs["imagesBucket"],
            Key=f"{BATCH_OUTPUT_PREFIX}{self.job_id}/{OUTPUT_MANIFEST_NAME}",
            Body=counts.model_dump_json(exclude_none=True).encode(),
        )

    def end_job(self, status: str, message: str) -> None:
        """Say on the event bus that the job ended with this status, as Bedrock would, from the stage's drill source.

        Raises LocalStageError where the event bus does not take the event.
        """
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
        """Wait until the job is COMPLETED.

        Raises NotSettledError where it takes too long, or where the function reports a failure: SQS would deliver
        the message again, but nothing would be different here.
        """
        self.wait_until(lambda job: job["status"] == JobStatus.COMPLETED, "be COMPLETED")

    def wait_until(self, settled: Callable[[dict[str, Any]], bool], what: str) -> None:
        """Wait until the job's record is as it is to be. Raises NotSettledError as `wait_until_completed` does."""

        def is_settled() -> bool:
            for entry in self.failures():
                raise NotSettledError(
                    f"the function failed with {entry['error']}: {entry.get('detail', entry['stack'])}"
                )
            return settled(self.job())

        until(is_settled, SETTLE_SECONDS, f"job {self.job_id!r} to {what}")

    def wait_for_entry(self, event: str) -> dict[str, Any]:
        """Return the job's entry in the function's log that names the event; it comes after the invocation has ended.

        Raises NotSettledError where it takes too long.
        """
        return until(
            lambda: next(self._own_entries(event), None), LOG_SECONDS, f"{event} of {self.job_id!r} in the log"
        )

    def failures(self) -> Iterator[dict[str, Any]]:
        """Yield an entry of the function's log for each time that it failed with a message of the job."""
        return self._own_entries("BATCH_RESULT_FAILED")

    def _own_entries(self, event: str) -> Iterator[dict[str, Any]]:
        return self.log_entries(f'"{event}" "{self.job_id}"')

    def job(self) -> dict[str, Any]:
        """Return the job's record."""
        response = self.aws.dynamodb.get_item(
            TableName=self.outputs["batchJobsTable"], Key={"intentId": {"S": self.intent_id}}, ConsistentRead=True
        )
        return _attributes(response.get("Item", {}))

    def transactions(self) -> list[dict[str, Any]]:
        """Return the job's transactions."""
        pages = self.aws.dynamodb.get_paginator("query").paginate(
            TableName=self.outputs["transactionsTable"],
            IndexName=JOB_TRANSACTIONS_INDEX,
            KeyConditionExpression="jobId = :jobId",
            ExpressionAttributeValues={":jobId": {"S": self.job_id}},
        )
        return [_attributes(item) for page in pages for item in page["Items"]]

    def object_keys(self, prefix: str) -> list[str]:
        """Return the keys below a prefix of the bucket."""
        pages = self.aws.s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.outputs["imagesBucket"], Prefix=prefix
        )
        return [entry.get("Key", "") for page in pages for entry in page.get("Contents", [])]

    def dead_letters(self) -> list[dict[str, Any]]:
        """Return the job's dead letters; none where there is no file of them."""
        key = f"{DEAD_LETTERS_PREFIX}{self.job_id}.jsonl"
        if key not in self.object_keys(key):
            return []
        body = self.aws.s3.get_object(Bucket=self.outputs["imagesBucket"], Key=key)["Body"]
        return [json.loads(line) for line in body.iter_lines()]

    def dlq_depth(self) -> int:
        """Return how many messages wait in the dead-letter queue."""
        attributes = self.aws.sqs.get_queue_attributes(
            QueueUrl=self.outputs["deadLetterQueueUrl"], AttributeNames=["ApproximateNumberOfMessages"]
        )["Attributes"]
        return int(attributes["ApproximateNumberOfMessages"])

    def dead_messages(self) -> int:
        """Return how many messages in the dead-letter queue name the job, of ten at most; they stay visible there."""
        received = self.aws.sqs.receive_message(
            QueueUrl=self.outputs["deadLetterQueueUrl"], MaxNumberOfMessages=10, VisibilityTimeout=0
        )
        return sum(self.job_id in message.get("Body", "") for message in received.get("Messages", []))

    def log_entries(self, pattern: str = "") -> Iterator[dict[str, Any]]:
        """Yield the JSON entries of the function's log, semantic events and metrics, that fit a filter pattern."""
        pages = self.aws.logs.get_paginator("filter_log_events").paginate(
            logGroupName=self.outputs["logGroup"], filterPattern=pattern
        )
        for page in pages:
            for event in page["events"]:
                message = event.get("message", "")
                # Between them are the platform's own START, END and REPORT lines.
                if message.startswith("{"):
                    yield json.loads(message)

    def _seed_image(self, image_id: str) -> None:
        key = f"{UPLOADS_PREFIX}{USER_ID}/{_file_name(image_id)}.png"
        self.aws.s3.put_object(Bucket=self.outputs["imagesBucket"], Key=key, Body=make_image(image_id))
        image = PendingImage(
            imageId=image_id, userId=USER_ID, s3Key=key, uploadedAt=self.submit_time, status=ImageStatus.PENDING.value
        )
        self._put(self.outputs["pendingImagesTable"], image.model_dump(exclude_unset=True))

    def _put(self, table: str, attributes: dict[str, Any]) -> None:
        serializer = TypeSerializer()
        self.aws.dynamodb.put_item(
            TableName=table, Item={name: serializer.serialize(value) for name, value in attributes.items()}
        )


def image_ids_in(file: Path) -> list[str]:
    """Return every image id that an output names, in either layout, once each, in order of appearance.

    Raises LocalStageError where the file cannot be read.
    """
    found: dict[str, None] = {}
    try:
        with file.open("rb") as lines:
            for line in lines:
                found.update(dict.fromkeys(_image_ids(line)))
    except OSError as exc:
        raise LocalStageError(
            f"input {str(file)!r} cannot be read ({exc.strerror}): name a JSONL output file."
        ) from exc
    return list(found)


def _image_ids(line: bytes) -> Iterator[str]:
    try:
        record: object = json.loads(line)
    except (ValueError, RecursionError):
        return
    if not isinstance(record, dict):
        return
    for name in ("recordId", "customData"):
        image_id = cast("dict[str, object]", record).get(name)
        if isinstance(image_id, str) and _can_be_seeded(image_id):
            yield image_id


def _file_name(image_id: str) -> str:
    fits = len(image_id.encode()) <= MAX_FILE_NAME_BYTES and image_id.isprintable()
    return image_id if fits else image_digest(image_id)


def _can_be_seeded(image_id: str) -> bool:
    try:
        return 0 < len(image_id.encode()) <= MAX_IMAGE_ID_BYTES
    except UnicodeEncodeError:
        # A lone surrogate, which neither S3 nor DynamoDB can hold.
        return False


def _attributes(item: dict[str, Any]) -> dict[str, Any]:
    deserializer = TypeDeserializer()
    return {name: deserializer.deserialize(value) for name, value in item.items()}


def until(probe: Callable[[], _T | None], seconds: float, what: str) -> _T:
    """Ask again and again until there is an answer, and return it. Raises NotSettledError after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        if answer := probe():
            return answer
        if time.monotonic() > deadline:
            raise NotSettledError(f"waited {seconds:.0f} s for {what}: look into the emulator's log in .local/.")
        time.sleep(POLL_SECONDS)
