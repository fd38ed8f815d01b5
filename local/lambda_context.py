"""The invocation context of Lambda, for a handler that runs in this process."""

from types import SimpleNamespace
from typing import Any


def lambda_context(seconds: float) -> Any:
    """Return the context of an invocation with this many seconds left."""
    return SimpleNamespace(
        function_name="handler",
        memory_limit_in_mb=1024,
        invoked_function_arn="arn:aws:lambda:ap-northeast-1:123456789012:function:handler",
        aws_request_id="request-1",
        get_remaining_time_in_millis=lambda: seconds * 1000,
    )
