"""What an invocation asks for, and how it is refused."""

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
def test_a_request_is_read_from_either_form(event: dict[str, Any], http: bool) -> None:  # noqa: FBT001
    assert (is_http_event(event), parse_request(event)) == (http, REQUEST)


NO_BODY = f"the request's body is empty or not text. Send {FORM}."
NO_BASE64 = "the request's body is not valid base64, although isBase64Encoded is true. Send the JSON without encoding."
NO_FIELDS = not_valid("intentId: is missing; pendingImageIds: is missing; userId: is missing")
NO_INTENT = not_valid(
    "intentId: must have 1 to 128 letters, digits, dots, hyphens or underscores, a letter or digit first"
)


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ({"body": None}, NO_BODY),
        ({"body": ""}, NO_BODY),
        ({"body": {}}, NO_BODY),
        ({"body": "secret"}, not_valid("it is not valid JSON (line 1, column 1: expected a value)")),
        ({"body": "[]"}, not_valid("it must be an object, not an array")),
        ({"body": '{"secret": "\ud800"}'}, NO_FIELDS),
        ({"body": "secret", "isBase64Encoded": True}, NO_BASE64),
        ({"body": "領収書", "isBase64Encoded": True}, NO_BASE64),
        ({**BARE, "intentId": "secret/1"}, NO_INTENT),
        ({}, NO_FIELDS),
        (None, not_valid("it must be an object, not null")),
        (True, not_valid("it must be an object, not a boolean")),
        *((event, not_valid("it must be an object, not a number")) for event in (7, 7.5)),
        *((event, not_valid("it must be an object, not text")) for event in ("body", "secret")),
        *((event, not_valid("it must be an object, not an array")) for event in ([], ["body"], [{"body": BODY}])),
    ],
)
def test_what_is_no_request_is_refused_with_rule_and_remedy_and_not_quoted(event: object, said: str) -> None:
    with pytest.raises(InvalidRequestError) as raised:
        parse_request(event)

    assert str(raised.value) == said
