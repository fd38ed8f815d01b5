"""Requests for jobs that the orchestrator failed with, and those requests made again.

Who invokes the orchestrator asynchronously is not told that it failed. Lambda tries twice more, then puts its record of
the failure, the request in it, into a queue. To make a request again is safe: it goes on from where it stopped, and
makes one job an intent.

Source: AWS Lambda developer guide, "Capturing records of Lambda asynchronous invocations".
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, Field, ValidationError

from yorutsuke_common.errors import InvalidRequestError
from yorutsuke_common.names import ORCHESTRATOR
from yorutsuke_common.schema import problems
from yorutsuke_common.submit_request import parse_request

from .errors import UnfinishedError, told
from .queues import Message
from .stage import Stage


class _Response(BaseModel):
    errorType: str = "nothing said"
    errorMessage: str = ""


class _Context(BaseModel):
    condition: str


class _Record(BaseModel):
    """Lambda's record of an invocation that failed; one that was never run, being too old by then, has no response."""

    requestContext: _Context
    requestPayload: dict[str, Any]
    responsePayload: _Response = Field(default_factory=_Response)


@dataclass(frozen=True)
class Submission:
    """A request that failed. `sent` is in epoch seconds; `problem` is why one is none that can be made again."""

    sent: float
    error: str
    intent_id: str | None = None
    user_id: str | None = None
    image_count: int | None = None
    problem: str | None = None


@dataclass
class Survey:
    """Requests in the queue, by their messages' ids; `hidden` counts messages that could not be looked at."""

    requests: dict[str, Submission] = field(default_factory=dict[str, Submission])
    hidden: int = 0


@dataclass
class Answers:
    """What came of requests made again: the jobs, and why there are none, by intent.

    `left` counts those that were not made, `stopped` is why where something stopped them.
    """

    jobs: dict[str, str] = field(default_factory=dict[str, str])
    failures: dict[str, str] = field(default_factory=dict[str, str])
    left: int = 0
    stopped: str = ""


def read_submission(message: Message) -> Submission:
    """Return what a message of the queue asks for, and what it failed with."""
    try:
        record = _Record.model_validate_json(message.body)
    except ValidationError as exc:
        found = problems(exc.errors(include_input=False))
        return Submission(message.sent, "", problem=f"it is no record of Lambda's ({found})")
    said = record.responsePayload
    error = f"{record.requestContext.condition}: {said.errorType}: {said.errorMessage}"
    try:
        request = parse_request(record.requestPayload)
    except InvalidRequestError as exc:
        return Submission(message.sent, error, problem=str(exc))
    return Submission(message.sent, error, request.intentId, request.userId, len(request.pendingImageIds))


def survey(stage: Stage, intent_id: str | None, seen: Callable[[int], object]) -> Survey:
    """Look the queue's requests through, for one intent's where one is named, and leave them there.

    Raises UnfinishedError where that takes too long.
    """
    survey = Survey()

    def see(message: Message) -> None:
        submission = read_submission(message)
        if intent_id in {None, submission.intent_id}:
            survey.requests[message.message_id] = submission

    survey.hidden = stage.submit_dead_letter_queue.look(see, seen)
    return survey


def submit_again(stage: Stage, wanted: Mapping[str, Submission], done: Callable[[], object]) -> Answers:
    """Make the requests of these messages again, one by one, and delete what was answered with a job."""
    queue = stage.submit_dead_letter_queue
    answers = Answers()
    left = {message_id for message_id, submission in wanted.items() if submission.problem is None}
    held: dict[str, str] = {}
    # No more than are soon asked again: the others would come back meanwhile.
    received = queue.received(at_once=1)
    try:
        while left and (batch := next(received, None)):
            held.update({message.message_id: message.receipt for message in batch})
            for message in batch:
                if message.message_id not in left:
                    continue
                left.remove(message.message_id)
                intent_id = wanted[message.message_id].intent_id or ""
                said = _asked(stage, json.loads(message.body)["requestPayload"])
                if job_id := said.get("jobId"):
                    answers.jobs[intent_id] = job_id
                    queue.delete([held.pop(message.message_id)])
                else:
                    answers.failures[intent_id] = f"{said.get('error')}: {said.get('message')}"
                done()
    except UnfinishedError as exc:
        # What was done by then is to be shown.
        answers.stopped = str(exc)
    finally:
        queue.release([*held.values()])
    answers.left = len(left)
    return answers


def _asked(stage: Stage, request: Mapping[str, Any]) -> dict[str, Any]:
    """Invoke the orchestrator with a request, and return its answer, of either form, or its error.

    An answer that was lost says nothing of the other requests, nor of this one: it is kept, and safe to make again.
    """
    try:
        answer = stage.clients.invocations.invoke(
            FunctionName=stage.physical(ORCHESTRATOR), Payload=json.dumps(request).encode()
        )
        said: dict[str, Any] = json.load(answer["Payload"])
    except (ClientError, BotoCoreError) as exc:
        return {"error": type(exc).__name__, "message": told(exc)}
    if "FunctionError" in answer:
        return {"error": said.get("errorType"), "message": said.get("errorMessage")}
    # As API Gateway takes it, whose event the request was: a refusal has error and message as well.
    return json.loads(said["body"]) if "statusCode" in said else said
