"""Invariants of every output file: each record becomes a transaction that can be stored, or a dead letter.

Sources: Amazon DynamoDB developer guide, "Constraints" (keys of 1 to 2,048 and 1 to 1,024 bytes, items of 400 KB,
numbers of 38 digits from 1E-130 to 9.99E+125) and "DynamoDB item sizes and formats".
"""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NoReturn, cast

from tests.unit.layer.samples import EXTRACTED_AT, JOB, RECEIPT
from yorutsuke_common.aws.dead_letters import DeadLetterFile
from yorutsuke_common.aws.dynamodb import Item, from_item, to_item
from yorutsuke_common.aws.output_files import open_output
from yorutsuke_common.errors import CompressedOutputError
from yorutsuke_common.records.lines import BOM, GZIP_MAGIC, MAX_LINE_BYTES, Line, split_lines
from yorutsuke_common.records.parser import ParsedRecord, RecordParser
from yorutsuke_common.records.record import parse_record, receipt_source_of
from yorutsuke_common.schema import (
    MAX_DETAIL_CHARACTERS,
    MAX_IMAGE_ID_BYTES,
    DeadLetter,
    Reason,
    Transaction,
)

from .hostile_output import CONTROL_IMAGE, CONTROL_LINE, Bucket, HostileOutput

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PARSER = RecordParser(JOB, EXTRACTED_AT, ttl_days=730)
KEY_BYTES = {"userId": 2_048, "transactionId": 1_024, "jobId": 1_024, "imageId": 2_048, "extractedAt": 1_024}
"""Maximum size in bytes of each attribute that is a key of the table or of an index. `jobId` is also a sort key."""
EARLIEST_DATE, LATEST_DATE = "2000-01-01", "2026-11-23"
"""Bounds of a receipt's date. The output file of EXTRACTED_AT was written on the day before the latest date."""
MAX_ITEM_BYTES = 400 * 1024
MAX_DIGITS = 38
MAX_NUMBER_BYTES = 21
MAX_RECORD_BYTES = 32 * 1024
"""Maximum size of a dead letter's record, in bytes. Not imported, because the constant in the code may be wrong."""
ESCAPED_BYTES = len(r"\u0000")
MAX_LETTER_BYTES = MAX_RECORD_BYTES + ESCAPED_BYTES * (MAX_IMAGE_ID_BYTES + MAX_DETAIL_CHARACTERS) + 200
"""Maximum size of a dead letter, in bytes.

The sum of the record, of the longest id and detail if each character is escaped, and of 200 bytes for the rest.
"""
JSON_NUMBER = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,4})?")
"""A JSON number. The exponent of an amount has at most 4 digits, and `Decimal` accepts at most 18."""

Result = ParsedRecord | DeadLetter


def check_output(output: HostileOutput) -> list[Result]:
    """Check the invariants of an output file and return the result of each record.

    Raises:
        AssertionError: An invariant is violated. Other exceptions come from the tested code.
    """
    if output.content.startswith(GZIP_MAGIC):
        _check_refusal(output)
        return []
    read = _read(output)
    lines = _expected_lines(output)
    assert [_number(one) for one in read] == list(lines), "expected one result for each line that is not blank"
    items = [_checked_item(one, lines[one.line]) for one in read if isinstance(one, ParsedRecord)]
    letters = _checked_letters(output, read)
    _check_control_line(lines, read)
    again = _read(HostileOutput(output.content, (MAX_LINE_BYTES,), output.max_line_bytes))
    items_again = [to_item(one.transaction.item()) for one in again if isinstance(one, ParsedRecord)]
    assert items_again == items, "the transactions depend on the chunks of the read"
    assert _dead_letter_file(output, again) == letters, "the dead letters depend on the chunks of the read"
    return read


def _check_refusal(output: HostileOutput) -> None:
    try:
        _read(output)
    except CompressedOutputError:
        return
    raise AssertionError("a gzip file is read as lines")


def result_name(one: Result) -> str:
    """Return the name of a result: `transaction`, or the reason of the dead letter."""
    return "transaction" if isinstance(one, ParsedRecord) else one.reason.value


def _read(output: HostileOutput) -> list[Result]:
    """Parse an output file as the handler does, but with the maximum line length of `output`."""
    with open_output(cast("S3Client", Bucket(output)), "images", "batch-output/job/output.jsonl") as opened:
        return [PARSER.parse(line) for line in split_lines(opened.chunks, output.max_line_bytes)]


def _expected_lines(output: HostileOutput) -> dict[int, bytes]:
    """Return the lines that are not blank by their numbers, split in memory."""
    first, *others = output.content.split(b"\n")
    lines = dict(enumerate([first.removeprefix(BOM), *others], start=1))
    too_long = {1} if len(first) > output.max_line_bytes else set[int]()
    # The code does not read a line beyond its maximum length, so it cannot skip the line as blank.
    too_long |= {number for number, line in lines.items() if len(line) > output.max_line_bytes}
    return {number: line for number, line in lines.items() if line.strip() or number in too_long}


def _number(one: Result) -> int:
    return one.line


