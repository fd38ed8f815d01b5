"""One line as a record, in the layout that Bedrock writes or in the simple layout."""

from typing import cast

import pydantic_core
from pydantic import ValidationError

from yorutsuke_common.schema import BedrockRecord, Reason, SimpleRecord
from yorutsuke_common.validation import describe_errors, json_problem, json_type

from .exact_json import decode
from .limits import MAX_VALUES, has_too_many_values
from .lines import Line
from .rejection import Rejection
from .replies import model_error, receipt_source

BEDROCK_KEY = "recordId"
"""The key of the image id in Bedrock's layout."""
SIMPLE_KEY = "customData"
"""The key of the image id in the simple layout."""
NEITHER_LAYOUT = (
    f"the record must have {BEDROCK_KEY} with modelOutput or error (Bedrock layout), or {SIMPLE_KEY} with output "
    "(simple layout)"
)


def parse_record(line: Line) -> BedrockRecord | SimpleRecord:
    """Return a line as a record. A line with the keys of both layouts is read as Bedrock's.

    Raises:
        Rejection: The line is too long, has too many values, is not JSON, or fits neither layout.
    """
    if line.too_long:
        raise Rejection(Reason.LINE_TOO_LONG, f"the line must have {len(line.content)} or fewer bytes")
    if has_too_many_values(line.content):
        raise Rejection(Reason.INVALID_RECORD, f"the record must have {MAX_VALUES} or fewer values")
    # One layout is tried after the other: a union would convert the complete line, with its image, to Python values.
    try:
        return BedrockRecord.model_validate_json(line.content)
    except ValidationError as exc:
        keys = _keys(line.content, exc)
        if SIMPLE_KEY not in keys:
            raise _misfit(keys, describe_errors(exc) if BEDROCK_KEY in keys else NEITHER_LAYOUT) from exc
    try:
        return SimpleRecord.model_validate_json(line.content)
    except ValidationError as exc:
        raise _misfit(keys, describe_errors(exc)) from exc


def image_id_of(record: BedrockRecord | SimpleRecord) -> str:
    """Return the id of the image that a record is about."""
    return record.recordId if isinstance(record, BedrockRecord) else record.customData


def receipt_source_of(record: BedrockRecord | SimpleRecord, line: Line) -> object:
    """Return the part of a record that holds the receipt: the model's text, or the input of its tool use.

    Raises:
        Rejection: The record holds an error, lacks an output, or holds a reply that is unknown, refused or incomplete.
    """
    if isinstance(record, SimpleRecord):
        return record.output.text
    if record.error is not None:
        raise Rejection(Reason.MODEL_ERROR, model_error(record.error))
    if record.modelOutput is None:
        raise Rejection(Reason.INVALID_RECORD, "the record must have modelOutput or error")
    source = receipt_source(record.modelOutput)
    if isinstance(source, str):
        return source
    # The input of a tool use is a part of the record. Its numbers are floats by now.
    return receipt_source(decode(line.content.decode())["modelOutput"])


def _keys(content: bytes, refused: ValidationError) -> list[str]:
    """Return the keys of a line without Bedrock's layout. Raises Rejection if the line is not a JSON object."""
    [first, *_] = refused.errors(include_input=False, include_url=False)
    if first["type"] == "json_invalid":
        # A line of the output file is one line of JSON.
        problem = json_problem(first.get("ctx", {})["error"]).removeprefix("line 1, ")
        raise Rejection(Reason.INVALID_JSON, f"the line is not valid JSON ({problem})") from refused
    record = pydantic_core.from_json(content)
    if not isinstance(record, dict):
        detail = f"the record must be an object, not {json_type(record)}"
        raise Rejection(Reason.INVALID_RECORD, detail) from refused
    return sorted(cast("dict[str, object]", record))


def _misfit(keys: list[str], problem: str) -> Rejection:
    return Rejection(Reason.INVALID_RECORD, f"{problem}. The record has the keys {keys}.")
