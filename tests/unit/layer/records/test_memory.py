"""The memory for the request that Bedrock repeats in each record does not grow with the number of records."""

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.layer.samples import EXTRACTED_AT, JOB
from yorutsuke_common.aws.output_files import CHUNK_BYTES
from yorutsuke_common.records.lines import split_lines
from yorutsuke_common.records.parser import ParsedRecord, RecordParser

RECORDS = Path(__file__).parents[3] / "events" / "bedrock"
IMAGE_CHARACTERS = 1_000_000


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
