"""Log entries of the tested code."""

import io
import itertools
import json
from typing import Any

from aws_lambda_powertools import Logger

_services = itertools.count()


class Logs:
    """A real logger and the entries that it has written."""

    def __init__(self) -> None:
        self._stream = io.StringIO()
        # Powertools shares the handler, and so the stream, between the loggers of one service.
        self.logger = Logger(service=f"unit-{next(_services)}", level="DEBUG", stream=self._stream)

    def entries(self, *keys: str) -> list[dict[str, Any]]:
        """Return the given keys of each entry so far."""
        entries = map(json.loads, self._stream.getvalue().splitlines())
        return [{key: entry.get(key) for key in keys} for entry in entries]
