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
    return f"the request is not valid: {found}. Send {FORM}. modelId is optional."


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


MISSING_BODY = f"the request has no body: send {FORM}."
INVALID_BASE64 = "the body is said to be base64 and is not: send JSON as it is."
MISSING_FIELDS = not_valid("intentId: Field required; pendingImageIds: Field required; userId: Field required")
NOT_AN_OBJECT = not_valid("value: Input should be a valid dictionary or instance of SubmitRequest")
INVALID_INTENT = not_valid(
    "intentId: Value error, must be 1 to 128 letters, digits, dots, hyphens and underscores, a letter or digit first"
)


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({"body": None}, MISSING_BODY),
        ({"body": ""}, MISSING_BODY),
        ({"body": {}}, MISSING_BODY),
        ({"body": "secret"}, not_valid("value: Invalid JSON: expected value at line 1 column 1")),
        ({"body": "[]"}, not_valid("value: Input should be an object")),
        ({"body": '{"secret": "\ud800"}'}, MISSING_FIELDS),
        ({"body": "secret", "isBase64Encoded": True}, INVALID_BASE64),
        ({"body": "領収書", "isBase64Encoded": True}, INVALID_BASE64),
        ({**BARE, "intentId": "secret/1"}, INVALID_INTENT),
        ({}, MISSING_FIELDS),
        *((event, NOT_AN_OBJECT) for event in (None, True, 7, 7.5, "body", "secret", [], ["body"], [{"body": BODY}])),
    ],
)
def test_invalid_request_is_refused_without_quoting_it(event: object, message: str) -> None:
    with pytest.raises(InvalidRequestError) as raised:
        parse_request(event)

    assert str(raised.value) == message
