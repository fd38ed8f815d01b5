"""Each model family with each kind of reply results in the exact transaction or dead letter."""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.unit.layer.samples import JOB
from yorutsuke_common.records.lines import Line
from yorutsuke_common.records.parser import ParsedRecord, RecordParser
from yorutsuke_common.records.replies import FORMS
from yorutsuke_common.schema import DeadLetter, Reason, Receipt, serialize_json

RECORDS = Path(__file__).parents[3] / "events" / "bedrock"
DECISION = Path(__file__).parents[4] / "docs" / "decisions" / "0006-reply-forms.md"
OUTPUTS = Path(__file__).parents[4] / "docs" / "outputs.md"
PARSER = RecordParser(JOB, datetime(2026, 11, 22, 18, 42, 7, tzinfo=UTC), ttl_days=730)
Record = dict[str, Any]
Steps = tuple[str | int, ...]

RECEIPT = {
    "amount": 1280,
    "type": "expense",
    "date": "2026-11-20",
    "merchant": "喫茶星",
    "category": "other",
    "description": "Coffee",
}
TEXT = json.dumps(RECEIPT, ensure_ascii=False)
EXACT = TEXT.replace("1280", "1280.10")
"""The receipt with an amount that loses its last digit as a float."""


@dataclass(frozen=True)
class Family:
    """The paths of a family's text and stop reason, its tool use, and its stop reasons.

    A tool use is the path of its blocks, and a function from the receipt's JSON to a block.
    """

    text: Steps
    stop_reason: Steps
    truncated: tuple[str, ...]
    refused: tuple[str, ...]
    tools: tuple[Steps, Callable[[str], str]] | None = None


def converse_tool(receipt: str) -> str:
    """Return the JSON of a tool use of Converse."""
    return f'{{"toolUse": {{"name": "receipt", "toolUseId": "t1", "input": {receipt}}}}}'


def anthropic_tool(receipt: str) -> str:
    """Return the JSON of a tool use of Anthropic."""
    return f'{{"type": "tool_use", "id": "t1", "name": "receipt", "input": {receipt}}}'


def openai_tool(receipt: str) -> str:
    """Return the JSON of a tool call of OpenAI and Cohere. Its arguments are JSON as text."""
    return f'{{"id": "t1", "type": "function", "function": {{"name": "r", "arguments": {json.dumps(receipt)}}}}}'


_MESSAGE = ("choices", 0, "message")
FAMILIES = {
    "nova": Family(
        ("output", "message", "content", 0, "text"),
        ("stopReason",),
        ("max_tokens", "model_context_window_exceeded"),
        ("content_filtered", "guardrail_intervened"),
        (("output", "message", "content"), converse_tool),
    ),
    "anthropic": Family(
        ("content", 0, "text"),
        ("stop_reason",),
        ("max_tokens", "model_context_window_exceeded"),
        ("refusal",),
        (("content",), anthropic_tool),
    ),
    "titan": Family(
        ("results", 0, "outputText"), ("results", 0, "completionReason"), ("LENGTH",), ("CONTENT_FILTERED",)
    ),
    "llama": Family(("generation",), ("stop_reason",), ("length",), ("content_filter",)),
    "openai": Family(
        (*_MESSAGE, "content"),
        ("choices", 0, "finish_reason"),
        ("length",),
        ("content_filter",),
        ((*_MESSAGE, "tool_calls"), openai_tool),
    ),
    "deepseek": Family(("choices", 0, "text"), ("choices", 0, "stop_reason"), ("length",), ("content_filter",)),
    "mistral": Family(("outputs", 0, "text"), ("outputs", 0, "stop_reason"), ("length",), ("content_filter",)),
    "cohere": Family(("text",), ("finish_reason",), ("MAX_TOKENS", "ERROR_LIMIT"), ("ERROR", "ERROR_TOXIC")),
    "cohere_chat": Family(
        ("message", "content", 0, "text"),
        ("finish_reason",),
        ("MAX_TOKENS",),
        ("ERROR",),
        (("message", "tool_calls"), openai_tool),
    ),
}
WITH_TOOLS = [name for name, family in FAMILIES.items() if family.tools]

WRAPPED = {
    "fence": "```json\n{}\n```",
    "fence without language": "```\n{}\n```\n",
    "fence in upper case": "\n```JSON\r\n{}\r\n```",
    "fence on one line": "```json {}```",
    "open fence": "```json\n{}",
    "preamble": "Here is the receipt:\n{}",
    "preamble and fence": "Here is the receipt:\n```json\n{}\n```",
    "note": "{}\n\nNote: the tax is included.",
    "array of one": "[{}]",
    "byte order mark": "\ufeff{}",
    "ideographic spaces": "\u3000{}\u3000",
    "non-breaking spaces": "\xa0{}\xa0",
    "thinking": '<thinking>The total is {"amount": 1}.</thinking>\n{}',
    "think": "<think>\n{}\n</think>\n{}",
    "thinking with an attribute": '<Thinking type="x">{"amount": 1}</THINKING>{}',
    "reasoning": '<reasoning>{"a": {}</reasoning>{}',
    "end of reasoning alone": 'The total is {"amount": 1}.</think>{}',
    "braces in prose": 'Fields {amount, date} of {"amount": number, …} in {x}: {}',
    "braces after it": "{} (see {1} and {)",
    "quotes in prose": 'The "total" and a " alone: {}',
}
"""Text around the receipt. The last `{}` stands for it, unless the wrapping says otherwise."""


