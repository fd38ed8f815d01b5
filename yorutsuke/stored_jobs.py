"""The items of a stage's jobs, as an operator needs them.

The layer's `BatchJobs` refuses an item that breaks the schema. Here, such an item does not hide the others. The table
has no index by time, so the complete table is scanned: 30 days of jobs, in concurrent segments. A projection reduces
the data that is sent, but not the data that is read and paid for.

Source: Amazon DynamoDB developer guide, "Scanning tables" (1 MB per page, before the projection; parallel scan).
"""

import time
from datetime import datetime
from itertools import chain
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from yorutsuke_common.aws.calls import CallPool
from yorutsuke_common.aws.dynamodb import Item, from_item
from yorutsuke_common.names import JOB_ID_INDEX, BedrockEnd
from yorutsuke_common.schema import JobStatus, OutputStats, RecordCounts, ResultStats, instant, number_as_text
from yorutsuke_common.validation import describe_errors

from .errors import NotFoundError
from .stage import Stage

SEGMENTS = 8
"""Number of concurrent segments of a scan."""
ENDED_EARLY = {JobStatus[end.name] for end in BedrockEnd}
"""The statuses of jobs that Bedrock did not complete and that have no processed output."""
UNREADABLE = "(unreadable)"
"""Status of an item that breaks the schema."""


class StoredJob(BaseModel):
    """An item of batch-jobs, complete or not. `jobId` is None while the intent has no job."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    intentId: str
    jobId: str | None = None
    userId: str | None = None
    status: str = UNREADABLE
    submitTime: Annotated[str | None, BeforeValidator(number_as_text)] = None
    completedAt: str | None = None
    modelId: str | None = None
    manifestUri: str | None = None
    inputUri: str | None = None
    traceId: str | None = None
    imageCount: int | None = None
    resultStats: ResultStats | None = None
    processedOutputs: dict[str, str] = Field(default_factory=dict[str, str])
    outputStats: dict[str, OutputStats] = Field(default_factory=dict[str, OutputStats])
    bedrockStatus: str | None = None
    bedrockMessage: str | None = None
    bedrockCounts: RecordCounts | None = None
    claimedBy: str | None = None
    claimedUntil: int | None = None

    @property
    def name(self) -> str:
        """The id of the job, or of the intent while it has no job."""
        return self.jobId or self.intentId

    @property
    def submitted(self) -> datetime | None:
        """The time of the submission, if it is known."""
        return instant(self.submitTime or "")

    @property
    def completed(self) -> datetime | None:
        """The time of the completion, if the job is completed."""
        return instant(self.completedAt or "")

    @property
    def unmoved_count(self) -> int:
        """The number of images that could not be moved, by the job's counts."""
        return self.resultStats.migrationFailedCount if self.resultStats else 0

    @property
    def is_claimed(self) -> bool:
        """Whether an invocation has a claim on the job that has not expired."""
        return self.claimedUntil is not None and self.claimedUntil >= time.time()

    @property
    def is_completed(self) -> bool:
        """Whether the job's output was processed."""
        return self.status == JobStatus.COMPLETED

    @property
    def is_ended_early(self) -> bool:
        """Whether Bedrock ended the job without completing it."""
        return self.status in ENDED_EARLY or self.bedrockStatus is not None

    @property
    def has_ended(self) -> bool:
        """Whether the job was completed or ended early, and no invocation is processing its output."""
        return (self.is_completed or self.is_ended_early) and not self.is_claimed

    def require_job(self, content: str) -> str:
        """Return the id of the job. Raises NotFoundError, which names the `content`, if the intent has no job yet."""
        if self.jobId is None:
            raise NotFoundError(
                f"intent {self.intentId!r} does not have a job yet, so there is no {content}.",
                "Send its request again.",
            )
        return self.jobId


def all_jobs(stage: Stage) -> list[StoredJob]:
    """Return all jobs, in any order."""
    attributes = StoredJob.model_fields

    def scan(segment: int) -> list[StoredJob]:
        pages = stage.clients.dynamodb.get_paginator("scan").paginate(
            TableName=stage.settings.batch_jobs_table,
            Segment=segment,
            TotalSegments=SEGMENTS,
            ProjectionExpression=", ".join(f"#{name}" for name in attributes),
            # `status` is a reserved word of DynamoDB.
            ExpressionAttributeNames={f"#{name}": name for name in attributes},
        )
        return [read_job(item) for page in pages for item in page["Items"]]

    return [*chain.from_iterable(CallPool().map(scan, range(SEGMENTS)))]


def find_job(stage: Stage, name: str) -> StoredJob:
    """Return a job by its id or the id of its intent. Raises NotFoundError."""
    return read_job(find_item(stage, name))


def find_item(stage: Stage, name: str) -> Item:
    """Return a job's complete item by the id of the job or of its intent. Raises NotFoundError."""
    client, table = stage.clients.dynamodb, stage.settings.batch_jobs_table
    found: list[Item] = client.query(
        TableName=table,
        IndexName=JOB_ID_INDEX,
        KeyConditionExpression="jobId = :jobId",
        ExpressionAttributeValues={":jobId": {"S": name}},
        Limit=1,
    )["Items"]
    intent_id = found[0]["intentId"] if found else {"S": name}
    answer: Any = client.get_item(TableName=table, Key={"intentId": intent_id}, ConsistentRead=True)
    if "Item" not in answer:
        raise NotFoundError(
            f"stage {stage.name!r} does not have a job or an intent with the id {name!r}.",
            f"`{stage.command('jobs')}` lists the jobs of the last 30 days.",
        )
    return answer["Item"]


def read_job(item: Item) -> StoredJob:
    """Return the job of an item. If it breaks the schema, the status is UNREADABLE and the message the reason."""
    try:
        return StoredJob.model_validate(from_item(item))
    except ValidationError as exc:
        return StoredJob(
            intentId=item["intentId"]["S"],
            jobId=item.get("jobId", {}).get("S"),
            bedrockMessage=describe_errors(exc, "the item"),
        )
