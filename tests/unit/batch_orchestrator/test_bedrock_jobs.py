"""Repeating a request to Bedrock never creates a second job."""

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import pytest
from botocore.exceptions import ClientError

from batch_orchestrator.bedrock_jobs import BedrockJobs, job_name
from yorutsuke_common.errors import BedrockRefusedError
from yorutsuke_common.hashing import submission_token

from .samples import SUBMISSION

if TYPE_CHECKING:
    from mypy_boto3_bedrock import BedrockClient

TOKEN = submission_token("intent-1", "2026-11-22T15:00:00.000000Z")


@dataclass
class Bedrock:
    """A Bedrock that accepts every job, or refuses it with an error code."""

    code: str | None = None
    requests: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def create_model_invocation_job(self, **request: Any) -> dict[str, str]:
        self.requests.append(request)
        if self.code:
            raise ClientError({"Error": {"Code": self.code, "Message": "no such role"}}, "CreateModelInvocationJob")
        return {"jobArn": "arn:aws:bedrock:ap-northeast-1:123456789012:model-invocation-job/abcdefgh1234"}


def jobs(bedrock: Bedrock) -> BedrockJobs:
    return BedrockJobs(cast("BedrockClient", bedrock), "dev")


def test_bedrock_request_follows_from_the_submission() -> None:
    bedrock = Bedrock()

    assert jobs(bedrock).create(SUBMISSION) == "abcdefgh1234"

    assert bedrock.requests == [
        {
            "jobName": f"yorutsuke-dev.{TOKEN[:16]}",
            "clientRequestToken": TOKEN,
            "roleArn": "arn:aws:iam::123456789012:role/yorutsuke-bedrock-dev",
            "modelId": "amazon.nova-lite-v1:0",
            "inputDataConfig": {"s3InputDataConfig": {"s3InputFormat": "JSONL", "s3Uri": SUBMISSION.manifestUri}},
            "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": SUBMISSION.outputUri}},
            "timeoutDurationInHours": 72,
        }
    ]


def test_request_of_older_submission_omits_the_timeout() -> None:
    """The item of a submission that began before the setting existed. Its token refuses other parameters."""
    bedrock = Bedrock()

    jobs(bedrock).create(SUBMISSION.model_copy(update={"jobTimeoutHours": None}))

    [request] = bedrock.requests
    assert "timeoutDurationInHours" not in request


def test_request_has_the_type_of_the_submission() -> None:
    bedrock = Bedrock()

    jobs(bedrock).create(SUBMISSION.model_copy(update={"modelInvocationType": "Converse"}))

    assert [request["modelInvocationType"] for request in bedrock.requests] == ["Converse"]


def test_job_name_of_longest_stage_is_valid() -> None:
    name = job_name("a" * 33, TOKEN)

    assert name.startswith(f"yorutsuke-{'a' * 33}.")
    assert len(name) <= 63
    assert re.fullmatch(r"[a-zA-Z0-9]{1,63}(-*[a-zA-Z0-9\+\-\.]){0,63}", name)


@pytest.mark.parametrize(
    "code", ["AccessDeniedException", "ConflictException", "ResourceNotFoundException", "ValidationException"]
)
def test_refusal_contains_the_message_of_bedrock(code: str) -> None:
    with pytest.raises(BedrockRefusedError) as raised:
        jobs(Bedrock(code)).create(SUBMISSION)

    assert str(raised.value) == (
        "Bedrock refused the job of intent 'intent-1' (model 'amazon.nova-lite-v1:0', role "
        f"'arn:aws:iam::123456789012:role/yorutsuke-bedrock-dev') with {code}: no such role. Correct the cause, then "
        "send the same request again. To use another model or role, delete the intent's item in batch-jobs, then "
        "send the request again."
    )


@pytest.mark.parametrize("code", ["ThrottlingException", "ServiceQuotaExceededException", "InternalServerException"])
def test_temporary_error_of_bedrock_is_raised_unchanged(code: str) -> None:
    with pytest.raises(ClientError, match=code):
        jobs(Bedrock(code)).create(SUBMISSION)