def _checked_item(good: ParsedRecord, line: bytes) -> Item:
    """Check that DynamoDB stores the transaction without changes, and return its item."""
    attributes = good.transaction.item()
    item = to_item(attributes)
    assert from_item(item) == attributes, "the item changes when it is read back"
    assert Transaction.model_validate(from_item(item)) == good.transaction
    assert sum(len(name.encode()) + _value_bytes(value) for name, value in item.items()) <= MAX_ITEM_BYTES
    for name, most in KEY_BYTES.items():
        assert 1 <= len(item[name]["S"].encode()) <= most, f"{name} is not a valid DynamoDB key"
    assert re.fullmatch("[0-9a-f]{24}", good.transaction.transactionId)
    _check_amount(good.transaction.amount, item["amount"]["N"], line)
    _check_source(good.transaction, Line(good.line, line))
    assert date.fromisoformat(good.transaction.date).isoformat() == good.transaction.date
    assert EARLIEST_DATE <= good.transaction.date <= LATEST_DATE, "the date is not plausible"
    assert good.transaction.merchant.strip(" \t\r\n\u3000")
    return item


def _check_source(transaction: Transaction, line: Line) -> None:
    """Check that one object of the reply is the receipt, and that no other object has the same keys."""
    source = receipt_source_of(parse_record(line), line)
    objects = [*_objects(source)] if isinstance(source, str) else [cast("dict[str, Any]", source)]
    receipts = [each for each in objects if {*RECEIPT} <= {*each}]
    assert [str(each["date"]) for each in receipts] == [transaction.date]


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of a text, one search per opening brace."""
    decoder, end = json.JSONDecoder(object_pairs_hook=_unique_keys), 0
    for brace in re.finditer("{", text):
        if brace.start() >= end:
            with suppress(ValueError):
                value, end = decoder.raw_decode(text, brace.start())
                yield value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    assert len(set(names)) == len(names), "the reply repeats a key"
    return dict(pairs)


def _value_bytes(value: dict[str, str]) -> int:
    [(kind, text)] = value.items()
    return MAX_NUMBER_BYTES if kind == "N" else len(text.encode())


def _check_amount(amount: Decimal, written: str, line: bytes) -> None:
    assert Decimal("1E-130") <= amount <= Decimal("9.9999999999999999999999999999999999999E+125")
    assert len(amount.as_tuple().digits) <= MAX_DIGITS
    assert Decimal(written).as_tuple() == amount.as_tuple()
    numbers = (Decimal(number.decode()).as_tuple() for number in JSON_NUMBER.findall(line))
    assert amount.as_tuple() in numbers, "the line does not contain the amount"


def _checked_letters(output: HostileOutput, read: Sequence[Result]) -> bytes:
    """Check that each dead letter is one line of JSON within its maximum size, and return the file."""
    written = _dead_letter_file(output, read)
    *letters, end = written.split(b"\n")
    assert end == b""
    assert len(letters) == len(read), "expected one line for each dead letter"
    for one, letter in zip(read, letters, strict=True):
        _check_letter(one, letter)
    return written


def _dead_letter_file(output: HostileOutput, read: Sequence[Result]) -> bytes:
    """Return a dead-letter file with all records.

    A valid record is also rejected, because it becomes a dead letter if its image belongs to another user.
    """
    bucket = Bucket(output)
    letters = DeadLetterFile(cast("S3Client", bucket), "images", JOB.jobId, "output.jsonl")
    for one in read:
        good = isinstance(one, ParsedRecord)
        letters.add(one.reject(Reason.OWNER_MISMATCH, "the image is another user's") if good else one)
    letters.close()
    return bucket.written


def _check_letter(one: Result, written: bytes) -> None:
    assert len(written) <= MAX_LETTER_BYTES, f"a dead letter of {len(written)} bytes"
    letter = json.loads(written.decode(), parse_constant=_refuse)
    assert list(letter) == [name for name in DeadLetter.model_fields if name != "imageId" or "imageId" in letter]
    assert (letter["line"], Reason(letter["reason"])) == (
        _number(one),
        Reason.OWNER_MISMATCH if isinstance(one, ParsedRecord) else one.reason,
    )
    assert 1 <= len(letter.get("imageId", "-").encode()) <= MAX_IMAGE_ID_BYTES
    assert 1 <= len(letter["detail"]) <= MAX_DETAIL_CHARACTERS
    assert len(written.partition(b',"record":')[2].removesuffix(b"}")) <= MAX_RECORD_BYTES, (
        "the written record exceeds its maximum size"
    )
    assert not isinstance(letter["record"], dict) or "modelInput" not in letter["record"]


def _refuse(name: str) -> NoReturn:
    raise AssertionError(f"{name} is not valid JSON")


def _check_control_line(lines: dict[int, bytes], read: Sequence[Result]) -> None:
    """Check that the control line, if present, is parsed as if it were alone."""
    places = [number for number, line in lines.items() if line.strip(b" \r") == CONTROL_LINE]
    controls = [one for one in read if isinstance(one, ParsedRecord) and one.transaction.imageId == CONTROL_IMAGE]
    assert [good.line for good in controls] == places, "the control line is lost"
    for good in controls:
        receipt: dict[str, Any] = good.transaction.model_dump(include=set(RECEIPT))
        assert receipt == RECEIPT
