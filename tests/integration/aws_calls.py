"""Records the AWS calls of the code under test, and replaces the responses of some calls."""

import itertools
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
Response = dict[str, Any]


def crash() -> None:
    """End the function, as a crash of its execution environment does."""
    raise FunctionDiedError


@dataclass
class AwsCalls:
    """The calls of one boto3 session, in order, with their parameters."""

    history: list[tuple[str, Params]] = field(default_factory=list[tuple[str, Params]])
    _responders: list[Callable[[str, Params], Response | None]] = field(
        default_factory=list[Callable[[str, Params], "Response | None"]]
    )

    _crashing_operations: set[str] = field(default_factory=set[str])

    def watch(self, session: boto3.Session) -> None:
        """Record every call of the session's clients from now on."""
        session.events.register("before-parameter-build", self._record)
        # If an event handler returns a response, botocore does not send the request.
        # The stubs declare event handlers without a result.
        session.events.register("before-call", cast("Callable[..., None]", self._respond))
        session.events.register("after-call", self._crash)
        session.events.register("before-send.s3.CopyObject", cast("Callable[..., None]", self._respond_to_copier))

    def counts(self) -> dict[str, int]:
        """Return the number of calls of each operation."""
        return dict(Counter(operation for operation, _ in self.history))

    def parameters_of(self, operation: str) -> list[Params]:
        """Return the parameters of each call of an operation."""
        return [params for called, params in self.history if called == operation]

    def replace_response(self, operation: str, responder: Callable[[Params], Response | None]) -> None:
        """Replace the responses of an operation. If `responder` returns None, the call is sent."""
        self._responders.append(lambda called, params: responder(params) if called == operation else None)

    def fail(self, operation: str, code: str, when: Callable[[Params], bool] = lambda _: True) -> None:
        """Make calls of an operation fail with an error code."""
        error = {"Error": {"Code": code, "Message": "injected"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
        self.replace_response(operation, lambda params: error if when(params) else None)

    def before_call(
        self,
        operation: str,
        act: Callable[[], None],
        number: int = 0,
        when: Callable[[Params], bool] = lambda _: True,
    ) -> None:
        """Run `act` before the call of an operation with this number. Calls with other parameters are not counted."""
        numbers = itertools.count()

        def respond(params: Params) -> None:
            if when(params) and next(numbers) == number:
                act()

        self.replace_response(operation, respond)

    def crash_before(self, operation: str) -> None:
        """Make the function crash before its first call of an operation."""

        def crash(_: Params) -> None:
            raise FunctionDiedError(operation)

        self.replace_response(operation, crash)

    def crash_after(self, operation: str) -> None:
        """Make the function crash after its first call of an operation."""
        self._crashing_operations.add(operation)

    def reset(self) -> None:
        """Delete the recorded calls, the replaced responses and the crashes."""
        self.history.clear()
        self._responders.clear()
        self._crashing_operations.clear()

    def _record(self, params: Params, model: Any, context: Params, **_: object) -> None:
        recorded = dict(params)
        self.history.append((model.name, recorded))
        context["recorded_params"] = recorded

    def _respond(self, model: Any, context: Params, **_: object) -> tuple[SimpleNamespace, Response] | None:
        for responder in self._responders:
            if (response := responder(model.name, context["recorded_params"])) is not None:
                status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 200)
                return SimpleNamespace(status_code=status), response
        return None

    def _crash(self, model: Any, **_: object) -> None:
        if model.name in self._crashing_operations:
            raise FunctionDiedError(model.name)

    def _respond_to_copier(self, request: AWSPreparedRequest, **_: object) -> AWSResponse | None:
        """Record a copy that `ObjectCopier` sends without a client, and replace its response if required.

        `_record` and `_respond` have already handled the copies that a client sends.
        """
        if "amz-sdk-invocation-id" in request.headers:
            return None
        sent = s3_request(request)
        bucket = str(urlsplit(str(request.url)).hostname).partition(".")[0]
        params: Params = {
            "Bucket": bucket,
            "Key": sent.key,
            "CopySource": {"Bucket": bucket, "Key": sent.copy_source},
            "CopySourceIfMatch": sent.copy_etag,
        }
        self.history.append((sent.operation, params))
        for responder in self._responders:
            if (response := responder(sent.operation, params)) is not None:
                return s3_error(response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"])
        if sent.operation in self._crashing_operations:
            boto3.Session(region_name=REGION).client("s3").copy_object(**params)
            raise FunctionDiedError(sent.operation)
        return None
