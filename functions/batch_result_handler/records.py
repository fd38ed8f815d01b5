"""A line of the output becomes a transaction or a dead letter; it never becomes an exception. Pure."""

import json
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, DecimalException
from functools import cached_property
from itertools import chain, islice
from typing import Any, NoReturn, cast

import pydantic_core
from pydantic import JsonValue, ValidationError

from yorutsuke_common.hashing import transaction_id
from yorutsuke_common.schema import (
    MAX_IMAGE_ID_BYTES,
    BatchJob,
    BedrockRecord,
    DeadLetter,
    PlanRecord,
    Reason,
    Receipt,
    Transaction,
    iso_utc,
    problems,
)

from .output import Line
from .rejection import Rejection
from .replies import reply_text

MAX_RECORD_BYTES = 32 * 1024
"""Of the record in a dead letter, as it is written: escapes and quotes count."""

MAX_VALUES = 1_000_000
"""Of a line, by its commas and brackets: a byte such as that of `[0,0,…]` takes a hundred bytes in memory as a value.

The image that a line echoes is one value.
"""

FEW_VALUES = 10_000
"""Found one by one sooner than they are counted."""

FENCE = "```"

PLAN_KEY = "customData"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


# The standard parser, not pydantic's: it alone hands over a number's digits before they become a float.
_REPLY = json.JSONDecoder(parse_float=Decimal, parse_int=Decimal, parse_constant=_refuse_constant)


@dataclass(frozen=True)
class GoodLine:
    """A line that says a transaction. `record` is kept for the dead letter it becomes if its image is not the job's."""

    number: int
    transaction: Transaction
    record: JsonValue


@dataclass(frozen=True)
class LineReader:
    """Reads the lines of one output. `extracted_at` is the output object's LastModified, in UTC."""

    job: BatchJob
    extracted_at: datetime
    ttl_days: int

    @cached_property
    def _facts(self) -> dict[str, Any]:
        """What every transaction of the output has in common."""
        return {
            "userId": self.job.userId,
            "jobId": self.job.jobId,
            "intentId": self.job.intentId,
            "traceId": self.job.trace_id,
            "extractedAt": iso_utc(self.extracted_at),
            "ttl": int((self.extracted_at + timedelta(days=self.ttl_days)).timestamp()),
        }

    def read(self, line: Line) -> GoodLine | DeadLetter:
        """Return what the line says, or why it cannot be used."""
        image_id: str | None = None
        try:
            good = parse_record(line)
            image_id = good.recordId if isinstance(good, BedrockRecord) else good.customData
            receipt = parse_receipt(reply_of(good))
        except Rejection as rejection:
            record = _record_of(line)
            return DeadLetter(
                line=line.number,
                imageId=image_id or _claimed_image_id(record),
                reason=rejection.reason,
                detail=rejection.detail,
                record=record,
            )
        return GoodLine(line.number, self._transaction(image_id, receipt), _kept(good.model_dump(exclude_unset=True)))

    def _transaction(self, image_id: str, receipt: Receipt) -> Transaction:
        return Transaction(
            **dict(receipt),
            **self._facts,
            transactionId=transaction_id(self.job.jobId, image_id, self.job.submitTime),
            imageId=image_id,
        )


def rejected(good: GoodLine, reason: Reason, detail: str) -> DeadLetter:
    """Return the dead letter of a line that reads well and may still not be used."""
    return DeadLetter(
        line=good.number, imageId=good.transaction.imageId, reason=reason, detail=detail, record=good.record
    )


def parse_record(line: Line) -> BedrockRecord | PlanRecord:
    """Return the line as a record of whichever layout it has, of Bedrock's where it has both. Raises Rejection."""
    if line.too_long:
        raise Rejection(Reason.LINE_TOO_LONG, f"the line is longer than {len(line.content)} bytes and was not read")
    if _has_too_many_values(line.content):
        raise Rejection(Reason.INVALID_RECORD, f"the line has more than {MAX_VALUES} values and was not read")
    # One layout after the other: as a union, each line would be made into values first, its image included.
    try:
        return BedrockRecord.model_validate_json(line.content)
    except ValidationError as exc:
        keys = _keys(line.content, exc)
        if PLAN_KEY not in keys:
            raise _misfit(keys, exc) from exc
    try:
        return PlanRecord.model_validate_json(line.content)
    except ValidationError as exc:
        raise _misfit(keys, exc) from exc


