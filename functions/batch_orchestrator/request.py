"""What an invocation asks for: the event is the request itself, or one of API Gateway's that has it as its body.

Source: Amazon API Gateway developer guide, "Input format of a Lambda function for proxy integration".
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, TypeGuard

from pydantic import ValidationError

from yorutsuke_common.errors import InvalidRequestError
from yorutsuke_common.schema import SubmitRequest, problems

from .settings import Settings

FORM = '{"intentId": "…", "pendingImageIds": ["…"], "userId": "…", "modelId": "…"}'


def is_http_event(event: object) -> TypeGuard[Mapping[str, Any]]:
    """Tell API Gateway's event from a bare request, and from what is neither: an event is any JSON value."""
    return isinstance(event, Mapping) and "body" in event


def parse_request(event: object) -> SubmitRequest:
    """Return the request in an event of either form. Raises InvalidRequestError."""
    try:
        if is_http_event(event):
            return SubmitRequest.model_validate_json(_body(event))
        return SubmitRequest.model_validate(event)
    except ValidationError as exc:
        found = problems(exc.errors(include_input=False, include_url=False))
        raise InvalidRequestError(f"the request is not valid ({found}): send {FORM}, modelId if need be.") from exc


def require_allowed(request: SubmitRequest, settings: Settings) -> None:
    """Refuse what this stage does not take. Raises InvalidRequestError."""
    if request.modelId is not None and request.modelId not in settings.model_ids:
        raise InvalidRequestError(
            f"modelId is none that this stage knows: ask for one of {', '.join(settings.model_ids)}, or for none."
        )
    if len(request.pendingImageIds) < settings.min_records:
        raise InvalidRequestError(
            f"pendingImageIds names {len(request.pendingImageIds)} images, a batch job takes at least "
            f"{settings.min_records}: wait until there are more."
        )


def _body(event: Mapping[str, Any]) -> bytes:
    body = event["body"]
    if not isinstance(body, str) or not body:
        raise InvalidRequestError(f"the request has no body: send {FORM}.")
    if not event.get("isBase64Encoded"):
        return body.encode("utf-8", "replace")
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise InvalidRequestError("the body is said to be base64 and is not: send JSON as it is.") from exc
