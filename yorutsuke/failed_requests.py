"""Requests for jobs that the orchestrator failed to process, and their resubmission.

If an asynchronous invocation of the orchestrator still fails after two retries, Lambda sends a record of the failure to
a queue. The record holds the request. Resubmitting a request is safe: the orchestrator continues where it stopped, and
creates one job per intent.

Source: AWS Lambda developer guide, "Capturing records of Lambda asynchronous invocations".
"""

import json
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, Field, ValidationError

from yorutsuke_common.errors import InvalidRequestError
from yorutsuke_common.submit_request import parse_request
from yorutsuke_common.validation import describe_errors

from .errors import UnfinishedError, error_line
from .orchestrator import submit
from .queues import Message
from .stage import Stage


class _Response(BaseModel):
    errorType: str = "no error"
    errorMessage: str = ""


class _Context(BaseModel):
    condition: str


class _FailureRecord(BaseModel):
    """Lambda's record of a failed invocation, without a response if the request expired before it was processed."""

    requestContext: _Context
    requestPayload: dict[str, Any]
    responsePayload: _Response = Field(default_factory=_Response)


@dataclass(frozen=True)
class FailedRequest:
    """A failed request and its error, as in the JSON answer.

    `problem` is the reason why the request cannot be resubmitted, or None.
    """

    ageSeconds: int
    error: str
    intentId: str | None = None
    userId: str | None = None
    imageCount: int | None = None
    problem: str | None = None


def read_failed_request(message: Message) -> FailedRequest:
    """Return the request and the error in a message."""
    try:
        record = _FailureRecord.model_validate_json(message.body)
    except ValidationError as exc:
        found = describe_errors(exc)
        return FailedRequest(message.age_seconds, "", problem=f"the message is not Lambda's failure record: {found}")
    response = record.responsePayload
    error = f"{record.requestContext.condition}: {response.errorType}: {response.errorMessage}"
    try:
        request = parse_request(record.requestPayload)
    except InvalidRequestError as exc:
        return FailedRequest(message.age_seconds, error, problem=str(exc))
    return FailedRequest(message.age_seconds, error, request.intentId, request.userId, len(request.pendingImageIds))


def resubmit(stage: Stage, message: Message) -> tuple[str | None, str]:
    """Invoke the orchestrator with the request in a message, and return the id of the job, or None and the error.

    If the answer is lost, the job may exist.
    """
    request = json.dumps(json.loads(message.body)["requestPayload"])
    try:
        result = submit(stage, request)
    except UnfinishedError as exc:
        return None, str(exc)
    except (ClientError, BotoCoreError) as exc:
        return None, f"{type(exc).__name__}: {error_line(exc, stage.profile)}"
    # The answer to an event of API Gateway has a body. A refusal has an error and a message.
    result = json.loads(result["body"]) if "statusCode" in result else result
    return result.get("jobId"), f"{result.get('error')}: {result.get('message')}"
