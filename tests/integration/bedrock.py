"""Bedrock's batch inference jobs, behind botocore's `before-send`: a repeated request is known by its token.

Sources: Amazon Bedrock API reference, CreateModelInvocationJob; botocore's own model of it, whose patterns its clients
do not check.
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
    """A job: what it was asked for with, and its input as it was by then."""

    job_id: str
    request: dict[str, Any]
    manifest: bytes


@dataclass
class Bedrock:
    """The jobs of an account, by token. `read` returns the object that an S3 URI names."""

    read: Callable[[str], bytes]
    jobs: dict[str, BedrockJob] = field(default_factory=dict[str, BedrockJob])
    errors: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    """What the next requests are answered instead: HTTP status and code."""

    def serve(self, session: boto3.Session) -> None:
        """Answer the calls of the session's clients from now on."""
        session.events.register("before-send.bedrock", cast("Callable[..., None]", self._answer))

    def _answer(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        assert (request.method, str(request.url).rpartition("/")[2]) == ("POST", "model-invocation-job")
        if self.errors:
            return _error(*self.errors.pop(0))
        asked: dict[str, Any] = json.loads(body_of(request))
        if broken := list(_broken(_INPUT, asked)):
            return _error(400, "ValidationException", str(broken))
        token = asked["clientRequestToken"]
        known = self.jobs.get(token)
        if known and known.request != asked:
            return _error(400, "ConflictException", "the token came with another request")
        if not known:
            manifest = self.read(asked["inputDataConfig"]["s3InputDataConfig"]["s3Uri"])
            self.jobs[token] = known = BedrockJob(f"job{len(self.jobs):09}", asked, manifest)
        return json_response(200, {"jobArn": ARN + known.job_id})


def _error(status: int, code: str, message: str = "injected") -> AWSResponse:
    return json_response(status, {"__type": code, "message": message})


def _broken(shape: Shape, value: Any) -> Iterator[str]:
    """Yield each string of a request that Bedrock's own pattern does not fit."""
    if isinstance(shape, StructureShape):
        for name, member in value.items():
            yield from _broken(shape.members[name], member)
    elif (pattern := cast("dict[str, str]", shape.metadata).get("pattern")) and not re.fullmatch(pattern, value):
        yield f"{value} is no {shape.name}"


_INPUT = cast(
    "Shape", get_session().get_service_model("bedrock").operation_model("CreateModelInvocationJob").input_shape
)
