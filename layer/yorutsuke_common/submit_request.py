"""Reads the event of the batch_orchestrator. Pure.

The event is a request for a job, API Gateway's event with a request as its body, or the event of the schedule.

Sources: Amazon API Gateway developer guide, "Input format of a Lambda function for proxy integration"; Amazon
EventBridge Scheduler user guide, "Adding context attributes".
"""

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeGuard

from pydantic import ValidationError

from .errors import InvalidRequestError
from .names import SCHEDULE_PREFIX
from .schema import SubmitRequest, instant
from .validation import describe_errors

FORM = '{"intentId": "…", "pendingImageIds": ["…"], "userId": "…", "modelId": "…"}'


def is_http_event(event: object) -> TypeGuard[Mapping[str, Any]]:
    """Return whether an event, which may be any JSON value, is API Gateway's."""
    return isinstance(event, Mapping) and "body" in event


def is_schedule_event(event: object) -> TypeGuard[Mapping[str, Any]]:
    """Return whether an event, which may be any JSON value, is the schedule's: `{"scheduledTime": "…"}`."""
    return isinstance(event, Mapping) and "scheduledTime" in event


def scheduled_time(event: Mapping[str, Any]) -> datetime:
    """Return the time in an event of the schedule.

    Raises:
        InvalidRequestError: The value is not a time.
    """
    value = event["scheduledTime"]
    moment = instant(value) if isinstance(value, str) else None
    if moment is None:
        raise InvalidRequestError("scheduledTime is not a time", 'Send a time such as "2026-11-26T02:00:00Z".')
    return moment.astimezone(UTC)


def parse_request(event: object) -> SubmitRequest:
    """Return the request in an event of either form.

    Raises:
        InvalidRequestError: The request breaks a rule of the schema, or its intent id belongs to the schedule.
    """
    try:
        if is_http_event(event):
            request = SubmitRequest.model_validate_json(_body(event))
        else:
            request = SubmitRequest.model_validate(event)
    except ValidationError as exc:
        found = describe_errors(exc)
        raise InvalidRequestError(
            f"the request is not valid: {found}", f"Send {FORM}. userId and modelId are optional."
        ) from exc
    if request.intentId.startswith(SCHEDULE_PREFIX):
        raise InvalidRequestError(
            f"intentId starts with {SCHEDULE_PREFIX!r}, which belongs to scheduled runs", "Use another intentId."
        )
    return request


def _body(event: Mapping[str, Any]) -> bytes:
    body = event["body"]
    if not isinstance(body, str) or not body:
        raise InvalidRequestError("the request's body is empty or not text", f"Send {FORM}.")
    if not event.get("isBase64Encoded"):
        return body.encode("utf-8", "replace")
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise InvalidRequestError(
            "the request's body is not valid base64, although isBase64Encoded is true",
            "Send the JSON without encoding.",
        ) from exc
