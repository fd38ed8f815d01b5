"""A chunk has a maximum number of records and a maximum size."""

from collections.abc import Iterator

import pytest

from tests.unit.layer.samples import EXTRACTED_AT, JOB, bedrock_line, nova_output, receipt_text, simple_line
from yorutsuke_common.records.dead_letter import MAX_RECORD_BYTES
from yorutsuke_common.records.lines import Line
from yorutsuke_common.records.parser import RecordParser
from yorutsuke_common.records.reader import CHUNK_RECORD_BYTES, CHUNK_RECORDS, RecordChunk, read_chunks

PARSER = RecordParser(JOB, EXTRACTED_AT, ttl_days=730)
LARGE = "x" * MAX_RECORD_BYTES
FULL = CHUNK_RECORD_BYTES // MAX_RECORD_BYTES
"""Number of records of the maximum size that fill a chunk."""


def chunks_of(lines: Iterator[bytes]) -> list[RecordChunk]:
    """Return the chunks of these lines. Check that the chunks have each line once, in order."""
    numbered = [Line(number, line) for number, line in enumerate(lines, 1)]
    chunks = list(read_chunks(numbered, PARSER))
    held = [number for chunk in chunks for number in sorted(one.line for one in [*chunk.parsed, *chunk.rejected])]
    assert held == [line.number for line in numbered]
    return chunks


def test_ordinary_records_fill_a_chunk_by_number() -> None:
    lines = (simple_line(receipt_text(), f"image-{number}") for number in range(CHUNK_RECORDS + 1))

    assert [len(chunk.parsed) for chunk in chunks_of(lines)] == [CHUNK_RECORDS, 1]


@pytest.mark.parametrize(
    "outcome",
    [
        pytest.param({"modelOutput": nova_output(receipt_text(), trace=LARGE)}, id="parsed"),
        pytest.param({"error": LARGE}, id="rejected"),
    ],
)
def test_large_records_fill_a_chunk_by_size(outcome: dict[str, object]) -> None:
    lines = (bedrock_line(f"image-{number}", **outcome) for number in range(FULL + 1))

    assert [len(chunk.parsed) + len(chunk.rejected) for chunk in chunks_of(lines)] == [FULL, 1]


def test_record_of_a_repeated_image_counts_by_size() -> None:
    lines = (bedrock_line(modelOutput=nova_output(receipt_text(), trace=LARGE)) for _ in range(FULL + 1))

    assert [(len(chunk.parsed), len(chunk.rejected)) for chunk in chunks_of(lines)] == [(1, FULL - 1), (0, 1)]
