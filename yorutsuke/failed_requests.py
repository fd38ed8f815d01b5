"""Requests for jobs and scheduled runs that the orchestrator failed to process, and their resubmission.

If an asynchronous invocation of the orchestrator still fails after two retries, Lambda sends a record of the failure to
a queue. The record holds the event: a request, or the event of the schedule. If EventBridge Scheduler cannot invoke the
orchestrator, it sends the event itself to the same queue. Resubmitting either event is safe: the orchestrator continues
where it stopped, and creates one job per intent.

Sources: AWS Lambda developer guide, "Capturing records of Lambda asynchronous invocations"; EventBridge Scheduler user
guide, "Configuring a schedule's dead-letter queue in EventBridge Scheduler".
"""

import json
from dataclasses import dataclass
from typing import Any

import pydantic_core
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, Field, ValidationError

from yorutsuke_common.errors import InvalidRequestError
from yorutsuke_common.schema import iso_utc
from yorutsuke_common.submit_request import is_schedule_event, parse_request, scheduled_time
from yorutsuke_common.validation import describe_errors

from .errors import UnfinishedError, error_line
from .orchestrator import submit
from .queues import Message
from .stage import Stage

NOT_INVOKED = "EventBridge Scheduler could not invoke the function"


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

    `scheduledTime` is the time of a scheduled run, which does not have an intent, a user and images. `problem` is the
    reason why the request cannot be resubmitted, or None.
    """

    ageSeconds: int
    error: str
    intentId: str | None = None
    userId: str | None = None
    imageCount: int | None = None
    problem: str | None = None
    scheduledTime: str | None = None

    @property
    def name(self) -> str | None:
        """The intent of the request, or the time of the scheduled run."""
        return self.intentId or self.scheduledTime


def read_failed_request(message: Message) -> FailedRequest:
    """Return the request and the error in a message."""
    try:
        record = _failure_record(message.body)
    except ValidationError as exc:
        found = describe_errors(exc)
        return FailedRequest(message.age_seconds, "", problem=f"the message is not Lambda's failure record: {found}")
    response, event = record.responsePayload, record.requestPayload
    error = f"{record.requestContext.condition}: {response.errorType}: {response.errorMessage}"
    try:
        if is_schedule_event(event):
            return FailedRequest(message.age_seconds, error, scheduledTime=iso_utc(scheduled_time(event)))
        request = parse_request(event)
    except InvalidRequestError as exc:
        return FailedRequest(message.age_seconds, error, problem=str(exc))
    return FailedRequest(message.age_seconds, error, request.intentId, request.userId, len(request.pendingImageIds))


def _failure_record(body: str) -> _FailureRecord:
    """Return the record in a message. Raises pydantic's ValidationError.

    An event that EventBridge Scheduler has sent does not have a record.
    """
    try:
        event = pydantic_core.from_json(body)
    except ValueError:
        event = None
    if is_schedule_event(event):
        return _FailureRecord(requestContext=_Context(condition=NOT_INVOKED), requestPayload={**event})
    return _FailureRecord.model_validate_json(body)


def resubmit(stage: Stage, message: Message) -> tuple[dict[str, str] | None, str]:
    """Invoke the orchestrator with the event in a message.

    Returns:
        The ids of the jobs by intent, or None and the error. A scheduled run may have submitted any number of jobs. If
        the answer is lost, a job may exist.
    """
    event = _failure_record(message.body).requestPayload
    try:
        result = submit(stage, json.dumps(event))
    except UnfinishedError as exc:
        return None, str(exc)
    except (ClientError, BotoCoreError) as exc:
        return None, f"{type(exc).__name__}: {error_line(exc, stage.profile)}"
    # The answer to an event of API Gateway has a body. A refusal has an error and a message.
    result = json.loads(result["body"]) if "statusCode" in result else result
    if is_schedule_event(event):
        return {job["intentId"]: job["jobId"] for job in result["jobs"]}, ""
    if "jobId" not in result:
        return None, f"{result.get('error')}: {result.get('message')}"
    return {result["intentId"]: result["jobId"]}, ""
