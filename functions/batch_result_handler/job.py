"""The batch-jobs table: the job an output belongs to, its completion, and what Bedrock says of it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger
from pydantic import ValidationError

from yorutsuke_common.errors import OutputConflictError, RetryableError, UnknownJobError
from yorutsuke_common.schema import (
    MAX_DETAIL_CHARACTERS,
    BatchJob,
    JobStatus,
    RecordCounts,
    ResultStats,
    problems,
)

from .dynamodb import from_item, to_item
from .event import JobEnd, OutputObject

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

JOB_ID_INDEX = "jobIdIndex"
SAME_JOB = "jobId = :jobId"
"""Of a record that exists: UpdateItem would otherwise make up a job that nobody submitted."""


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
        try:
            job = BatchJob.model_validate(from_item(response["Items"][0]))
        except ValidationError as exc:
            raise UnknownJobError(
                f"the record of job id {job_id!r} in table {self.table!r} breaks the schema "
                f"({problems(exc.errors())}): correct it, then redrive the message."
            ) from exc
        self.logger.append_keys(intentId=job.intentId, traceId=job.trace_id, userId=job.userId)
        return job

    def complete(self, job: BatchJob, output: OutputObject, etag: str, stats: ResultStats, completed_at: str) -> None:
        """Mark the job COMPLETED with its counts and remember the output, so that a repeat of it is known.

        What a manifest counted of an earlier output is forgotten: it has not been compared with this one.

        Where another delivery completed the job with the same content since `job` was read, its word stands. Where it
        did so with other content, both have written results: the job forgets its outputs, so that the next delivery
        writes them again from the object as it is then.

        Raises RetryableError in that case, and where the record has vanished; botocore's errors as they come.
        """
        attributes = {
            "status": JobStatus.COMPLETED.value,
            "completedAt": completed_at,
            "resultStats": stats.model_dump(exclude_none=True),
            "processedOutputs": {**job.processedOutputs, output.key: etag},
        }
        current = self._update(job, attributes, *_outputs_unchanged(job), forget="bedrockCounts")
        if current is None or current.get("processedOutputs", {}).get(output.key) == etag:
            return
        self._update(job, {}, forget="processedOutputs")
        raise RetryableError(
            f"job {job.jobId!r} was completed with other content while {output.key!r} was processed: the message comes "
            "back by itself and is processed again."
        )

    def record_counts(self, job: BatchJob, counts: RecordCounts) -> bool:
        """Remember what Bedrock's manifest counts and return True; False where an output came in since `job` was read.

        Raises RetryableError where the record has vanished; botocore's errors as they come.
        """
        attributes = {"bedrockCounts": counts.model_dump(exclude_none=True)}
        return self._update(job, attributes, *_outputs_unchanged(job)) is None

    def record_end(self, job: BatchJob, end: JobEnd) -> None:
        """Remember how Bedrock ended the job; its status follows, unless its output was taken in before.

        Raises RetryableError where the record has vanished; botocore's errors as they come.
        """
        said = {"bedrockStatus": end.status.value, "bedrockMessage": end.message[:MAX_DETAIL_CHARACTERS]}
        ended = {"status": end.status.job_status.value, **said}
        if self._update(job, ended, "#status <> :completed", {":completed": JobStatus.COMPLETED.value}) is not None:
            self._update(job, said)

    def _update(
        self,
        job: BatchJob,
        attributes: dict[str, Any],
        condition: str | None = None,
        compared: dict[str, Any] | None = None,
        forget: str | None = None,
    ) -> dict[str, Any] | None:
        """Set attributes of the job's record, forget one, and return None; return the record where a condition fails.

        `compared` are the values that the condition names. Raises RetryableError where there is no record any more, or
        one of another job: `job` was read through an index, which lags behind.
        """
        values = {":jobId": job.jobId, **{f":{name}": value for name, value in attributes.items()}, **(compared or {})}
        steps = ["SET " + ", ".join(f"#{name} = :{name}" for name in attributes)] if attributes else []
        steps += [f"REMOVE {forget}"] if forget else []
        names: Any = {"ExpressionAttributeNames": {f"#{name}": name for name in attributes}} if attributes else {}
        try:
            self.client.update_item(
                TableName=self.table,
                Key={"intentId": {"S": job.intentId}},
                UpdateExpression=" ".join(steps),
                ConditionExpression=" AND ".join(filter(None, (SAME_JOB, condition))),
                ExpressionAttributeValues=to_item(values),
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                **names,
            )
        except self.client.exceptions.ConditionalCheckFailedException as exc:
            current = from_item(exc.response.get("Item", {}))
            if current.get("jobId") == job.jobId:
                return current
            raise RetryableError(
                f"the record of job {job.jobId!r} vanished from table {self.table!r} while it was worked on: "
                "restore it, then redrive the message."
            ) from exc
        return None


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
