"""The batch-jobs table: the job an output belongs to, who is taking it in, its completion, and what Bedrock says."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from aws_lambda_powertools import Logger
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import ValidationError

from yorutsuke_common.aws_error import error_code
from yorutsuke_common.dynamodb import from_item, to_item
from yorutsuke_common.errors import JobClaimedError, OutputConflictError, RetryableError, UnknownJobError
from yorutsuke_common.logger import Event
from yorutsuke_common.schema import (
    MAX_DETAIL_CHARACTERS,
    BatchJob,
    JobStatus,
    RecordCounts,
    ResultStats,
    iso_utc,
    problems,
)

from .event import JobEnd, OutputObject

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

JOB_ID_INDEX = "jobIdIndex"
SAME_JOB = "jobId = :jobId"
"""Of a record that exists: UpdateItem would otherwise make up a job that nobody submitted."""
UNCLAIMED = "(attribute_not_exists(claimedUntil) OR claimedUntil < :now)"
CLAIM_MARGIN_SECONDS = 5
"""What a claim outlives its function by: clocks differ, and a request may still be under way when its sender dies."""


@dataclass(frozen=True)
class BatchJobs:
    """The batch-jobs table."""

    client: "DynamoDBClient"
    table: str
    logger: Logger

    def find(self, job_id: str) -> BatchJob:
        """Return the job with this id, through `jobIdIndex`; from here on the logger's entries name it.

        Raises UnknownJobError where there is none, more than one, or one whose record breaks the schema.
        """
        self.logger.append_keys(jobId=job_id, intentId=None, traceId=None, userId=None)
        response = self.client.query(
            TableName=self.table,
            IndexName=JOB_ID_INDEX,
            KeyConditionExpression="jobId = :jobId",
            ExpressionAttributeValues={":jobId": {"S": job_id}},
            Limit=2,
        )
        if len(response["Items"]) != 1:
            count = "more than one record" if response["Items"] else "no record"
            raise UnknownJobError(
                f"job id {job_id!r} has {count} in table {self.table!r}: the orchestrator writes exactly one when it "
                "submits the job. Restore it, then redrive the message."
            )
        job = self._job(job_id, from_item(response["Items"][0]))
        self.logger.append_keys(intentId=job.intentId, traceId=job.trace_id, userId=job.userId)
        return job

    def claim(self, job: BatchJob, token: str, remaining_seconds: float) -> BatchJob:
        """Take the job for this function alone, while it lives, and return its record as it is now.

        `token` stands for the function, and ends the claim in `release`.

        A function whose work overlaps with another's could undo it, however idempotent each step is. The claim ends
        with `complete` or `release`; that of a function that died runs out, `remaining_seconds` being how long Lambda
        lets this one live. The index that `job` was read through may lag behind; the record returned does not.

        Raises JobClaimedError where another function has the job; RetryableError where the record has vanished;
        UnknownJobError where it breaks the schema by now; botocore's errors as they come.
        """
        now = time.time()
        claim = {"claimedBy": token, "claimedUntil": int(now + remaining_seconds + CLAIM_MARGIN_SECONDS)}
        # Its own claim is free to it: an UpdateItem whose answer was lost is sent again.
        free = "(attribute_not_exists(claimedUntil) OR claimedUntil < :now OR claimedBy = :claimedBy)"
        claimed, record = self._update(job, claim, free, {":now": int(now)})
        if claimed:
            return self._job(job.jobId, record)
        until = iso_utc(datetime.fromtimestamp(int(record["claimedUntil"]), UTC))
        self.logger.warning("another function has the job", event=Event.BATCH_RESULT_JOB_CLAIMED, claimedUntil=until)
        raise JobClaimedError(
            f"job {job.jobId!r} is claimed by another function until {until} at the latest: the "
            "message comes back by itself, and finds the job completed or free."
        )

    def release(self, job: BatchJob, token: str | None) -> None:
        """Give up the claim with this token, if it stands, so that the next delivery need not wait for its end.

        Where that fails, the claim runs out by itself.
        """
        try:
            self._update(job, {}, *_claimed_by(token), forget=("claimedBy", "claimedUntil"))
        except (ClientError, BotoCoreError, RetryableError) as exc:
            code = type(exc).__name__ if isinstance(exc, RetryableError) else error_code(exc)
            self.logger.warning("the claim was not released", event=Event.BATCH_RESULT_CLAIM_KEPT, code=code)

    def complete(self, job: BatchJob, output: OutputObject, etag: str, stats: ResultStats, completed_at: str) -> None:
        """Mark the claimed job COMPLETED with its counts and remember the output, so that a repeat of it is known.

        The claim ends. What a manifest counted of an earlier output is forgotten: it has not been compared with this
        one.

        Raises RetryableError where the job is not this function's any more, or its record has vanished; botocore's
        errors as they come.
        """
        attributes = {
            "status": JobStatus.COMPLETED.value,
            "completedAt": completed_at,
            "resultStats": stats.model_dump(exclude_none=True),
            "processedOutputs": {**job.processedOutputs, output.key: etag},
        }
        forget = ("bedrockCounts", "claimedBy", "claimedUntil")
        completed, record = self._update(job, attributes, *_claimed_by(job.claimedBy), forget=forget)
        # An UpdateItem whose answer was lost is sent again, and has ended the claim before.
        if not completed and record.get("processedOutputs", {}).get(output.key) != etag:
            raise RetryableError(
                f"the claim on job {job.jobId!r} was taken away while {output.key!r} was processed: the message comes "
                "back by itself and is processed again."
            )

    def forget_outputs(self, job: BatchJob) -> None:
        """Let the next message of the job's output be no duplicate, unless a function has the job.

        Raises JobClaimedError where one has, or where another output was taken in since `job` was read; RetryableError
        where the record has vanished; botocore's errors as they come.
        """
        unchanged, seen = _outputs_unchanged(job)
        compared = {**seen, ":now": int(time.time())}
        forgotten, _ = self._update(job, {}, f"{unchanged} AND {UNCLAIMED}", compared, forget=("processedOutputs",))
        if not forgotten:
            raise JobClaimedError(
                f"job {job.jobId!r} is being worked on: a function has claimed it, or has taken an output in just now. "
                "Look at it again when that is over."
            )

    def remember_outputs(self, job: BatchJob) -> bool:
        """Take `forget_outputs` back and return True; False where a function has the job, or an output came in since.

        Raises RetryableError where the record has vanished; botocore's errors as they come.
        """
        absent = f"attribute_not_exists(processedOutputs) AND {UNCLAIMED}"
        attributes = {"processedOutputs": job.processedOutputs}
        remembered, _ = self._update(job, attributes, absent, {":now": int(time.time())})
        return remembered

    def record_counts(self, job: BatchJob, counts: RecordCounts) -> bool:
        """Remember what Bedrock's manifest counts and return True; False where an output came in since `job` was read.

        Raises RetryableError where the record has vanished; botocore's errors as they come.
        """
        attributes = {"bedrockCounts": counts.model_dump(exclude_none=True)}
        recorded, _ = self._update(job, attributes, *_outputs_unchanged(job))
        return recorded

    def record_end(self, job: BatchJob, end: JobEnd) -> None:
        """Remember how Bedrock ended the job; its status follows, unless its output was taken in before.

        Raises RetryableError where the record has vanished; botocore's errors as they come.
        """
        said = {"bedrockStatus": end.status.value, "bedrockMessage": end.message[:MAX_DETAIL_CHARACTERS]}
        ended = {"status": end.status.job_status.value, **said}
        recorded, _ = self._update(job, ended, "#status <> :completed", {":completed": JobStatus.COMPLETED.value})
        if not recorded:
            self._update(job, said)

    def _job(self, job_id: str, record: dict[str, Any]) -> BatchJob:
        try:
            return BatchJob.model_validate(record)
        except ValidationError as exc:
            raise UnknownJobError(
                f"the record of job id {job_id!r} in table {self.table!r} breaks the schema "
                f"({problems(exc.errors())}): correct it, then redrive the message."
            ) from exc

    def _update(
        self,
        job: BatchJob,
        attributes: dict[str, Any],
        condition: str | None = None,
        compared: dict[str, Any] | None = None,
        forget: Sequence[str] = (),
    ) -> tuple[bool, dict[str, Any]]:
        """Set attributes of the job's record and forget others; tell whether the condition held, and the record now.

        `compared` are the values that the condition names. Raises RetryableError where there is no record any more, or
        one of another job: `job` was read through an index, which lags behind.
        """
        values = {":jobId": job.jobId, **{f":{name}": value for name, value in attributes.items()}, **(compared or {})}
        steps = ["SET " + ", ".join(f"#{name} = :{name}" for name in attributes)] if attributes else []
        steps += ["REMOVE " + ", ".join(forget)] if forget else []
        names: Any = {"ExpressionAttributeNames": {f"#{name}": name for name in attributes}} if attributes else {}
        try:
            response = self.client.update_item(
                TableName=self.table,
                Key={"intentId": {"S": job.intentId}},
                UpdateExpression=" ".join(steps),
                ConditionExpression=" AND ".join(filter(None, (SAME_JOB, condition))),
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
                f"the record of job {job.jobId!r} vanished from table {self.table!r} while it was worked on: "
                "restore it, then redrive the message."
            ) from exc
        return True, from_item(response["Attributes"])


def new_token() -> str:
    """Return a token of its own for each claim: Lambda gives a retried invocation the same request id."""
    return uuid4().hex


def _claimed_by(token: str | None) -> tuple[str, dict[str, Any]]:
    """Return the condition that the claim with this token stands, and the value that it names."""
    return "claimedBy = :claim", {":claim": token}


def _outputs_unchanged(job: BatchJob) -> tuple[str, dict[str, Any]]:
    """Return the condition that no output was taken in since `job` was read, and the values that it names."""
    if job.processedOutputs:
        return "processedOutputs = :seen", {":seen": job.processedOutputs}
    return "attribute_not_exists(processedOutputs)", {}


def is_processed(job: BatchJob, output: OutputObject, etag: str | None) -> bool:
    """Tell whether this very content of the output object has been processed to the end before."""
    return etag is not None and job.processedOutputs.get(output.key) == etag


def require_sole_output(job: BatchJob, output: OutputObject) -> None:
    """Refuse a second output object: counts and dead letters are the job's, one output must not replace another's.

    A job has one input file, so Bedrock writes one output object for it. Raises OutputConflictError.
    """
    others = [key for key in job.processedOutputs if key != output.key]
    if others:
        raise OutputConflictError(
            f"object key {output.key!r} is a second output of job {job.jobId!r}, whose results came from "
            f"{others[0]!r}: submit one input file a job; to process this one instead, remove processedOutputs from "
            "the job's record and redrive the message."
        )
