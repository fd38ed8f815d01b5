"""Structured logs: one JSON entry per event, named by `LogEvent`, so that queries can rely on it.

Log entries never hold a record, an image, a merchant, a description or an amount.
"""

import traceback
from typing import Any

from aws_lambda_powertools import Logger
from botocore.exceptions import ClientError

from .error_codes import error_code
from .errors import YorutsukeError


def make_logger(service: str) -> Logger:
    """Return the JSON logger of a function. The environment variable `POWERTOOLS_LOG_LEVEL` sets its level."""
    return Logger(service=service, utc=True)


def error_fields(error: Exception) -> dict[str, Any]:
    """Return the fields of an error that a log entry may hold: its type, its stack and, if it is ours, its message.

    Messages of other libraries are left out, because they may quote the data that could not be processed.
    """
    fields: dict[str, Any] = {"error": type(error).__name__, "stack": traceback.format_tb(error.__traceback__)}
    if isinstance(error, YorutsukeError):
        fields["detail"] = str(error)
    elif isinstance(error, ClientError):
        fields["detail"] = f"{error.operation_name}: {error_code(error)}"
    return fields
