"""The jobs of a stage, as their records in batch-jobs have them.

The table has no index by time: all of it is read, thirty days of records, in parts side by side. What is projected is
sent, and no more, but read, paged and paid for are whole items, `pendingImageIds` of up to 300 KB included.

Source: Amazon DynamoDB developer guide, "Scanning tables" (1 MB a page, before what is projected; parallel scan).
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from yorutsuke_common.aws.calls import CallPool
from yorutsuke_common.aws.dynamodb import Item, from_item, to_item
from yorutsuke_common.names import JOB_ID_INDEX
from yorutsuke_common.schema import JobStatus, RecordCounts, ResultStats, problems

from .errors import NotFoundError
from .stage import Stage
from .times import moment

SEGMENTS = 8
UNREADABLE = "(unreadable)"


class JobRecord(BaseModel):
    """An item of batch-jobs as an operator may meet it: also one that is not submitted yet, or that lacks something."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    intentId: str
    jobId: str | None = None
    userId: str | None = None
    status: str = UNREADABLE
    submitTime: Annotated[str | None, BeforeValidator(str)] = None
    completedAt: str | None = None
    modelId: str | None = None
    manifestUri: str | None = None
    traceId: str | None = None
    imageCount: int | None = None
    resultStats: ResultStats | None = None
    processedOutputs: dict[str, str] = Field(default_factory=dict[str, str])
    bedrockStatus: str | None = None
    bedrockMessage: str | None = None
    bedrockCounts: RecordCounts | None = None
    claimedBy: str | None = None
    claimedUntil: int | None = None

    @property
    def name(self) -> str:
        """What to call the job: its id, or before it has one its intent's."""
        return self.jobId or self.intentId

    @property
    def submitted(self) -> datetime | None:
        """When it was submitted."""
        return moment(self.submitTime)

    @property
    def is_claimed(self) -> bool:
        """Tell whether a function has the job: its claim is not over."""
        return self.claimedUntil is not None and self.claimedUntil >= time.time()

    @property
    def is_completed(self) -> bool:
        """Tell whether its output was taken in."""
        return self.status == JobStatus.COMPLETED


PROJECTED = tuple(JobRecord.model_fields)


@dataclass(frozen=True)
class Jobs:
    """The records of a stage's jobs."""

    stage: Stage

    def every(self) -> Iterator[JobRecord]:
        """Yield the record of each job, in no order."""
        return chain.from_iterable(CallPool().map(self._segment, range(SEGMENTS)))

    def _segment(self, number: int) -> list[JobRecord]:
        pages = self.stage.clients.dynamodb.get_paginator("scan").paginate(
            TableName=self.stage.settings.batch_jobs_table,
            Segment=number,
            TotalSegments=SEGMENTS,
            ProjectionExpression=", ".join(f"#{name}" for name in PROJECTED),
            # Status is a word of DynamoDB's own.
            ExpressionAttributeNames={f"#{name}": name for name in PROJECTED},
        )
        return [_record(item) for page in pages for item in page["Items"]]

    def find(self, name: str) -> JobRecord:
        """Return the record of a job by its id, or by its intent's. Raises NotFoundError."""
        return _record(self.item(name))

    def item(self, name: str) -> Item:
        """Return a job's whole item by the id of the job, or of its intent. Raises NotFoundError."""
        item = self._by_intent(self._intent_of(name) or name)
        if item is None:
            raise NotFoundError(
                f"{name!r} is neither a job nor an intent of stage {self.stage.name!r}: `jobs` lists those of the last "
                "30 days."
            )
        return item

    def again(self, job: JobRecord) -> JobRecord:
        """Return a job's record as it is now. Raises NotFoundError."""
        return _record(self.item(job.intentId))

    def _intent_of(self, job_id: str) -> str | None:
        answer: Any = self.stage.clients.dynamodb.query(
            TableName=self.stage.settings.batch_jobs_table,
            IndexName=JOB_ID_INDEX,
            KeyConditionExpression="jobId = :jobId",
            ExpressionAttributeValues=to_item({":jobId": job_id}),
            Limit=1,
        )
        found = answer["Items"]
        return found[0]["intentId"]["S"] if found else None

    def _by_intent(self, intent_id: str) -> Item | None:
        answer: Any = self.stage.clients.dynamodb.get_item(
            TableName=self.stage.settings.batch_jobs_table, Key={"intentId": {"S": intent_id}}, ConsistentRead=True
        )
        return answer.get("Item")


def _record(item: Item) -> JobRecord:
    attributes = from_item(item)
    try:
        return JobRecord.model_validate(attributes)
    except ValidationError as exc:
        # One that is beyond reading must not hide the others.
        job_id = item.get("jobId", {}).get("S")
        return JobRecord(
            intentId=item["intentId"]["S"],
            jobId=job_id,
            status=UNREADABLE,
            bedrockMessage=problems(exc.errors(include_input=False)),
        )
