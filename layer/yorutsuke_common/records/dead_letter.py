"""The part of a record that its dead letter keeps."""

from bisect import bisect_right

import pydantic_core
from pydantic import JsonValue

from yorutsuke_common.schema import MAX_IMAGE_ID_BYTES, DeadLetter, serialize_json

from .limits import has_too_many_values
from .lines import Line
from .rejection import Rejection

MAX_RECORD_BYTES = 32 * 1024
"""Maximum size of a record in a dead letter, in bytes of its JSON, with quotes and escapes."""


def dead_letter(line: Line, image_id: str | None, rejection: Rejection) -> DeadLetter:
    """Return the dead letter of a line. Without an `image_id`, it names the id that the record claims, if any."""
    record = _record_of(line)
    text = serialize_json(record)
    return DeadLetter(
        line=line.number,
        imageId=image_id or (_claimed_image_id(record) if len(text) <= MAX_RECORD_BYTES else None),
        reason=rejection.reason,
        detail=rejection.detail,
        record=trimmed(text),
    )


def trimmed(record: bytes) -> bytes:
    """Return the JSON of a record, or of the beginning of its text if the record is too large."""
    return record if len(record) <= MAX_RECORD_BYTES else serialize_json(_beginning_of(record))


def _record_of(line: Line) -> JsonValue:
    """Return the record of a line without `modelInput`, or the beginning of the line if it cannot be parsed."""
    if line.too_long or has_too_many_values(line.content):
        return _beginning_of(line.content)
    try:
        record: JsonValue = pydantic_core.from_json(line.content)
    except ValueError:
        return _beginning_of(line.content)
    if isinstance(record, dict):
        record.pop("modelInput", None)
    return record


def _claimed_image_id(record: JsonValue) -> str | None:
    """Return the image id in a record that is otherwise unusable."""
    if not isinstance(record, dict):
        return None
    claimed = record.get("recordId", record.get("customData"))
    return claimed if isinstance(claimed, str) and 0 < len(claimed.encode()) <= MAX_IMAGE_ID_BYTES else None


def _beginning_of(content: bytes) -> str:
    """Return the longest beginning of a text that fits the limit as JSON. A control character becomes six bytes."""
    text = content[:MAX_RECORD_BYTES].decode("utf-8", "replace")
    too_long = bisect_right(range(len(text) + 1), MAX_RECORD_BYTES, key=lambda size: len(serialize_json(text[:size])))
    return text[: too_long - 1]
