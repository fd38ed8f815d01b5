"""Each model family with each kind of reply results in the exact transaction or dead letter."""

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
from yorutsuke_common.schema import DeadLetter, Reason, Receipt, serialize_json

RECORDS = Path(__file__).parents[3] / "events" / "bedrock"
OUTPUTS = Path(__file__).parents[4] / "docs" / "outputs.md"
PARSER = RecordParser(JOB, datetime(2026, 11, 22, 18, 42, 7, tzinfo=UTC), ttl_days=730)
Record = dict[str, Any]


@dataclass(frozen=True)
class Family:
    """The paths of a family's text and stop reason, and the stop reason of a truncated reply."""

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


def test_documented_records_become_transactions() -> None:
    section = OUTPUTS.read_text().partition("## Layouts\n")[2].partition("\n## ")[0]
    samples = [line.strip() for line in section.splitlines() if line.startswith("    ")]

    records = [PARSER.parse(Line(number, sample.encode())) for number, sample in enumerate(samples, 1)]

    assert [isinstance(record, ParsedRecord) for record in records] == [True, True]
    assert [record.transaction.imageId for record in records if isinstance(record, ParsedRecord)] == ["img-1", "img-2"]


def record_of(name: str) -> Record:
    """Return a sample record from tests/events/bedrock/."""
    return json.loads((RECORDS / f"{name}.json").read_text())


def read(record: Record) -> ParsedRecord | DeadLetter:
    """Return the result of parsing a record on line 7."""
    return PARSER.parse(Line(7, json.dumps(record).encode()))


def changed(record: Record, path: tuple[str | int, ...], change: Callable[[str], str]) -> Record:
    """Return a copy of a record with a change at a path in its model output."""
    record = copy.deepcopy(record)
    parent: Any = record["modelOutput"]
    for step in path[:-1]:
        parent = parent[step]
    parent[path[-1]] = change(parent[path[-1]])
    return record


def letter(record: Record, reason: Reason, detail: str) -> DeadLetter:
    """Return the dead letter of a record on line 7."""
    kept = {name: value for name, value in record.items() if name != "modelInput"}
    return DeadLetter(line=7, imageId="img-00001", reason=reason, detail=detail, record=serialize_json(kept))


def receipt_of(result: ParsedRecord | DeadLetter) -> dict[str, Any]:
    """Return the receipt fields of a parsed record."""
    assert isinstance(result, ParsedRecord), result
    assert result.transaction.imageId == "img-00001"
    return result.transaction.model_dump(include=set(Receipt.model_fields))


RECEIPT = {
    "amount": 1280,
    "type": "expense",
    "date": "2026-11-20",
    "merchant": "喫茶星",
    "category": "other",
    "description": "Coffee",
}


@pytest.mark.parametrize("name", FAMILIES)
def test_valid_reply_is_parsed(name: str) -> None:
    assert receipt_of(read(record_of(name))) == RECEIPT


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("fence", ["```json\n{}\n```", "```\n{}\n```\n", "\n```JSON\r\n{}\r\n```"])
def test_reply_in_one_fence_is_parsed(name: str, fence: str) -> None:
    record = changed(record_of(name), FAMILIES[name].text, lambda text: fence.replace("{}", text))

    assert receipt_of(read(record)) == RECEIPT


@pytest.mark.parametrize("name", FAMILIES)
def test_fence_with_other_text_is_rejected(name: str) -> None:
    record = changed(record_of(name), FAMILIES[name].text, lambda text: f"Here it is:\n```json\n{text}\n```")

    detail = "the model's reply is not valid JSON (line 1, column 1: expected a value)"
    assert read(record) == letter(record, Reason.INVALID_AI_JSON, detail)


@pytest.mark.parametrize("name", FAMILIES)
def test_truncated_reply_has_its_own_reason(name: str) -> None:
    family = FAMILIES[name]
    cut = changed(record_of(name), family.text, lambda text: text[:20])
    record = changed(cut, family.stop_reason, lambda _: family.truncated)

    detail = (
        f"the model stopped with {family.truncated!r}, so its reply is incomplete. Raise the request's token limit."
    )
    assert read(record) == letter(record, Reason.TRUNCATED_OUTPUT, detail)


@pytest.mark.parametrize("name", FAMILIES)
def test_unknown_model_output_is_rejected_with_its_keys(name: str) -> None:
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
def test_model_error_is_kept_with_code_and_message(name: str, error: str, detail: str) -> None:
    record = record_of(name)
    del record["modelOutput"]
    record["error"] = record_of(error)["error"]

    assert read(record) == letter(record, Reason.MODEL_ERROR, detail)


def test_text_blocks_are_joined_without_other_blocks() -> None:
    for name, path in (("nova", ("output", "message", "content")), ("anthropic", ("content",))):
        record = record_of(name)
        parent: Any = record["modelOutput"]
        for step in path:
            parent = parent[step]
        text = parent[0]["text"]
        parent[:] = [{"reasoningContent": {}}, {"text": text[:9]}, {"toolUse": {}}, {"text": text[9:]}]

        assert receipt_of(read(record)) == RECEIPT
