"""Fake of Bedrock's batch inference jobs, behind botocore's `before-send` event.

A repeated request with the same token returns the same job.

Sources: Amazon Bedrock API reference, CreateModelInvocationJob; botocore's model of this operation. botocore's clients
do not check the model's patterns, so this fake does.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import boto3
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.model import Shape, StructureShape
from botocore.session import get_session

from local.wire import body_of, json_response

ARN = "arn:aws:bedrock:ap-northeast-1:123456789012:model-invocation-job/"


@dataclass(frozen=True)
class BedrockJob:
    """A job: its request, and its manifest at the time of the request."""

    job_id: str
    request: dict[str, Any]
    manifest: bytes


@dataclass
class Bedrock:
    """The jobs of an account, by token. `read` returns the object at an S3 URI."""

    read: Callable[[str], bytes]
    jobs: dict[str, BedrockJob] = field(default_factory=dict[str, BedrockJob])
    errors: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    """The HTTP statuses and error codes of the next responses."""

    def serve(self, session: boto3.Session) -> None:
        """Respond to the calls of the session's clients from now on."""
        session.events.register("before-send.bedrock", cast("Callable[..., None]", self._respond))

    def _respond(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        assert (request.method, str(request.url).rpartition("/")[2]) == ("POST", "model-invocation-job")
        if self.errors:
            return _error(*self.errors.pop(0))
        parameters: dict[str, Any] = json.loads(body_of(request))
        if mismatches := list(_mismatches(_INPUT, parameters)):
            return _error(400, "ValidationException", str(mismatches))
        token = parameters["clientRequestToken"]
        job = self.jobs.get(token)
        if job and job.request != parameters:
            return _error(400, "ConflictException", "another request has this token")
        if not job:
            manifest = self.read(parameters["inputDataConfig"]["s3InputDataConfig"]["s3Uri"])
            self.jobs[token] = job = BedrockJob(f"job{len(self.jobs):09}", parameters, manifest)
        return json_response(200, {"jobArn": ARN + job.job_id})


def _error(status: int, code: str, message: str = "injected") -> AWSResponse:
    return json_response(status, {"__type": code, "message": message})


def _mismatches(shape: Shape, value: Any) -> Iterator[str]:
    """Yield an error for each string of a request that does not match Bedrock's pattern."""
    if isinstance(shape, StructureShape):
        for name, member in value.items():
            yield from _mismatches(shape.members[name], member)
    elif (pattern := cast("dict[str, str]", shape.metadata).get("pattern")) and not re.fullmatch(pattern, value):
        yield f"{value} does not match the pattern of {shape.name}"


_INPUT = cast(
    "Shape", get_session().get_service_model("bedrock").operation_model("CreateModelInvocationJob").input_shape
)
