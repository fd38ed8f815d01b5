"""The memory of parsed records is bounded.

The request that Bedrock repeats in each record is not kept. A record that is kept takes the memory of its JSON.
"""

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.layer.samples import EXTRACTED_AT, JOB, bedrock_line, nova_output, receipt_text
from yorutsuke_common.aws.output_files import CHUNK_BYTES
from yorutsuke_common.records.dead_letter import MAX_RECORD_BYTES
from yorutsuke_common.records.lines import Line, split_lines
from yorutsuke_common.records.parser import ParsedRecord, RecordParser
from yorutsuke_common.schema import DeadLetter, Reason

RECORDS = Path(__file__).parents[3] / "events" / "bedrock"
IMAGE_CHARACTERS = 1_000_000
SMALL_VALUES = "[" + ",".join(['{"":{}}'] * 4_000) + "]"
"""Objects in objects: their parsed values take thirty times the memory of their text."""


def _output(name: str, lines: int) -> Iterator[bytes]:
    """Yield an output file with an image in each record, in chunks of the size that the code reads from S3."""
    record = json.loads((RECORDS / f"{name}.json").read_text())
    record["modelInput"] = {"image": "A" * IMAGE_CHARACTERS}
    line = json.dumps(record).encode() + b"\n"
    for _ in range(lines):
        for start in range(0, len(line), CHUNK_BYTES):
            yield line[start : start + CHUNK_BYTES]


def _peak_bytes(name: str, lines: int) -> int:
    """Return the peak memory of parsing an output file, in bytes. The results of all records stay in memory."""
    parser = RecordParser(JOB, EXTRACTED_AT, ttl_days=730)
    tracemalloc.start()
    read = [parser.parse(line) for line in split_lines(_output(name, lines))]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(read) == lines
    assert all(isinstance(line, ParsedRecord) is not name.startswith("error") for line in read)
    return peak


@pytest.mark.parametrize("name", ["nova", "anthropic", "error_code_number"])
def test_memory_does_not_grow_with_the_records(name: str) -> None:
    few, many = _peak_bytes(name, 3), _peak_bytes(name, 100)

    assert few > IMAGE_CHARACTERS
    assert many - few < IMAGE_CHARACTERS


def _held_bytes(line: bytes, *, reject: bool) -> float:
    """Return the memory of one result of parsing a line, in bytes: the mean of 50 results that are held."""
    line, count = line.replace(b'"VALUES"', SMALL_VALUES.encode()), 50
    parser = RecordParser(JOB, EXTRACTED_AT, ttl_days=730)

    def result(number: int) -> ParsedRecord | DeadLetter:
        parsed = parser.parse(Line(number, line))
        return parsed.reject(Reason.DUPLICATE_IMAGE, "") if reject and isinstance(parsed, ParsedRecord) else parsed

    tracemalloc.start()
    held = [result(number) for number in range(count)]
    current, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert {type(one) for one in held} == {ParsedRecord if b"modelOutput" in line and not reject else DeadLetter}
    return current / count


@pytest.mark.parametrize(
    ("line", "reject"),
    [
        pytest.param(bedrock_line(modelOutput=nova_output(receipt_text(), trace="VALUES")), False, id="parsed"),
        pytest.param(bedrock_line(modelOutput=nova_output(receipt_text(), trace="VALUES")), True, id="rejected"),
        pytest.param(bedrock_line(error="VALUES"), False, id="dead letter"),
    ],
)
def test_held_record_takes_the_memory_of_its_json(line: bytes, *, reject: bool) -> None:
    assert len(SMALL_VALUES) < _held_bytes(line, reject=reject) < MAX_RECORD_BYTES + 8_000
