"""Parsing of the request in an invocation, and the errors of an invalid request."""

import base64
import json
from typing import Any

import pytest

from tests.unit.batch_orchestrator.samples import REQUEST
from yorutsuke_common.errors import InvalidRequestError
from yorutsuke_common.submit_request import is_http_event, parse_request

BARE: dict[str, Any] = REQUEST.model_dump(exclude_none=True)
BODY = json.dumps(BARE)
FORM = '{"intentId": "…", "pendingImageIds": ["…"], "userId": "…", "modelId": "…"}'


def not_valid(found: str) -> str:
    return f"the request is not valid: {found}. Send {FORM}. userId and modelId are optional."


@pytest.mark.parametrize(
    ("event", "http"),
    [
        (BARE, False),
        ({"body": BODY}, True),
        ({"body": BODY, "isBase64Encoded": False, "requestContext": {}}, True),
        ({"body": base64.b64encode(BODY.encode()).decode(), "isBase64Encoded": True}, True),
    ],
)
def test_request_is_read_from_both_event_forms(event: dict[str, Any], http: bool) -> None:  # noqa: FBT001
    assert (is_http_event(event), parse_request(event)) == (http, REQUEST)


MISSING_BODY = f"the request's body is empty or not text. Send {FORM}."
INVALID_BASE64 = (
    "the request's body is not valid base64, although isBase64Encoded is true. Send the JSON without encoding."
)
MISSING_FIELDS = not_valid("intentId: is missing; pendingImageIds: is missing")
INVALID_INTENT = not_valid(
    "intentId: must have 1 to 128 letters, digits, dots, hyphens or underscores, a letter or digit first"
)


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({"body": None}, MISSING_BODY),
        ({"body": ""}, MISSING_BODY),
        ({"body": {}}, MISSING_BODY),
        ({"body": "secret"}, not_valid("it is not valid JSON (line 1, column 1: expected a value)")),
        ({"body": "[]"}, not_valid("it must be an object, not an array")),
        ({"body": '{"secret": "\ud800"}'}, MISSING_FIELDS),
        ({"body": "secret", "isBase64Encoded": True}, INVALID_BASE64),
        ({"body": "領収書", "isBase64Encoded": True}, INVALID_BASE64),
        ({**BARE, "intentId": "secret/1"}, INVALID_INTENT),
        (
            {**BARE, "intentId": "schedule-secret"},
            "intentId starts with 'schedule-', which belongs to scheduled runs. Use another intentId.",
        ),
        ({}, MISSING_FIELDS),
        (None, not_valid("it must be an object, not null")),
        (True, not_valid("it must be an object, not a boolean")),
        *((event, not_valid("it must be an object, not a number")) for event in (7, 7.5)),
        *((event, not_valid("it must be an object, not text")) for event in ("body", "secret")),
        *((event, not_valid("it must be an object, not an array")) for event in ([], ["body"], [{"body": BODY}])),
    ],
)
def test_invalid_request_is_refused_without_quoting_it(event: object, message: str) -> None:
    with pytest.raises(InvalidRequestError) as raised:
        parse_request(event)

    assert str(raised.value) == message