def wrapped(wrapping: str, receipt: str) -> str:
    """Return the receipt with text around it."""
    before, _, after = wrapping.rpartition("{}")
    return before + receipt + after


def record_of(name: str) -> Record:
    """Return a sample record from tests/events/bedrock/."""
    return json.loads((RECORDS / f"{name}.json").read_text())


def read(record: Record) -> ParsedRecord | DeadLetter:
    """Return the result of parsing a record on line 7."""
    return PARSER.parse(Line(7, json.dumps(record).encode()))


def changed(record: Record, path: Steps, value: object) -> Record:
    """Return a copy of a record with a value at a path in its model output."""
    record = copy.deepcopy(record)
    parent: Any = record["modelOutput"]
    for step in path[:-1]:
        parent = parent[step]
    parent[path[-1]] = value
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


def with_tools(name: str, *receipts: str) -> bytes:
    """Return the line of a reply with these tool uses and no text but reasoning."""
    family = FAMILIES[name]
    assert family.tools
    path, block = family.tools
    record = changed(record_of(name), family.text, "<thinking>The total is 1,280.</thinking>")
    blocks = [*(("REASONING",) if path == family.text[:-2] else ()), *(f"TOOL {n}" for n in range(len(receipts)))]
    line = json.dumps(changed(record, path, blocks))
    for number, receipt in enumerate(receipts):
        line = line.replace(f'"TOOL {number}"', block(receipt))
    return line.replace('"REASONING"', '{"type": "thinking", "reasoningContent": {}}').encode()


def test_every_sample_is_a_family_and_documented() -> None:
    named = {path.stem for path in RECORDS.glob("*.json") if "modelOutput" in json.loads(path.read_text())}

    assert named == set(FAMILIES)
    assert [name for name in FAMILIES if name.partition("_")[0].title() not in DECISION.read_text().title()] == []


def test_documented_records_become_transactions() -> None:
    section = OUTPUTS.read_text().partition("## Layouts\n")[2].partition("\n## ")[0]
    samples = [line.strip() for line in section.splitlines() if line.startswith("    ")]

    records = [PARSER.parse(Line(number, sample.encode())) for number, sample in enumerate(samples, 1)]

    assert [isinstance(record, ParsedRecord) for record in records] == [True, True]
    assert [record.transaction.imageId for record in records if isinstance(record, ParsedRecord)] == ["img-1", "img-2"]


@pytest.mark.parametrize("name", FAMILIES)
def test_good_reply_is_parsed(name: str) -> None:
    assert receipt_of(read(record_of(name))) == RECEIPT


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("wrapping", WRAPPED.values(), ids=[*WRAPPED])
def test_wrapped_reply_is_parsed(name: str, wrapping: str) -> None:
    record = changed(record_of(name), FAMILIES[name].text, wrapped(wrapping, TEXT))

    assert receipt_of(read(record)) == RECEIPT


@pytest.mark.parametrize("name", WITH_TOOLS)
def test_single_tool_use_is_parsed_exactly(name: str) -> None:
    result = PARSER.parse(Line(7, with_tools(name, EXACT)))

    assert str(receipt_of(result)["amount"]) == "1280.10"


@pytest.mark.parametrize("name", WITH_TOOLS)
def test_several_tool_uses_are_rejected_by_count(name: str) -> None:
    line = with_tools(name, TEXT, TEXT)

    detail = "the reply must have one tool use, not 2"
    assert PARSER.parse(Line(7, line)) == letter(json.loads(line), Reason.INVALID_AI_JSON, detail)


@pytest.mark.parametrize("name", WITH_TOOLS)
def test_repeated_key_in_a_tool_use_is_rejected(name: str) -> None:
    line = with_tools(name, TEXT.replace("{", '{"amount": 1, '))

    result = PARSER.parse(Line(7, line))

    assert isinstance(result, DeadLetter)
    assert result.detail == "an object in the model's reply must have each key once, but repeats amount"


@pytest.mark.parametrize("name", FAMILIES)
def test_truncated_reply_has_its_own_reason(name: str) -> None:
    family = FAMILIES[name]
    for truncated in family.truncated:
        record = changed(changed(record_of(name), family.text, TEXT[:20]), family.stop_reason, truncated)

        detail = f"the model stopped with {truncated!r}, so its reply is incomplete. Raise the request's token limit."
        assert read(record) == letter(record, Reason.TRUNCATED_OUTPUT, detail)


@pytest.mark.parametrize("name", FAMILIES)
def test_refused_reply_is_a_model_error(name: str) -> None:
    family = FAMILIES[name]
    for refused in family.refused:
        record = changed(changed(record_of(name), family.text, "Sorry."), family.stop_reason, refused)

        detail = f"the model stopped with {refused!r} and did not read the receipt"
        assert read(record) == letter(record, Reason.MODEL_ERROR, detail)


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


def test_error_in_place_of_the_output_is_kept() -> None:
    record = record_of("anthropic")
    record["modelOutput"] = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}

    detail = "the model failed with code overloaded_error: Overloaded"
    assert read(record) == letter(record, Reason.MODEL_ERROR, detail)


@pytest.mark.parametrize("name", FAMILIES)
def test_unknown_model_output_is_rejected_with_its_keys(name: str) -> None:
    record = record_of(name)
    record["modelOutput"] = {f"new_{key}": value for key, value in record["modelOutput"].items()}

    detail = f"modelOutput: must be a reply with {FORMS}, but has the keys {sorted(record['modelOutput'])}"
    assert read(record) == letter(record, Reason.INVALID_RECORD, detail)
