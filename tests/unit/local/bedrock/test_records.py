"""A manifest is read without being held in memory."""

import io
import json
import random
import tracemalloc
from collections.abc import Iterator

from local.bedrock.records import read_records
from local.wire import Body

from .conftest import model_input

MEGABYTE = 1_000_000
LINES = 40


def _lines() -> Iterator[bytes]:
    for number in range(LINES):
        record = {"recordId": f"img-{number}", "modelInput": model_input("a" * MEGABYTE)}
        yield json.dumps(record).encode() + b"\n"


def test_memory_holds_a_record_at_a_time() -> None:
    tracemalloc.start()
    try:
        with read_records(Body(_lines())) as records:
            names = {record["recordId"] for record in records.shuffled(random.Random(1))}  # noqa: S311 - an order
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert names == {f"img-{number}" for number in range(LINES)}
    assert peak < 8 * MEGABYTE


def test_blank_lines_and_a_missing_last_line_end_are_no_matter() -> None:
    lines = [json.dumps({"recordId": name, "modelInput": model_input()}) for name in ("a", "b")]

    with read_records(io.BytesIO(f"\n{lines[0]}\r\n  \n{lines[1]}".encode())) as records:
        assert len(records) == 2
        assert {record["recordId"] for record in records.shuffled(random.Random(1))} == {"a", "b"}  # noqa: S311
