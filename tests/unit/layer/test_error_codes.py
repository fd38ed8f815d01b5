"""What a failure says, as far as a log may hold it."""

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
def test_a_failed_call_is_one_word(error: ClientError | BotoCoreError, code: str) -> None:
    assert error_code(error) == code


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RetryableError("ours"), {"error": "RetryableError", "detail": "ours"}),
        (SLOW_DOWN, {"error": "ClientError", "detail": "GetObject: SlowDown"}),
        (ValueError("secret"), {"error": "ValueError"}),
    ],
)
def test_only_our_own_messages_are_said(error: Exception, said: dict[str, Any]) -> None:
    with pytest.raises(type(error)) as raised:
        raise error

    found = error_fields(raised.value)
    [frame] = found.pop("stack")
    assert "test_only_our_own_messages_are_said" in frame
    assert found == said
