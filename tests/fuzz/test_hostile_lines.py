"""Any bytes in a record result in a transaction or a dead letter, never in an exception."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from tests.unit.layer.samples import RECEIPT, bedrock_line, nova_output, receipt_text, simple_line, with_amount
from yorutsuke_common.records.dead_letter import MAX_RECORD_BYTES
from yorutsuke_common.records.limits import MAX_VALUES
from yorutsuke_common.records.lines import MAX_LINE_BYTES
from yorutsuke_common.records.parser import ParsedRecord
from yorutsuke_common.schema import Reason

from .hostile_output import HostileOutput, hostile_outputs
from .invariants import check_output, result_name
from .runs import FUZZ, execute_run

TESTING = Path(__file__).parents[2] / "docs" / "testing.md"
CASES: list[dict[str, Any]] = [
    json.loads(line) for line in (Path(__file__).parent / "corpus.jsonl").read_text().splitlines()
]


def results(*lines: bytes, end: bytes = b"\n") -> list[str]:
    """Return the names of the results of an output file."""
    return list(map(result_name, check_output(HostileOutput(end.join(lines)))))


@settings(FUZZ, max_examples=150, derandomize=True)
@given(hostile_outputs())
def test_hostile_output_satisfies_the_invariants(output: HostileOutput) -> None:
    check_output(output)


@pytest.mark.parametrize("case", CASES, ids=[case["found"] for case in CASES])
def test_corpus_case_has_its_expected_results(case: dict[str, Any]) -> None:
    output = HostileOutput.from_case(case)

    assert list(map(result_name, check_output(output))) == case["became"]
    assert HostileOutput.from_case(output.as_case()) == output


def test_seed_determines_the_generated_records() -> None:
    first, second, other = (execute_run(run_seed, outputs=10) for run_seed in ("1-0", "1-0", "1-1"))

    assert first == second
    assert first.results != other.results


def test_records_reach_every_reason_of_a_single_record() -> None:
    documented = re.search(r"cannot determine (.*) from\s+a\s+single record", TESTING.read_text())
    assert documented

    reached = execute_run("1-0").results.keys() - {"transaction"}

    assert {*Reason} - reached == set(re.findall(r"`(\w+)`", documented[1]))


GOOD = simple_line(receipt_text())


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(b"", [], id="an empty file"),
        pytest.param(b"\xef\xbb\xbf", [], id="a BOM alone"),
        pytest.param(b"\xef\xbb\xbf" + GOOD + b"\n", ["transaction"], id="a BOM at the beginning"),
        pytest.param(GOOD + b"\n\xef\xbb\xbf" + GOOD, ["transaction", "INVALID_JSON"], id="a BOM in a later line"),
        pytest.param(GOOD + b"\r\n" + GOOD + b"\r\n", ["transaction", "transaction"], id="CRLF"),
        pytest.param(GOOD + b"\r" + GOOD, ["INVALID_JSON"], id="CR alone does not end a line"),
        pytest.param(GOOD + b"\n" + GOOD, ["transaction", "transaction"], id="no newline at the end"),
        pytest.param(GOOD + b"\n\n \t\r\n" + GOOD + b"\n\n", ["transaction", "transaction"], id="blank lines"),
        pytest.param(GOOD.decode().encode("utf-16"), ["INVALID_JSON"], id="UTF-16"),
        pytest.param(b"\x00" * 100, ["INVALID_JSON"], id="NUL"),
        pytest.param(b"{" * 10_000 + b"\n" + GOOD, ["INVALID_JSON", "transaction"], id="a neighbour 10,000 deep"),
        pytest.param(GOOD[:-1] + b"\n" + GOOD, ["INVALID_JSON", "transaction"], id="a neighbour cut off"),
        pytest.param(b"\xff\xfe" + GOOD + b"\n" + GOOD, ["INVALID_JSON", "transaction"], id="a neighbour not in UTF-8"),
    ],
)
def test_output_is_split_into_records(content: bytes, expected: list[str]) -> None:
    assert list(map(result_name, check_output(HostileOutput(content)))) == expected


@pytest.mark.parametrize("more", [0, 1], ids=["maximum length", "one byte more"])
def test_line_is_parsed_up_to_the_maximum_length(more: int) -> None:
    longest = bedrock_line(modelOutput=nova_output(receipt_text()), modelInput="")
    longest = longest.replace(b'"modelInput": "', b'"modelInput": "' + b"A" * (MAX_LINE_BYTES - len(longest) + more))

    assert results(longest, GOOD) == [["transaction", "LINE_TOO_LONG"][more], "transaction"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param(simple_line(with_amount("9" * 50)), "INVALID_TRANSACTION", id="a number of 50 digits"),
        pytest.param(simple_line(with_amount("0." + "9" * 50)), "INVALID_TRANSACTION", id="50 decimal places"),
        pytest.param(simple_line(receipt_text(description="x" * 400_000)), "INVALID_TRANSACTION", id="400 KB of text"),
        pytest.param(simple_line(receipt_text(description="画" * 10_000)), "transaction", id="30 KB of Japanese"),
        pytest.param(simple_line(receipt_text(description="\x01" * 10_000)), "transaction", id="10,000 escapes"),
        pytest.param(simple_line(receipt_text(merchant=RECEIPT)), "INVALID_TRANSACTION", id="a receipt in a receipt"),
        pytest.param(simple_line(receipt_text(), "../../etc/passwd"), "transaction", id="an image id with ../"),
        pytest.param(simple_line(receipt_text(), "a b+c%2F喫茶"), "transaction", id="spaces, plus signs and Japanese"),
        pytest.param(simple_line(receipt_text(), "x" * 1_024), "transaction", id="an image id of 1 KB"),
        pytest.param(simple_line(receipt_text(), "\x00"), "transaction", id="an image id of NUL"),
        pytest.param(GOOD.replace(b'"image-1"', rb'"\ud800"'), "INVALID_JSON", id="an image id of a lone surrogate"),
        pytest.param(
            simple_line('{"amount": -1, ' + receipt_text()[1:]),
            "INVALID_AI_JSON",
            id="a repeated key, last value valid",
        ),
        pytest.param(
            simple_line(receipt_text()[:-1] + ', "amount": -1}'),
            "INVALID_AI_JSON",
            id="a repeated key, last value invalid",
        ),
        pytest.param(GOOD[:-1] + b', "customData": ""}', "INVALID_RECORD", id="a repeated image id, last value empty"),
    ],
)
def test_hostile_record_does_not_affect_its_neighbours(line: bytes, expected: str) -> None:
    assert results(GOOD, line, GOOD) == ["transaction", expected, "transaction"]


@pytest.mark.parametrize(("depth", "expected"), [(10, "MODEL_ERROR"), (199, "MODEL_ERROR"), (200, "INVALID_JSON")])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")], ids=["lists", "objects"])
def test_deepest_parsed_record_can_be_written(depth: int, expected: str, opening: bytes, closing: bytes) -> None:
    line = b'{"recordId": "image-1", "error": ' + opening * depth + b"0" + closing * depth + b"}"

    assert results(line) == [expected]


@pytest.mark.parametrize(
    ("field", "number", "expected"),
    [
        ("usage", "NaN", "transaction"),
        ("usage", "-Infinity", "transaction"),
        ("usage", "9" * 5_000, "INVALID_JSON"),
        ("stopReason", "NaN", "transaction"),
        ("stopReason", "Infinity", "transaction"),
        ("stopReason", "1e400", "transaction"),
    ],
)
def test_invalid_number_beside_the_reply_is_handled(field: str, number: str, expected: str) -> None:
    line = bedrock_line(modelOutput=nova_output(receipt_text(), **{field: "NUMBER"}))

    assert results(line.replace(b'"NUMBER"', number.encode())) == [expected]


@pytest.mark.parametrize("value", [b"0,", b"[],", b"{},", b'"",'])
@pytest.mark.parametrize("field", ["modelOutput", "modelInput", "error"])
def test_line_with_too_many_values_is_not_parsed(field: str, value: bytes) -> None:
    """Parsed values take a hundred times the size of their text. The longest lines would exhaust the memory."""
    line = b'{"recordId": "image-1", "' + field.encode() + b'": {"content": [' + value * MAX_VALUES + b"0]}}"

    [letter] = check_output(HostileOutput(line))

    assert not isinstance(letter, ParsedRecord)
    assert letter.detail == "the record must have 1000000 or fewer values"
    assert json.loads(letter.record) == line.decode()[: len(json.loads(letter.record))]


def test_reply_with_too_many_escaped_values_is_rejected() -> None:
    line = simple_line("TEXT").replace(b"TEXT", b"[" + rb"0\u002c" * MAX_VALUES + b"0]")

    [letter] = check_output(HostileOutput(line))

    assert not isinstance(letter, ParsedRecord)
    assert (letter.reason, letter.detail) == (
        Reason.INVALID_TRANSACTION,
        "the model's reply must have 1000000 or fewer values",
    )


def test_reply_with_many_invalid_blocks_is_rejected() -> None:
    line = bedrock_line(modelOutput={"content": ["BLOCKS"]}).replace(b'"BLOCKS"', b"0," * 900_000 + b"0")

    assert results(line) == ["INVALID_AI_JSON"]


@pytest.mark.parametrize("text", ["\x01", '"', "\\", "\x7f", "画"])
def test_dead_letter_record_is_at_most_32_kb(text: str) -> None:
    [letter] = check_output(HostileOutput(text.encode() * 40_000))

    assert not isinstance(letter, ParsedRecord)
    assert MAX_RECORD_BYTES - 6 < len(letter.record) <= MAX_RECORD_BYTES
