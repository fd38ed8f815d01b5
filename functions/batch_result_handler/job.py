"""The batch-jobs table: the job an output belongs to, and its completion."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from yorutsuke_common.errors import OutputConflictError, RetryableError, UnknownJobError
from yorutsuke_common.schema import BatchJob, JobStatus, ResultStats, problems

from .dynamodb import from_item, to_item
from .event import OutputObject

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

JOB_ID_INDEX = "jobIdIndex"


@dataclass(frozen=True)
class BatchJobs:
    """The batch-jobs table."""

    client: "DynamoDBClient"
    table: str

    def find(self, job_id: str) -> BatchJob:
        """Return the job with this id, through `jobIdIndex`.

        Raises UnknownJobError where there is none, more than one, or one whose record breaks the schema.
        """
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
            return BatchJob.model_validate(from_item(response["Items"][0]))
        except ValidationError as exc:
            raise UnknownJobError(
                f"the record of job id {job_id!r} in table {self.table!r} breaks the schema "
                f"({problems(exc.errors())}): correct it, then redrive the message."
            ) from exc

    def complete(self, job: BatchJob, output: OutputObject, etag: str, stats: ResultStats, completed_at: str) -> None:
        """Mark the job COMPLETED with its counts and remember the output, so that a repeat of it is known.

        Where another delivery completed the job with the same content since `job` was read, its word stands. Where it
        did so with other content, both have written results: the job forgets its outputs, so that the next delivery
        writes them again from the object as it is then.

        Raises RetryableError in that case, and where the record has vanished; botocore's errors as they come.
        """
        unchanged = "processedOutputs = :seen" if job.processedOutputs else "attribute_not_exists(processedOutputs)"
        values = {
            ":status": JobStatus.COMPLETED.value,
            ":completedAt": completed_at,
            ":stats": stats.model_dump(),
            ":outputs": {**job.processedOutputs, output.key: etag},
            **({":seen": job.processedOutputs} if job.processedOutputs else {}),
        }
        try:
            self.client.update_item(
                TableName=self.table,
                Key={"intentId": {"S": job.intentId}},
                UpdateExpression=(
                    "SET #status = :status, completedAt = :completedAt, "
                    "resultStats = :stats, processedOutputs = :outputs"
                ),
                # UpdateItem would otherwise create the record of a job that nobody submitted.
                ConditionExpression=f"attribute_exists(intentId) AND {unchanged}",
                ExpressionAttributeNames={"#status": "status"},
                ExpressionAttributeValues=to_item(values),
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self.client.exceptions.ConditionalCheckFailedException as exc:
            self._settle_conflict(job, output, etag, from_item(exc.response.get("Item", {})))

    def _settle_conflict(self, job: BatchJob, output: OutputObject, etag: str, current: dict[str, Any]) -> None:
        if not current:
            raise RetryableError(
                f"the record of job {job.jobId!r} vanished from table {self.table!r} while its output was processed: "
                "restore it, then redrive the message."
            )
        if current.get("processedOutputs", {}).get(output.key) == etag:
            return
        self.client.update_item(
            TableName=self.table,
            Key={"intentId": {"S": job.intentId}},
            UpdateExpression="REMOVE processedOutputs",
            ConditionExpression="attribute_exists(intentId)",
        )
        raise RetryableError(
            f"job {job.jobId!r} was completed with other content while {output.key!r} was processed: the message comes "
            "back by itself and is processed again."
        )


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
