"""The identity of a smoke run. Every name of its data follows from the run's id, so the id is enough to find the data.

The id is also the user's id and the intent's id. A real user cannot have it, unless the app assigns ids of this form.
"""

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from yorutsuke_common.names import BEDROCK_MIN_RECORDS, PROCESSED_PREFIX, UPLOADS_PREFIX

MARKERS_PREFIX = "smoke/"
"""Prefix of the markers in the images bucket. A marker names a run with data that may still exist."""
RECEIPTS = BEDROCK_MIN_RECORDS
_RUN_ID = re.compile(r"smoke-[0-9a-f]{16}")
_MARKER_KEY = re.compile(rf"{MARKERS_PREFIX}({_RUN_ID.pattern})\.json")


@dataclass(frozen=True)
class SmokeRun:
    """A run, by its id."""

    run_id: str

    @property
    def marker_key(self) -> str:
        """The key of the run's marker."""
        return f"{MARKERS_PREFIX}{self.run_id}.json"

    @property
    def image_ids(self) -> list[str]:
        """The ids of the run's images."""
        return [f"{self.run_id}-{number:03}" for number in range(1, RECEIPTS + 1)]

    @property
    def uploads_prefix(self) -> str:
        """The folder of the run's uploads."""
        return f"{UPLOADS_PREFIX}{self.run_id}/"

    def processed_prefixes(self, started: datetime) -> Iterator[str]:
        """Yield the folders that may hold moved images of a run that started at an instant.

        A folder has the date of an output in the stage's time zone, which is at most a day from the date in UTC.
        """
        day, last = started.astimezone(UTC).date() - timedelta(days=1), _today() + timedelta(days=1)
        while day <= last:
            yield f"{PROCESSED_PREFIX}{day.isoformat()}/{self.run_id}/"
            day += timedelta(days=1)


def new_run() -> SmokeRun:
    """Return a run with a new random id."""
    return SmokeRun(f"smoke-{secrets.token_hex(8)}")


def run_of_marker(key: str) -> SmokeRun | None:
    """Return the run of a marker's key, or None for another key."""
    found = _MARKER_KEY.fullmatch(key)
    return SmokeRun(found[1]) if found else None


def _today() -> date:
    return datetime.now(UTC).date()
