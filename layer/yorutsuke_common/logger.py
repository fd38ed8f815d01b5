"""Structured logs: one JSON entry per event, named by `LogEvent`, so that queries can rely on it.

Log entries never hold a record, an image, a merchant, a description or an amount.
"""

import json
import traceback
from functools import partial
from typing import Any

from aws_lambda_powertools import Logger
from botocore.exceptions import ClientError

from .error_codes import error_code
from .errors import YorutsukeError

_to_json = partial(json.dumps, default=str, separators=(",", ":"))
"""Writes an entry with ASCII characters only. Powertools' own serializer writes other characters as they are.

The standard output cannot encode a lone surrogate, and the entry would be lost. Control characters would reach the
terminal of an engineer who prints the log.
"""


def make_logger(service: str) -> Logger:
    """Return the JSON logger of a function. The environment variable `POWERTOOLS_LOG_LEVEL` sets its level."""
    return Logger(service=service, utc=True, json_serializer=_to_json)


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
