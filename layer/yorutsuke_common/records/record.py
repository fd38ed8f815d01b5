"""One line as a record, in the layout that Bedrock writes or in the simple layout."""

from typing import cast

import pydantic_core
from pydantic import JsonValue, ValidationError

from yorutsuke_common.schema import BedrockRecord, Reason, SimpleRecord, problems

from .limits import MAX_VALUES, has_too_many_values
from .lines import Line
from .rejection import Rejection
from .replies import reply_text

PLAN_KEY = "customData"
"""The key that only records of the simple layout have."""


def parse_record(line: Line) -> BedrockRecord | SimpleRecord:
    """Return a line as a record. A line with the keys of both layouts is read as Bedrock's.

    Raises:
        Rejection: The line is too long, has too many values, is not JSON, or fits neither layout.
    """
    if line.too_long:
        raise Rejection(Reason.LINE_TOO_LONG, f"the line is longer than {len(line.content)} bytes and was not read")
    if has_too_many_values(line.content):
        raise Rejection(Reason.INVALID_RECORD, f"the line has more than {MAX_VALUES} values and was not read")
    # One layout after the other: a union would first turn the whole line, with its image, into Python values.
    try:
        return BedrockRecord.model_validate_json(line.content)
    except ValidationError as exc:
        keys = _keys(line.content, exc)
        if PLAN_KEY not in keys:
            raise _misfit(keys, exc) from exc
    try:
        return SimpleRecord.model_validate_json(line.content)
    except ValidationError as exc:
        raise _misfit(keys, exc) from exc


def image_id_of(record: BedrockRecord | SimpleRecord) -> str:
    """Return the id of the image that a record is about."""
    return record.recordId if isinstance(record, BedrockRecord) else record.customData


def reply_of(record: BedrockRecord | SimpleRecord) -> str:
    """Return the text that the model wrote.

    Raises:
        Rejection: The record holds an error, no output, or a reply that is unknown or incomplete.
    """
    if isinstance(record, SimpleRecord):
        return record.output.text
    if record.error is not None:
        raise Rejection(Reason.MODEL_ERROR, _model_error(record.error))
    if record.modelOutput is None:
        raise Rejection(Reason.INVALID_RECORD, "the record has neither modelOutput nor error")
    return reply_text(record.modelOutput)


def _keys(content: bytes, refused: ValidationError) -> list[str]:
    """Return the keys of a line that fits no layout. Raises Rejection if the line is not a JSON object."""
    [first, *_] = refused.errors(include_input=False, include_url=False)
    if first["type"] == "json_invalid":
        raise Rejection(Reason.INVALID_JSON, f"the line is no JSON: {first['msg']}") from refused
    record = pydantic_core.from_json(content)
    if not isinstance(record, dict):
        detail = f"the line is a JSON {type(record).__name__}, not an object"
        raise Rejection(Reason.INVALID_RECORD, detail) from refused
    return sorted(cast("dict[str, object]", record))


def _misfit(keys: list[str], refused: ValidationError) -> Rejection:
    found = problems(refused.errors(include_input=False, include_url=False))
    return Rejection(Reason.INVALID_RECORD, f"the record with the keys {keys} does not fit: {found}")


def _model_error(error: JsonValue) -> str:
    if isinstance(error, dict):
        return f"the model failed with code {error.get('errorCode')}: {error.get('errorMessage')}"
    return f"the model failed: {error}"