def reply_of(record: BedrockRecord | PlanRecord) -> str:
    """Return the text that the model wrote. Raises Rejection where it wrote none, or not to the end."""
    if isinstance(record, PlanRecord):
        return record.output.text
    if record.error is not None:
        raise Rejection(Reason.MODEL_ERROR, _model_error(record.error))
    if record.modelOutput is None:
        raise Rejection(Reason.INVALID_RECORD, "the record has neither modelOutput nor error")
    return reply_text(record.modelOutput)


def parse_receipt(text: str) -> Receipt:
    """Return the receipt in the model's reply, whose numbers are kept exactly. Raises Rejection."""
    if _has_too_many_values(text):
        raise Rejection(Reason.INVALID_TRANSACTION, f"the model's reply has more than {MAX_VALUES} values")
    try:
        value = _REPLY.decode(_unfenced(text))
    except (ValueError, DecimalException, RecursionError) as exc:
        problem = exc.msg if isinstance(exc, json.JSONDecodeError) else type(exc).__name__
        raise Rejection(Reason.INVALID_AI_JSON, f"the model's reply is no JSON: {problem}") from exc
    try:
        return Receipt.model_validate(value)
    except ValidationError as exc:
        raise Rejection(Reason.INVALID_TRANSACTION, problems(exc.errors())) from exc


def _unfenced(text: str) -> str:
    """Return what a code fence holds where the whole reply is one, else the reply as it is."""
    reply = text.strip()
    opening, newline, body = reply.partition("\n")
    language = opening.removeprefix(FENCE).strip()
    if newline and opening.startswith(FENCE) and body.endswith(FENCE) and (language.isalnum() or not language):
        return body.removesuffix(FENCE)
    return text


def _record_of(line: Line) -> JsonValue:
    """Return the record of a line that could not be used, without `modelInput`."""
    if line.too_long or _has_too_many_values(line.content):
        return _beginning(line.content)
    try:
        record: JsonValue = pydantic_core.from_json(line.content)
    except ValueError:
        return _beginning(line.content)
    if isinstance(record, dict):
        record.pop("modelInput", None)
    return _kept(record)


def _has_too_many_values(content: bytes | str) -> bool:
    """Tell whether there may be too many: a reply may hide from its line, in escapes, what it has itself."""
    if len(content) <= MAX_VALUES:
        return False
    beginnings: list[Any] = [b",", b"[", b"{"] if isinstance(content, bytes) else [",", "[", "{"]
    # To find passes over an image at the speed of memory, and to count looks at each byte, but is not slowed by finds.
    few = islice(chain.from_iterable(_positions(content, beginning) for beginning in beginnings), FEW_VALUES)
    if sum(1 for _ in few) < FEW_VALUES:
        return False
    return sum(map(content.count, beginnings)) > MAX_VALUES


def _positions(content: bytes | str, beginning: Any) -> Iterator[int]:
    position = content.find(beginning)
    while position >= 0:
        yield position
        position = content.find(beginning, position + 1)


def _claimed_image_id(record: JsonValue) -> str | None:
    """Return the image id of a record that has one and is otherwise of no use."""
    if not isinstance(record, dict):
        return None
    claimed = record.get("recordId", record.get("customData"))
    return claimed if isinstance(claimed, str) and 0 < len(claimed.encode()) <= MAX_IMAGE_ID_BYTES else None


def _kept(record: JsonValue) -> JsonValue:
    """Return what a dead letter keeps of a record: all of it, or the beginning of its text if it is too large."""
    text = _written(record)
    return record if len(text) <= MAX_RECORD_BYTES else _beginning(text)


def _written(record: JsonValue) -> bytes:
    """Return a record as the file of dead letters has it."""
    return pydantic_core.to_json(record, inf_nan_mode="strings")


def _beginning(content: bytes) -> str:
    """Return as much of a text as fits the bound once it is written: a control character becomes six bytes of JSON."""
    text = content[:MAX_RECORD_BYTES].decode("utf-8", "replace")
    too_long = bisect_right(range(len(text) + 1), MAX_RECORD_BYTES, key=lambda size: len(_written(text[:size])))
    return text[: too_long - 1]


def _keys(content: bytes, refused: ValidationError) -> list[str]:
    """Return the keys of a line that is an object all the same. Raises Rejection where it is none."""
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
