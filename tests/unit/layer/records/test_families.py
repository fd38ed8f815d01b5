"""Every model family times everything that can become of its reply: the exact transaction, or the exact dead letter."""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest

from tests.unit.layer.samples import JOB
from yorutsuke_common.records.lines import Line
from yorutsuke_common.records.parser import ParsedRecord, RecordParser
from yorutsuke_common.records.replies import Reply
from yorutsuke_common.schema import DeadLetter, Reason, Receipt

RECORDS = Path(__file__).parents[3] / "events" / "bedrock"
OUTPUTS = Path(__file__).parents[4] / "docs" / "outputs.md"
PARSER = RecordParser(JOB, datetime(2026, 11, 22, 18, 42, 7, tzinfo=UTC), ttl_days=730)
Record = dict[str, Any]


@dataclass(frozen=True)
class Family:
    """How a family's record is changed: its text, and the reason why the model stopped."""

    text: tuple[str | int, ...]
    stop_reason: tuple[str | int, ...]
    truncated: str


FAMILIES = {
    "nova": Family(("output", "message", "content", 0, "text"), ("stopReason",), "max_tokens"),
    "anthropic": Family(("content", 0, "text"), ("stop_reason",), "max_tokens"),
    "titan": Family(("results", 0, "outputText"), ("results", 0, "completionReason"), "LENGTH"),
    "llama": Family(("generation",), ("stop_reason",), "length"),
}


def test_every_family_is_tested_and_documented() -> None:
    outputs = OUTPUTS.read_text()

    assert len(FAMILIES) == len(get_args(Reply))
    assert [name for name in FAMILIES if name.title() not in outputs] == []


def record_of(name: str) -> Record:
    """Return a record of tests/events/bedrock/."""
    return json.loads((RECORDS / f"{name}.json").read_text())


def read(record: Record) -> ParsedRecord | DeadLetter:
    """Read a record as line 7."""
    return PARSER.parse(Line(7, json.dumps(record).encode()))


def changed(record: Record, path: tuple[str | int, ...], change: Callable[[str], str]) -> Record:
    """Return a copy of a record whose model output is changed at a path."""
    record = copy.deepcopy(record)
    place: Any = record["modelOutput"]
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = change(place[path[-1]])
    return record


def letter(record: Record, reason: Reason, detail: str) -> DeadLetter:
    """Return the dead letter of a record on line 7."""
    kept = {name: value for name, value in record.items() if name != "modelInput"}
    return DeadLetter(line=7, imageId="img-00001", reason=reason, detail=detail, record=kept)


def receipt_of(read_line: ParsedRecord | DeadLetter) -> dict[str, Any]:
    """Return what a good line says of its receipt."""
    assert isinstance(read_line, ParsedRecord), read_line
    assert read_line.transaction.imageId == "img-00001"
    return read_line.transaction.model_dump(include=set(Receipt.model_fields))


RECEIPT = {
    "amount": 1280,
    "type": "expense",
    "date": "2026-11-20",
    "merchant": "喫茶星",
    "category": "other",
    "description": "Coffee",
}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_good_reply_is_read(name: str) -> None:
    assert receipt_of(read(record_of(name))) == RECEIPT


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("fence", ["```json\n{}\n```", "```\n{}\n```\n", "\n```JSON\r\n{}\r\n```"])
def test_a_reply_that_is_one_fence_is_read(name: str, fence: str) -> None:
    record = changed(record_of(name), FAMILIES[name].text, lambda text: fence.replace("{}", text))

    assert receipt_of(read(record)) == RECEIPT


@pytest.mark.parametrize("name", FAMILIES)
def test_a_fence_beside_other_words_is_left_alone(name: str) -> None:
    record = changed(record_of(name), FAMILIES[name].text, lambda text: f"Here it is:\n```json\n{text}\n```")

    detail = "the model's reply is not valid JSON (line 1, column 1: expected a value)"
    assert read(record) == letter(record, Reason.INVALID_AI_JSON, detail)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_reply_that_was_cut_short_is_its_own_failure(name: str) -> None:
    family = FAMILIES[name]
    cut = changed(record_of(name), family.text, lambda text: text[:20])
    record = changed(cut, family.stop_reason, lambda _: family.truncated)

    detail = (
        f"the model stopped with {family.truncated!r}, so its reply is incomplete. Raise the request's token limit."
    )
    assert read(record) == letter(record, Reason.TRUNCATED_OUTPUT, detail)


@pytest.mark.parametrize("name", FAMILIES)
def test_an_unknown_form_says_which_keys_it_has(name: str) -> None:
    record = record_of(name)
    record["modelOutput"] = {f"new_{key}": value for key, value in record["modelOutput"].items()}

    detail = (
        "modelOutput: must be a reply with output.message.content, content, results or generation, "
        f"but has the keys {sorted(record['modelOutput'])}"
    )
    assert read(record) == letter(record, Reason.INVALID_RECORD, detail)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(
    ("error", "detail"),
    [
        ("error_code_number", "the model failed with code 400: bad request"),
        ("error_code_string", "the model failed with code ThrottlingException: Too many requests"),
        ("error_bare", "the model failed: Model invocation timed out"),
    ],
)
def test_an_error_in_place_of_the_reply_is_kept_with_code_and_message(name: str, error: str, detail: str) -> None:
    record = record_of(name)
    del record["modelOutput"]
    record["error"] = record_of(error)["error"]

    assert read(record) == letter(record, Reason.MODEL_ERROR, detail)


def test_text_blocks_are_joined_and_other_blocks_are_passed_over() -> None:
    for name, path in (("nova", ("output", "message", "content")), ("anthropic", ("content",))):
        record = record_of(name)
        place: Any = record["modelOutput"]
        for step in path:
            place = place[step]
        text = place[0]["text"]
        place[:] = [{"reasoningContent": {}}, {"text": text[:9]}, {"toolUse": {}}, {"text": text[9:]}]

        assert receipt_of(read(record)) == RECEIPT
