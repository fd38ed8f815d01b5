"""Batch inference jobs in Bedrock, each created once, however often it is asked for.

Bedrock knows a repeated request by its token, and ignores it without an error, but not if it asks for anything else.
Token, name, model, role and both places in S3 follow from the intent's record, whatever the stage has become since:
every run asks for the very same job.

Source: Amazon Bedrock API reference, CreateModelInvocationJob.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from yorutsuke_common.aws_error import error_code
from yorutsuke_common.errors import BedrockRefusedError
from yorutsuke_common.hashing import submission_token
from yorutsuke_common.schema import MAX_DETAIL_CHARACTERS, Submission

if TYPE_CHECKING:
    from mypy_boto3_bedrock import BedrockClient

JOB_NAME_DIGITS = 16
"""A name has up to 63 characters, of which a stage's prefix takes up to 44."""
REFUSALS = frozenset({"AccessDeniedException", "ConflictException", "ResourceNotFoundException", "ValidationException"})
"""What does not pass by itself. Throttles, quotas of jobs at once, and Bedrock's own failures may."""


@dataclass(frozen=True)
class BedrockJobs:
    """The batch inference jobs of a stage, whose records are in a table of its own."""

    client: "BedrockClient"
    stage: str

    def create(self, submission: Submission) -> str:
        """Have Bedrock work on a submission's manifest, if it does not yet, and return the job's id.

        Raises BedrockRefusedError; botocore's errors as they come where asking again may help.
        """
        token = submission_token(submission.intentId, submission.submitTime)
        try:
            response = self.client.create_model_invocation_job(
                jobName=job_name(self.stage, token),
                clientRequestToken=token,
                roleArn=submission.roleArn,
                modelId=submission.modelId,
                inputDataConfig={"s3InputDataConfig": {"s3InputFormat": "JSONL", "s3Uri": submission.manifestUri}},
                outputDataConfig={"s3OutputDataConfig": {"s3Uri": submission.outputUri}},
            )
        except ClientError as exc:
            code = error_code(exc)
            if code not in REFUSALS:
                raise
            said = exc.response.get("Error", {}).get("Message", "")[:MAX_DETAIL_CHARACTERS]
            raise BedrockRefusedError(
                f"Bedrock refused the job of intent {submission.intentId!r} with {code} ({said}), of model "
                f"{submission.modelId!r} and role {submission.roleArn!r}, which the intent was begun with: mend that, "
                "then send the same request again, which goes on from here. Where model or role has to be another, ask "
                "under another intentId: Bedrock has no job of this one."
            ) from exc
        return response["jobArn"].rpartition("/")[2]


def job_name(stage: str, token: str) -> str:
    """Return the name of a stage's job, by whose beginning EventBridge's rule knows it."""
    return f"yorutsuke-{stage}.{token[:JOB_NAME_DIGITS]}"
