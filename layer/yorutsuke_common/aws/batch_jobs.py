"""The batch-jobs table: one item per intent, from the submission of its job to the processing of its output."""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from pydantic import ValidationError

from yorutsuke_common.errors import IntentEndedError, JobClaimedError, JobConflictError, RetryableError, UnknownJobError
from yorutsuke_common.names import JOB_ID_INDEX, BedrockEnd
from yorutsuke_common.schema import (
    MAX_DETAIL_CHARACTERS,
    BatchJob,
    JobStatus,
    OutputStats,
    RecordCounts,
    ResultStats,
    Submission,
    iso_utc,
)
from yorutsuke_common.validation import describe_errors

from .dynamodb import Item, from_item, to_item

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_IS_SUBMITTING = "submitTime = :submitTime AND #status = :submitting"
NOT_CLAIMED = "attribute_not_exists(claimedUntil) OR claimedUntil < :now"
"""The condition that the job is not claimed, or that its claim has expired. `:now` is in epoch seconds."""
INDEX_DELAYS_SECONDS = (0.25, 0.5, 1.0, 2.0)
"""Seconds to wait before each repeated look at `jobIdIndex`, 3.75 seconds together.

A write mostly reaches an index within a second. A message that fails returns only after six times the function's
timeout. Source: AWS re:Post knowledge center, dynamodb-missing-table-items-gsi.
"""
INDEX_RESERVE_SECONDS = 5
"""Seconds that waiting for the index leaves to the function, so that it can still report the error."""
CLAIM_MARGIN_SECONDS = 5
"""Seconds by which a claim outlasts its invocation. Clocks differ, and the last call of an ended invocation may still
take effect."""


