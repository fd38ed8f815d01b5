"""What the code under test asks of AWS: each call recorded, and some answered by us instead."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import urlsplit

import boto3
from botocore.awsrequest import AWSPreparedRequest, AWSResponse

from local.emulator import REGION
from local.in_memory import FunctionDiedError
from local.wire import s3_error, s3_request

Params = dict[str, Any]
Answer = dict[str, Any]


@dataclass
class AwsCalls:
    """The calls of one boto3 session, in order, with their parameters."""

    made: list[tuple[str, Params]] = field(default_factory=list[tuple[str, Params]])
    _answers: list[Callable[[str, Params], Answer | None]] = field(
        default_factory=list[Callable[[str, Params], "Answer | None"]]
    )

    _deadly: set[str] = field(default_factory=set[str])

    def watch(self, session: boto3.Session) -> None:
        """Record every call of the session's clients from now on."""
        session.events.register("before-parameter-build", self._record)
        # A handler that returns a response takes the call over; the stubs have handlers return nothing.
        session.events.register("before-call", cast("Callable[..., None]", self._answer))
        session.events.register("after-call", self._die)
        session.events.register("before-send.s3.CopyObject", cast("Callable[..., None]", self._answer_copier))

    def counts(self) -> dict[str, int]:
        """Return how often each operation was called."""
        return dict(Counter(operation for operation, _ in self.made))

    def of(self, operation: str) -> list[Params]:
        """Return the parameters of each call of an operation."""
        return [params for made, params in self.made if made == operation]

    def answer(self, operation: str, answer: Callable[[Params], Answer | None]) -> None:
        """Answer calls of an operation; where the answer is None, the call goes through."""
        self._answers.append(lambda made, params: answer(params) if made == operation else None)

    def fail(self, operation: str, code: str, when: Callable[[Params], bool] = lambda _: True) -> None:
        """Let calls of an operation fail with an error code."""
        error = {"Error": {"Code": code, "Message": "injected"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
        self.answer(operation, lambda params: error if when(params) else None)

    def die_before(self, operation: str) -> None:
        """Let the function die when it first comes to call an operation."""

        def die(_: Params) -> None:
            raise FunctionDiedError(operation)

        self.answer(operation, die)

    def die_after(self, operation: str) -> None:
        """Let the function die when its first call of an operation has taken effect."""
        self._deadly.add(operation)

    def forget(self) -> None:
        """Drop what was recorded and answer nothing any more."""
        self.made.clear()
        self._answers.clear()
        self._deadly.clear()

    def _record(self, params: Params, model: Any, context: Params, **_: object) -> None:
        recorded = dict(params)
        self.made.append((model.name, recorded))
        context["recorded_params"] = recorded

    def _answer(self, model: Any, context: Params, **_: object) -> tuple[SimpleNamespace, Answer] | None:
        for answer in self._answers:
            if (answered := answer(model.name, context["recorded_params"])) is not None:
                status = answered.get("ResponseMetadata", {}).get("HTTPStatusCode", 200)
                return SimpleNamespace(status_code=status), answered
        return None

    def _die(self, model: Any, **_: object) -> None:
        if model.name in self._deadly:
            raise FunctionDiedError(model.name)

    def _answer_copier(self, request: AWSPreparedRequest, **_: object) -> AWSResponse | None:
        """Record, and answer if need be, a copy that is not sent by a client: that one's events were seen before."""
        if "amz-sdk-invocation-id" in request.headers:
            return None
        asked = s3_request(request)
        bucket = str(urlsplit(str(request.url)).hostname).partition(".")[0]
        params: Params = {
            "Bucket": bucket,
            "Key": asked.key,
            "CopySource": {"Bucket": bucket, "Key": asked.copy_source},
        }
        self.made.append((asked.operation, params))
        for answer in self._answers:
            if (answered := answer(asked.operation, params)) is not None:
                return s3_error(answered["ResponseMetadata"]["HTTPStatusCode"], answered["Error"]["Code"])
        if asked.operation in self._deadly:
            boto3.Session(region_name=REGION).client("s3").copy_object(**params)
            raise FunctionDiedError(asked.operation)
        return None
