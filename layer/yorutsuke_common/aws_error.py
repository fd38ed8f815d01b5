"""What a failure says, as far as a log may hold it."""

import traceback
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from .errors import YorutsukeError


def error_code(error: ClientError | BotoCoreError) -> str:
    """Return the service's error code, such as NoSuchKey, or the kind of connection error."""
    if isinstance(error, ClientError):
        return error.response.get("Error", {}).get("Code", "Unknown")
    return type(error).__name__


def described(error: Exception) -> dict[str, Any]:
    """Return what a log may hold of an error: where it came from, and its message only where that is ours.

    Messages of other libraries can quote the data they choked on.
    """
    described: dict[str, Any] = {
        "error": type(error).__name__,
        "stack": traceback.format_tb(error.__traceback__),
    }
    if isinstance(error, YorutsukeError):
        described["detail"] = str(error)
    elif isinstance(error, ClientError):
        described["detail"] = f"{error.operation_name}: {error_code(error)}"
    return described