@dataclass(frozen=True)
class BatchJobs:
    """The batch-jobs table. Every method raises botocore's errors as well. `sleep` waits for a number of seconds."""

    client: "DynamoDBClient"
    table: str
    sleep: Callable[[float], object] = time.sleep

    # Submission

    def find_submission(self, intent_id: str) -> Submission | None:
        """Return the intent's current item, or None if the table does not have it.

        Raises:
            UnknownJobError: The item breaks the schema.
        """
        item = self._find_item(intent_id)
        return self._submission(item) if item else None

    def find_intent(self, intent_id: str) -> Submission | BatchJob | None:
        """Return the intent's current item, or None if the table does not have it.

        An item with a job is returned as a `BatchJob`. If another program or an operator has written it, it may lack
        the attributes of a `Submission`.

        Raises:
            UnknownJobError: The item breaks the schema.
        """
        item = self._find_item(intent_id)
        if item and (job_id := item.get("jobId", {}).get("S")):
            return self._job(job_id, from_item(item))
        return self._submission(item) if item else None

    def _find_item(self, intent_id: str) -> Item | None:
        return self.client.get_item(TableName=self.table, Key=_key(intent_id), ConsistentRead=True).get("Item")

    def begin_intent(self, submission: Submission) -> Submission:
        """Write the intent's item unless it has one, and return the stored item, which may be another invocation's.

        Raises:
            UnknownJobError: The stored item breaks the schema.
        """
        try:
            self.client.put_item(
                TableName=self.table,
                Item=to_item(submission.item()),
                ConditionExpression="attribute_not_exists(intentId)",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self.client.exceptions.ConditionalCheckFailedException as exc:
            # The stored item may be this invocation's: the client repeats a PutItem if the answer was lost.
            return self._submission(exc.response.get("Item", {}))
        return submission

    def fix_images(self, submission: Submission, images: dict[str, Any]) -> Submission:
        """Store the images of the intent's manifest unless the item has them, and return the stored item.

        Args:
            submission: The intent's item as it was read.
            images: The attributes that describe the images. None removes an attribute.

        Raises:
            IntentEndedError: The item was deleted, or another invocation has abandoned the intent.
            UnknownJobError: The stored item breaks the schema.
        """
        present = {name: value for name, value in images.items() if value is not None}
        absent = [name for name, value in images.items() if value is None]
        removal = f" REMOVE {', '.join(absent)}" if absent else ""
        try:
            response = self.client.update_item(
                TableName=self.table,
                Key=_key(submission.intentId),
                UpdateExpression=f"SET {', '.join(f'{name} = :{name}' for name in present)}{removal}",
                ConditionExpression=f"{_IS_SUBMITTING} AND attribute_not_exists(submittedImages)",
                ExpressionAttributeNames={"#status": "status"},
                ExpressionAttributeValues=to_item(
                    {**_submitting(submission), **{f":{name}": value for name, value in present.items()}}
                ),
                ReturnValues="ALL_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self.client.exceptions.ConditionalCheckFailedException as exc:
            item = exc.response.get("Item", {})
            current = from_item(item)
            is_same = current.get("submitTime") == submission.submitTime
            if is_same and current.get("status") != JobStatus.ABANDONED.value:
                return self._submission(item)
            raise self._ended_meanwhile(submission) from exc
        return self._submission(response["Attributes"])

    def mark_manifest_published(self, submission: Submission) -> None:
        """Record that the intent's manifest is complete, so that other invocations do not write it or read its images.

        From then on, the intent cannot be abandoned.

        Raises:
            IntentEndedError: The item was deleted, or another invocation has abandoned the intent.
        """
        try:
            self.client.update_item(
                TableName=self.table,
                Key=_key(submission.intentId),
                UpdateExpression="SET manifestPublished = :manifestPublished",
                # A later status than SUBMITTING means that another invocation has already published it.
                ConditionExpression="submitTime = :submitTime AND #status <> :abandoned",
                ExpressionAttributeNames={"#status": "status"},
                ExpressionAttributeValues=to_item(
                    {
                        ":manifestPublished": True,
                        ":submitTime": submission.submitTime,
                        ":abandoned": JobStatus.ABANDONED.value,
                    }
                ),
            )
        except self.client.exceptions.ConditionalCheckFailedException as exc:
            raise self._ended_meanwhile(submission) from exc

    def abandon(self, submission: Submission) -> bool:
        """Mark an intent whose manifest is not published as abandoned, and return whether it is or its item is gone.

        No invocation can create a job for it any more. Its images can then be released, and its item deleted.
        """
        try:
            self.client.update_item(
                TableName=self.table,
                Key=_key(submission.intentId),
                UpdateExpression="SET #status = :abandoned",
                ConditionExpression=(
                    "submitTime = :submitTime AND (#status = :submitting OR #status = :abandoned) AND "
                    "attribute_not_exists(manifestPublished)"
                ),
                ExpressionAttributeNames={"#status": "status"},
                ExpressionAttributeValues=to_item({**_submitting(submission), ":abandoned": JobStatus.ABANDONED.value}),
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self.client.exceptions.ConditionalCheckFailedException as exc:
            return from_item(exc.response.get("Item", {})).get("submitTime") != submission.submitTime
        return True

    def delete_abandoned(self, submission: Submission) -> None:
        """Delete the item of an abandoned intent, unless the intent has begun again."""
        with suppress(self.client.exceptions.ConditionalCheckFailedException):
            self.client.delete_item(
                TableName=self.table,
                Key=_key(submission.intentId),
                ConditionExpression="submitTime = :submitTime AND #status = :abandoned",
                ExpressionAttributeNames={"#status": "status"},
                ExpressionAttributeValues=to_item(
                    {":submitTime": submission.submitTime, ":abandoned": JobStatus.ABANDONED.value}
                ),
            )

    def _ended_meanwhile(self, submission: Submission) -> IntentEndedError:
        return IntentEndedError(
            f"the item of intent {submission.intentId!r} was deleted from table {self.table!r}, or another invocation "
            "abandoned the intent, while its manifest was written. Send the request again."
        )

    def record_job_id(self, submission: Submission, job_id: str) -> Submission:
        """Store the id of the intent's job, unless the item has it, and return the item.

        Raises:
            JobConflictError: The item has another job.
            RetryableError: The item was deleted.
        """
        try:
            response = self.client.update_item(
                TableName=self.table,
                Key=_key(submission.intentId),
                UpdateExpression="SET jobId = :jobId, #status = :status",
                # If the item has the id, the job may already have a later status than SUBMITTED.
                ConditionExpression="submitTime = :submitTime AND attribute_not_exists(jobId)",
                ExpressionAttributeNames={"#status": "status"},
                ExpressionAttributeValues=to_item(
                    {":jobId": job_id, ":status": JobStatus.SUBMITTED.value, ":submitTime": submission.submitTime}
                ),
                ReturnValues="ALL_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self.client.exceptions.ConditionalCheckFailedException as exc:
            item = exc.response.get("Item", {})
            current = from_item(item)
            if current.get("jobId") == job_id:
                return self._submission(item)
            if "jobId" in current:
                raise JobConflictError(
                    f"Bedrock has created job {job_id!r} for intent {submission.intentId!r}, but the intent's item "
                    f"names job {current['jobId']!r}. An intent has one job. Stop job {job_id!r} in Bedrock."
                ) from exc
            raise RetryableError(
                f"the item of intent {submission.intentId!r} was deleted from table {self.table!r} while its job "
                f"{job_id!r} was created. Stop that job, then send the request again."
            ) from exc
        return self._submission(response["Attributes"])

    # Results

    def find(self, job_id: str, seconds_left: Callable[[], float] = lambda: math.inf) -> BatchJob:
        """Return the job with this id, through `jobIdIndex`, which lags behind the table.

        If the index does not have the job, the method looks again: a message may come seconds after the submission.

        Args:
            job_id: The id of the job.
            seconds_left: Returns how long the function may still run.

        Raises:
            UnknownJobError: The job does not have exactly one item, or its item breaks the schema.
        """
        items = self._items_in_index(job_id)
        for delay in INDEX_DELAYS_SECONDS:
            if items or seconds_left() - delay < INDEX_RESERVE_SECONDS:
                break
            self.sleep(delay)
            items = self._items_in_index(job_id)
        if len(items) != 1:
            count = "several items" if items else "no item"
            raise UnknownJobError(
                f"job id {job_id!r} has {count} in table {self.table!r}. A job must have exactly one item, which the "
                "batch_orchestrator writes. Correct the table, then redrive the message."
            )
        return self._job(job_id, from_item(items[0]))

    def _items_in_index(self, job_id: str) -> Sequence[Item]:
        return self.client.query(
            TableName=self.table,
            IndexName=JOB_ID_INDEX,
            KeyConditionExpression="jobId = :jobId",
            ExpressionAttributeValues={":jobId": {"S": job_id}},
            Limit=2,
        )["Items"]

    def claim(self, job: BatchJob, token: str, remaining_seconds: float) -> BatchJob:
        """Claim the job for this invocation alone, and return its current item.

        Two invocations that process the same output could undo each other's steps, even though each step is idempotent.
        A claim ends with `complete` or `release`. If an invocation ends with neither of them, its claim expires.

        Args:
            job: The job as it was found through the index.
            token: Identifies the invocation's claim.
            remaining_seconds: How long Lambda lets this function run from now on.

        Raises:
            JobClaimedError: Another invocation has claimed the job.
            RetryableError: The item was deleted.
            UnknownJobError: The item now breaks the schema.
        """
        now = time.time()
        claim = {"claimedBy": token, "claimedUntil": int(now + remaining_seconds + CLAIM_MARGIN_SECONDS)}
        # The invocation's own claim counts as free: the client repeats an UpdateItem if the answer was lost.
        free = f"({NOT_CLAIMED} OR claimedBy = :claimedBy)"
        claimed, current = self.update(job, claim, free, {":now": int(now)})
        if claimed:
            return self._job(job.jobId, current)
        until = iso_utc(datetime.fromtimestamp(int(current["claimedUntil"]), UTC))
        raise JobClaimedError(
            f"another invocation has claimed job {job.jobId!r} until {until} at the latest. SQS delivers the message "
            "again after that.",
            until,
        )

    def release(self, job: BatchJob, token: str) -> None:
        """Remove the claim with this token, so that it does not make the next delivery fail.

        Raises:
            RetryableError: The item was deleted.
        """
        self.update(job, {}, *_claimed_by(token), remove=("claimedBy", "claimedUntil"))

    def complete(self, job: BatchJob, key: str, etag: str, stats: OutputStats, completed_at: str) -> None:
        """Mark the claimed job as COMPLETED, store the ETag and the counts of an output file, and end the claim.

        The counts of the job's other output files remain, and `resultStats` becomes the sum. The claim's token becomes
        `completedBy`. The counts of an earlier output manifest are removed, because they were compared with an earlier
        output.

        Raises:
            RetryableError: The claim was lost, or the item was deleted.
        """
        output_stats = {**job.outputStats, key: stats}
        result_stats = ResultStats.of(output_stats.values(), job.pendingImageIds)
        attributes = {
            "status": JobStatus.COMPLETED.value,
            "completedAt": completed_at,
            "completedBy": job.claimedBy,
            "resultStats": result_stats.model_dump(exclude_none=True),
            "processedOutputs": {**job.processedOutputs, key: etag},
            "outputStats": {each: counts.model_dump(exclude_none=True) for each, counts in output_stats.items()},
        }
        remove = ("bedrockCounts", "claimedBy", "claimedUntil")
        completed, current = self.update(job, attributes, *_claimed_by(job.claimedBy), remove=remove)
        # If the client repeated the UpdateItem because the answer was lost, the first one has ended the claim. Another
        # function that took the claim over may have completed the job with the same ETag, but not with this token.
        if not completed and current.get("completedBy") != job.claimedBy:
            raise RetryableError(
                f"the claim on job {job.jobId!r} was lost while {key!r} was processed. SQS delivers the message again, "
                "and the output is processed again."
            )

    def record_counts(self, job: BatchJob, counts: RecordCounts) -> bool:
        """Store the output manifest's counts. Return False if the processed outputs changed since `job` was read.

        Raises:
            RetryableError: The item was deleted.
        """
        attributes = {"bedrockCounts": counts.model_dump(exclude_none=True)}
        recorded, _ = self.update(job, attributes, *outputs_unchanged(job))
        return recorded

    def record_end(self, job: BatchJob, end: BedrockEnd, message: str) -> None:
        """Store how Bedrock ended the job. Set the job's status to the same end, unless it is COMPLETED.

        Raises:
            RetryableError: The item was deleted.
        """
        facts = {"bedrockStatus": end.value, "bedrockMessage": message[:MAX_DETAIL_CHARACTERS]}
        ended = {"status": JobStatus[end.name].value, **facts}
        recorded, _ = self.update(job, ended, "#status <> :completed", {":completed": JobStatus.COMPLETED.value})
        if not recorded:
            self.update(job, facts)

    def update(
        self,
        job: BatchJob,
        attributes: dict[str, Any],
        condition: str | None = None,
        compared: dict[str, Any] | None = None,
        remove: Sequence[str] = (),
    ) -> tuple[bool, dict[str, Any]]:
        """Set and remove attributes of the job's item if a condition holds.

        Args:
            job: The job, possibly as read through the index, which lags behind.
            attributes: The attributes to set. The condition may name one as `#name`.
            condition: A condition on the item, or None.
            compared: The values that the condition names.
            remove: The attributes to remove.

        Returns:
            Whether the condition held, and the item as it is now.

        Raises:
            RetryableError: The item was deleted, or now belongs to another job.
        """
        values = {":jobId": job.jobId, **{f":{name}": value for name, value in attributes.items()}, **(compared or {})}
        steps = ["SET " + ", ".join(f"#{name} = :{name}" for name in attributes)] if attributes else []
        steps += ["REMOVE " + ", ".join(remove)] if remove else []
        names: Any = {"ExpressionAttributeNames": {f"#{name}": name for name in attributes}} if attributes else {}
        try:
            response = self.client.update_item(
                TableName=self.table,
                Key=_key(job.intentId),
                UpdateExpression=" ".join(steps),
                # The job id must match: UpdateItem would otherwise create an item that the orchestrator never wrote.
                ConditionExpression=" AND ".join(filter(None, ("jobId = :jobId", condition))),
                ExpressionAttributeValues=to_item(values),
                ReturnValues="ALL_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                **names,
            )
        except self.client.exceptions.ConditionalCheckFailedException as exc:
            current = from_item(exc.response.get("Item", {}))
            if current.get("jobId") == job.jobId:
                return False, current
            raise RetryableError(
                f"the item of job {job.jobId!r} was deleted from table {self.table!r} while the job was processed. "
                "Restore the item, then redrive the message."
            ) from exc
        return True, from_item(response["Attributes"])

    def _submission(self, item: Item) -> Submission:
        try:
            return Submission.model_validate(from_item(item))
        except ValidationError as exc:
            raise UnknownJobError(
                f"the intent's item in table {self.table!r} is not valid: {describe_errors(exc)}. "
                "Correct the item, then send the request again."
            ) from exc

    def _job(self, job_id: str, attributes: dict[str, Any]) -> BatchJob:
        try:
            return BatchJob.model_validate(attributes)
        except ValidationError as exc:
            raise UnknownJobError(
                f"the item of job id {job_id!r} in table {self.table!r} is not valid: "
                f"{describe_errors(exc)}. Correct the item. If a message has failed, redrive it."
            ) from exc


def new_token() -> str:
    """Return a new token for a claim.

    Lambda's request id is not usable, because a retried invocation has the same id.
    """
    return uuid4().hex


def is_processed(job: BatchJob, key: str, etag: str | None) -> bool:
    """Return whether this content of an output file has already been processed."""
    return etag is not None and job.processedOutputs.get(key) == etag


def outputs_unchanged(job: BatchJob) -> tuple[str, dict[str, Any]]:
    """Return the condition that the processed outputs are those of `job`, and the values that it names."""
    if job.processedOutputs:
        return "processedOutputs = :seen", {":seen": job.processedOutputs}
    return "attribute_not_exists(processedOutputs)", {}


def _claimed_by(token: str | None) -> tuple[str, dict[str, Any]]:
    """Return the condition that the claim with this token stands, and the value that it names."""
    return "claimedBy = :claim", {":claim": token}


def _submitting(submission: Submission) -> dict[str, Any]:
    return {":submitTime": submission.submitTime, ":submitting": JobStatus.SUBMITTING.value}


def _key(intent_id: str) -> Item:
    return {"intentId": {"S": intent_id}}
