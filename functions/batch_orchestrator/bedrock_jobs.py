"""Creates batch inference jobs in Bedrock, one per intent.

Bedrock answers a repeated call with the same token with the job that it has, and refuses the call if a parameter
differs. The token and the parameters come from the intent's item and not from the stage's settings, which may have
changed. Every invocation therefore requests the same job.

Source: Amazon Bedrock API reference, CreateModelInvocationJob.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from yorutsuke_common.error_codes import error_code
from yorutsuke_common.errors import BedrockRefusedError
from yorutsuke_common.hashing import submission_token
from yorutsuke_common.names import job_name_prefix
from yorutsuke_common.object_keys import TOKEN_DIGITS
from yorutsuke_common.schema import MAX_DETAIL_CHARACTERS, Submission

if TYPE_CHECKING:
    from mypy_boto3_bedrock import BedrockClient

CREATE_SECONDS = 20
"""Maximum time for Bedrock's answer, in seconds. Bedrock checks the request, the role and the model before it answers.
AWS does not document how long that takes."""
CREATE_ATTEMPTS = 3
"""Maximum number of attempts. A service that does not answer then leaves time to report the error."""
REFUSALS = frozenset({"AccessDeniedException", "ConflictException", "ResourceNotFoundException", "ValidationException"})
"""Error codes of causes that last. Throttling, full quotas and Bedrock's own failures end by themselves."""


@dataclass(frozen=True)
class BedrockJobs:
    """The batch inference jobs of a stage."""

    client: "BedrockClient"
    stage: str

    def create(self, submission: Submission) -> str:
        """Create the job of a submission, unless Bedrock has it, and return the job's id.

        Raises:
            BedrockRefusedError: Bedrock refuses the job as it is.
            botocore's errors: A retry may help.
        """
        token = submission_token(submission.intentId, submission.submitTime)
        # The input of a job with images in S3 is the folder of the manifest and the images. Source: Amazon Bedrock user
        # guide, "Format and upload your batch inference data".
        input_uri = submission.inputUri or submission.manifestUri
        optional: Any = {
            # An earlier version of this function may have created the job without a timeout.
            "timeoutDurationInHours": submission.jobTimeoutHours,
            "modelInvocationType": submission.modelInvocationType,
        }
        try:
            response = self.client.create_model_invocation_job(
                jobName=job_name(self.stage, token),
                clientRequestToken=token,
                roleArn=submission.roleArn,
                modelId=submission.modelId,
                inputDataConfig={"s3InputDataConfig": {"s3InputFormat": "JSONL", "s3Uri": input_uri}},
                outputDataConfig={"s3OutputDataConfig": {"s3Uri": submission.outputUri}},
                **{name: value for name, value in optional.items() if value is not None},
            )
        except ClientError as exc:
            code = error_code(exc)
            if code not in REFUSALS:
                raise
            message = exc.response.get("Error", {}).get("Message", "")[:MAX_DETAIL_CHARACTERS]
            raise BedrockRefusedError(
                f"Bedrock refused the job of intent {submission.intentId!r} (model {submission.modelId!r}, role "
                f"{submission.roleArn!r}) with {code}: {message}. Correct the cause, then send the same request again. "
                "To use another model or role, delete the intent's item in batch-jobs, then send the request again."
            ) from exc
        return response["jobArn"].rpartition("/")[2]


def job_name(stage: str, token: str) -> str:
    """Return the name of a job. EventBridge's rule selects a stage's jobs by the prefix."""
    return f"{job_name_prefix(stage)}{token[:TOKEN_DIGITS]}"
