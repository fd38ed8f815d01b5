"""Any bytes as a line end in a transaction or a dead letter, never in an exception."""

import json
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
from .promise import became, kept_promise
from .runs import FUZZ, one_run

CASES: list[dict[str, Any]] = [
    json.loads(line) for line in (Path(__file__).parent / "corpus.jsonl").read_text().splitlines()
]


def results(*lines: bytes, end: bytes = b"\n") -> list[str]:
    """Return what becomes of the lines of an output."""
    return list(map(became, kept_promise(HostileOutput(end.join(lines)))))


@settings(FUZZ, max_examples=150, derandomize=True)
@given(hostile_outputs())
def test_every_line_of_a_hostile_output_is_a_transaction_or_a_dead_letter(output: HostileOutput) -> None:
    kept_promise(output)


@pytest.mark.parametrize("case", CASES, ids=[case["found"] for case in CASES])
def test_what_the_fuzz_once_found_stays_mended(case: dict[str, Any]) -> None:
    output = HostileOutput.of_case(case)

    assert list(map(became, kept_promise(output))) == case["became"]
    assert HostileOutput.of_case(output.as_case()) == output


def test_a_seed_tries_the_same_lines_again() -> None:
    first, second, other = (one_run(run_seed, outputs=10) for run_seed in ("1-0", "1-0", "1-1"))

    assert first == second
    assert first.became != other.became


GOOD = simple_line(receipt_text())


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(b"", [], id="an empty file"),
        pytest.param(b"\xef\xbb\xbf", [], id="a BOM alone"),
        pytest.param(b"\xef\xbb\xbf" + GOOD + b"\n", ["transaction"], id="a BOM at the beginning"),
        pytest.param(GOOD + b"\n\xef\xbb\xbf" + GOOD, ["transaction", "INVALID_JSON"], id="a BOM further down"),
        pytest.param(GOOD + b"\r\n" + GOOD + b"\r\n", ["transaction", "transaction"], id="CRLF"),
        pytest.param(GOOD + b"\r" + GOOD, ["INVALID_JSON"], id="CR alone ends no line"),
        pytest.param(GOOD + b"\n" + GOOD, ["transaction", "transaction"], id="no newline at the end"),
        pytest.param(GOOD + b"\n\n \t\r\n" + GOOD + b"\n\n", ["transaction", "transaction"], id="blank lines"),
        pytest.param(GOOD.decode().encode("utf-16"), ["INVALID_JSON"], id="UTF-16"),
        pytest.param(b"\x00" * 100, ["INVALID_JSON"], id="NUL"),
        pytest.param(b"{" * 10_000 + b"\n" + GOOD, ["INVALID_JSON", "transaction"], id="a neighbour 10,000 deep"),
        pytest.param(GOOD[:-1] + b"\n" + GOOD, ["INVALID_JSON", "transaction"], id="a neighbour cut off"),
        pytest.param(b"\xff\xfe" + GOOD + b"\n" + GOOD, ["INVALID_JSON", "transaction"], id="a neighbour of no UTF-8"),
    ],
)
def test_an_output_is_read_line_by_line_whatever_is_around_them(content: bytes, expected: list[str]) -> None:
    assert list(map(became, kept_promise(HostileOutput(content)))) == expected


@pytest.mark.parametrize("more", [0, 1], ids=["the longest line", "one byte more"])
def test_a_line_of_the_true_bound_is_read_and_one_byte_more_is_too_long(more: int) -> None:
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
        pytest.param(GOOD.replace(b'"image-1"', rb'"\ud800"'), "INVALID_JSON", id="an image id of half a character"),
        pytest.param(
            simple_line('{"amount": -1, ' + receipt_text()[1:]), "transaction", id="a repeated key, its last one good"
        ),
        pytest.param(
            simple_line(receipt_text()[:-1] + ', "amount": -1}'),
            "INVALID_TRANSACTION",
            id="a repeated key, its last one bad",
        ),
        pytest.param(
            GOOD[:-1] + b', "customData": ""}', "INVALID_RECORD", id="a repeated image id, its last one empty"
        ),
    ],
)
def test_a_hostile_line_becomes_what_is_said_here_and_harms_no_neighbour(line: bytes, expected: str) -> None:
    assert results(GOOD, line, GOOD) == ["transaction", expected, "transaction"]


@pytest.mark.parametrize(("depth", "expected"), [(10, "MODEL_ERROR"), (199, "MODEL_ERROR"), (200, "INVALID_JSON")])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")], ids=["lists", "objects"])
def test_a_record_as_deep_as_the_parser_goes_can_be_written(
    depth: int, expected: str, opening: bytes, closing: bytes
) -> None:
    line = b'{"recordId": "image-1", "error": ' + opening * depth + b"0" + closing * depth + b"}"

    assert results(line) == [expected]


@pytest.mark.parametrize(
    ("where", "number", "expected"),
    [
        ("usage", "NaN", "transaction"),
        ("usage", "-Infinity", "transaction"),
        ("usage", "9" * 5_000, "INVALID_JSON"),
        ("stopReason", "NaN", "INVALID_RECORD"),
        ("stopReason", "Infinity", "INVALID_RECORD"),
        ("stopReason", "1e400", "INVALID_RECORD"),
    ],
)
def test_a_number_that_is_no_json_beside_the_reply_is_no_exception(where: str, number: str, expected: str) -> None:
    line = bedrock_line(modelOutput=nova_output(receipt_text(), **{where: "NUMBER"}))

    assert results(line.replace(b'"NUMBER"', number.encode())) == [expected]


@pytest.mark.parametrize("value", [b"0,", b"[],", b"{},", b'"",'])
@pytest.mark.parametrize("where", ["modelOutput", "modelInput", "error"])
def test_a_line_of_more_values_than_memory_holds_is_not_parsed(where: str, value: bytes) -> None:
    """As values such a line's bytes take a hundred times their room: the function would die of the longest ones."""
    line = b'{"recordId": "image-1", "' + where.encode() + b'": {"content": [' + value * MAX_VALUES + b"0]}}"

    [letter] = kept_promise(HostileOutput(line))

    assert not isinstance(letter, ParsedRecord)
    assert letter.detail == "the line has more than 1000000 values and was not read"
    assert letter.record == line.decode()[: len(str(letter.record))]


def test_a_reply_that_hides_its_values_from_its_line_is_not_parsed() -> None:
    line = simple_line("TEXT").replace(b"TEXT", b"[" + rb"0\u002c" * MAX_VALUES + b"0]")

    [letter] = kept_promise(HostileOutput(line))

    assert not isinstance(letter, ParsedRecord)
    assert (letter.reason, letter.detail) == (
        Reason.INVALID_TRANSACTION,
        "the model's reply has more than 1000000 values",
    )


def test_a_reply_of_a_million_blocks_that_are_none_is_refused_at_the_first() -> None:
    line = bedrock_line(modelOutput={"content": ["BLOCKS"]}).replace(b'"BLOCKS"', b"0," * 900_000 + b"0")

    assert results(line) == ["INVALID_RECORD"]


@pytest.mark.parametrize("text", ["\x01", '"', "\\", "\x7f", "画"])
def test_the_record_of_a_dead_letter_is_at_most_32_kb_as_it_is_written(text: str) -> None:
    [letter] = kept_promise(HostileOutput(text.encode() * 40_000))

    assert not isinstance(letter, ParsedRecord)
    written = len(json.dumps(letter.record, ensure_ascii=False).encode())
    assert MAX_RECORD_BYTES - 6 < written <= MAX_RECORD_BYTES
