"""What Lambda tells a function of its invocation, for a handler that runs in this process."""

from types import SimpleNamespace
from typing import Any


def lambda_context(seconds: float) -> Any:
    """Return the context of an invocation that may go on for so many seconds."""
    return SimpleNamespace(
        function_name="handler",
        memory_limit_in_mb=1024,
        invoked_function_arn="arn:aws:lambda:ap-northeast-1:123456789012:function:handler",
        aws_request_id="request-1",
        get_remaining_time_in_millis=lambda: seconds * 1000,
    )
