"""The batch-jobs table: the record that claims an intent, and by which its job's results find their way back."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from yorutsuke_common.dynamodb import from_item, to_item
from yorutsuke_common.errors import JobConflictError, RetryableError, UnknownJobError
from yorutsuke_common.schema import JobStatus, Submission, problems

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@dataclass(frozen=True)
class BatchJobs:
    """The batch-jobs table."""

    client: "DynamoDBClient"
    table: str

    def find(self, intent_id: str) -> Submission | None:
        """Return the intent's record, if there is one, as it is now.

        Raises UnknownJobError where it breaks the schema; botocore's errors as they come.
        """
        response = self.client.get_item(TableName=self.table, Key={"intentId": {"S": intent_id}}, ConsistentRead=True)
        return self._submission(response["Item"]) if "Item" in response else None

    def claim(self, submission: Submission) -> Submission:
        """Write the intent's record if it has none, and return the one that it has: another function may be first.

        Raises UnknownJobError where that breaks the schema; botocore's errors as they come.
        """
        try:
            self.client.put_item(
                TableName=self.table,
                Item=to_item(submission.item()),
                ConditionExpression="attribute_not_exists(intentId)",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self.client.exceptions.ConditionalCheckFailedException as exc:
            # Its own as well: a PutItem whose answer was lost is sent again.
            return self._submission(exc.response.get("Item", {}))
        return submission

    def manifest_published(self, submission: Submission) -> None:
        """Remember that the intent's manifest is there: no other run needs to write it, nor its images.

        Raises RetryableError where the record has vanished; botocore's errors as they come.
        """
        try:
            self.client.update_item(
                TableName=self.table,
                Key={"intentId": {"S": submission.intentId}},
                UpdateExpression="SET manifestPublished = :manifestPublished",
                ConditionExpression="submitTime = :submitTime",
                ExpressionAttributeValues=to_item({":manifestPublished": True, ":submitTime": submission.submitTime}),
            )
        except self.client.exceptions.ConditionalCheckFailedException as exc:
            raise RetryableError(
                f"the record of intent {submission.intentId!r} vanished from table {self.table!r} while its manifest "
                "was written: send the request again."
            ) from exc

    def record(self, submission: Submission, job_id: str) -> Submission:
        """Remember the job that Bedrock has for the intent, unless its record knows it, and return the record.

        Raises JobConflictError where it has another job; RetryableError where it has vanished; botocore's errors as
        they come.
        """
        try:
            response = self.client.update_item(
                TableName=self.table,
                Key={"intentId": {"S": submission.intentId}},
                UpdateExpression="SET jobId = :jobId, #status = :status",
                # Not where it is known: by now the job may have come further than SUBMITTED.
                ConditionExpression="submitTime = :submitTime AND attribute_not_exists(jobId)",
                ExpressionAttributeNames={"#status": "status"},
                ExpressionAttributeValues=to_item(
                    {":jobId": job_id, ":status": JobStatus.SUBMITTED.value, ":submitTime": submission.submitTime}
                ),
                ReturnValues="ALL_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self.client.exceptions.ConditionalCheckFailedException as exc:
            current = exc.response.get("Item", {})
            if current.get("jobId", {}).get("S") == job_id:
                return self._submission(current)
            if "jobId" in current:
                raise JobConflictError(
                    f"Bedrock has job {job_id!r} for intent {submission.intentId!r}, whose record has another: stop "
                    "the former."
                ) from exc
            raise RetryableError(
                f"the record of intent {submission.intentId!r} vanished from table {self.table!r} while its job "
                f"{job_id!r} was created: stop that job, then send the request again."
            ) from exc
        return self._submission(response["Attributes"])

    def _submission(self, item: dict[str, Any]) -> Submission:
        try:
            return Submission.model_validate(from_item(item))
        except ValidationError as exc:
            raise UnknownJobError(
                f"the intent's record in table {self.table!r} breaks the schema ({problems(exc.errors())}): correct "
                "it, then send the request again."
            ) from exc
