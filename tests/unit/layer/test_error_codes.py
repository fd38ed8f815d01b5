"""The parts of an error that a log entry may contain."""

from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError, ReadTimeoutError

from yorutsuke_common.error_codes import error_code
from yorutsuke_common.errors import RetryableError
from yorutsuke_common.logger import error_fields

SLOW_DOWN = ClientError({"Error": {"Code": "SlowDown", "Message": "secret"}}, "GetObject")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SLOW_DOWN, "SlowDown"),
        (ClientError({}, "GetObject"), "Unknown"),
        (ReadTimeoutError(endpoint_url="https://s3"), "ReadTimeoutError"),
    ],
)
def test_error_code_of_a_failed_call(error: ClientError | BotoCoreError, code: str) -> None:
    assert error_code(error) == code


@pytest.mark.parametrize(
    ("error", "fields"),
    [
        (RetryableError("ours"), {"error": "RetryableError", "detail": "ours"}),
        (SLOW_DOWN, {"error": "ClientError", "detail": "GetObject: SlowDown"}),
        (ValueError("secret"), {"error": "ValueError"}),
    ],
)
def test_error_fields_include_only_messages_of_own_errors(error: Exception, fields: dict[str, Any]) -> None:
    with pytest.raises(type(error)) as raised:
        raise error

    found = error_fields(raised.value)
    [frame] = found.pop("stack")
    assert "test_error_fields_include_only_messages_of_own_errors" in frame
    assert found == fields
