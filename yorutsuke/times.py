"""Times as the operator reads and writes them."""

import re
from datetime import UTC, datetime, timedelta

UNITS = {"d": timedelta(days=1), "h": timedelta(hours=1), "m": timedelta(minutes=1)}
LONGEST = timedelta(days=3650)
"""The longest accepted span. Dates before year 1 do not exist."""


def parse_span(text: str) -> timedelta:
    """Return a span written as a number and d, h or m. Raises ValueError."""
    found = re.fullmatch(r"([0-9]{1,6})([dhm])", text)
    given = int(found[1]) * UNITS[found[2]] if found else None
    if given is None or given > LONGEST:
        raise ValueError(
            f"{text!r} is not a time span. Write a number and d, h or m, such as 2d or 12h, up to {LONGEST.days}d."
        )
    return given


def parse_since(text: str) -> timedelta:
    """Return a span that is not empty. Raises ValueError."""
    given = parse_span(text)
    if not given:
        raise ValueError(f"{text!r} is an empty time span, in which no job was submitted. Write 1m or more.")
    return given


def span(seconds: float) -> str:
    """Return a span in its largest unit, such as 3 h."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds:.0f} s"


def age_seconds(instant: datetime | None) -> float:
    """Return the number of seconds since an instant, or 0 if it is not known or in the future."""
    return 0.0 if instant is None else max(0.0, (datetime.now(UTC) - instant).total_seconds())


def age(instant: datetime | None) -> str | None:
    """Return the time since an instant as text, or None if the instant is not known."""
    return None if instant is None else span(age_seconds(instant))
