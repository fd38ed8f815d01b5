"""The part of each model's `modelOutput` that holds the receipt."""

from contextlib import suppress

import pytest
from pydantic import JsonValue

from tests.unit.layer.samples import nova_output
from yorutsuke_common.records.rejection import Rejection
from yorutsuke_common.records.replies import receipt_source
from yorutsuke_common.schema import Reason


def rejection_of(model_output: JsonValue) -> tuple[Reason, str]:
    """Return the reason and the detail of the rejection of this output."""
    with pytest.raises(Rejection) as raised:
        receipt_source(model_output)
    return raised.value.reason, raised.value.detail


def nova(*blocks: JsonValue) -> JsonValue:
    """Return the output of Nova with these content blocks."""
    return {"output": {"message": {"role": "assistant", "content": [*blocks]}}}


REASONING: JsonValue = {"reasoningContent": {"reasoningText": {"text": "hm"}}}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"text": '{"amount": 1}'}], '{"amount": 1}'),
        ([{"text": '{"amount"'}, {"text": ": 1}"}], '{"amount": 1}'),
        ([REASONING, {"text": "{}"}, {"toolUse": {"name": "x"}}], "{}"),
        ([{"text": None}, {"text": "{}"}], "{}"),
        (["x", {"text": "{}"}], "{}"),
        ([], ""),
    ],
)
def test_text_blocks_are_joined(content: list[JsonValue], text: str) -> None:
    assert receipt_source(nova(*content)) == text


def test_tool_use_is_preferred_to_text() -> None:
    assert receipt_source(nova({"text": "{}"}, {"toolUse": {"input": {"amount": 1}}})) == {"amount": 1}


@pytest.mark.parametrize(
    ("model_output", "kinds"),
    [
        (nova(REASONING), "reasoningContent"),
        (nova({"toolUse": {"name": "x"}}, {"image": {}}, 5), "a number, image, toolUse"),
        (
            {"content": [{"type": "thinking", "thinking": "…"}, {"type": "redacted_thinking"}]},
            "redacted_thinking, thinking",
        ),
        (nova({f"kind{letter}": 1 for letter in "HGFEDCBA"}), "an unknown block"),
        (nova({f"kind_{letter}": 1 for letter in "hgfedcba"}), "kind_a, kind_b, kind_c, kind_d, kind_e"),
        ({"content": [{"type": "Kissa Hoshi"}]}, "an unknown block"),
        ({"content": [{"type": "thinking", "text": "{}"}]}, "thinking"),
    ],
)
def test_reply_without_text_or_tool_names_its_blocks(model_output: JsonValue, kinds: str) -> None:
    detail = f"the reply must have text or a tool use, but has only {kinds}"
    assert rejection_of(model_output) == (Reason.INVALID_AI_JSON, detail)


@pytest.mark.parametrize("stop_reason", ["end_turn", "stop_sequence", "tool_use", "COMPLETE", "", None, 5, ["length"]])
def test_reply_with_other_stop_reason_is_accepted(stop_reason: JsonValue) -> None:
    assert receipt_source(nova_output("{}", stopReason=stop_reason)) == "{}"


@pytest.mark.parametrize("stop_reason", ["max_tokens", "MAX_TOKENS", "length", "Length"])
def test_token_limit_is_recognised_in_any_case(stop_reason: str) -> None:
    assert rejection_of(nova_output("{}", stopReason=stop_reason)) == (
        Reason.TRUNCATED_OUTPUT,
        f"the model stopped with {stop_reason!r}, so its reply is incomplete. Raise the request's token limit.",
    )


@pytest.mark.parametrize(
    ("model_output", "found"),
    [
        ({}, "has the keys []"),
        ({"b": 1, "a": 2}, "has the keys ['a', 'b']"),
        ({"output": {}}, "has the keys ['output']"),
        ({"output": {"message": {}}}, "has the keys ['output']"),
        ({"output": {"message": {"content": "{}"}}}, "has the keys ['output']"),
        ({"output": None}, "has the keys ['output']"),
        ({"results": [{"outputText": "{}"}, {"outputText": "{}"}]}, "has the keys ['results']"),
        ({"choices": []}, "has the keys ['choices']"),
        ({"choices": [{"text": "{}"}, {"text": "{}"}]}, "has the keys ['choices']"),
        ({"message": "Internal error"}, "has the keys ['message']"),
        ([], "is an array"),
        ("{}", "is text"),
        (True, "is a boolean"),
        (1.5, "is a number"),
    ],
)
def test_unknown_form_is_rejected_with_its_keys(model_output: JsonValue, found: str) -> None:
    reason, detail = rejection_of(model_output)

    assert (reason, detail.endswith(f", but {found}")) == (Reason.INVALID_RECORD, True)


@pytest.mark.parametrize("form", ["message", "text"])
@pytest.mark.parametrize("name", ["finish_reason", "stop_reason"])
def test_choice_may_name_its_stop_reason_either_way(form: str, name: str) -> None:
    choice: JsonValue = {"message": {"content": "{}"}, "text": "{}"}
    reason, _ = rejection_of({"choices": [{form: choice[form], name: "length"}]})

    assert reason is Reason.TRUNCATED_OUTPUT


def test_refusal_of_a_message_is_a_model_error() -> None:
    reason, detail = rejection_of({"choices": [{"message": {"content": None, "refusal": "No."}}]})

    assert (reason, detail) == (Reason.MODEL_ERROR, "the model stopped with 'refusal' and did not read the receipt")


@pytest.mark.parametrize("content", [None, "", []])
@pytest.mark.parametrize("calls", [None, 5, [5], [{"function": {}}]])
def test_hostile_message_is_read_without_an_error(content: JsonValue, calls: JsonValue) -> None:
    message: JsonValue = {"content": content, "tool_calls": calls}

    for output in ({"choices": [{"message": message}]}, {"message": message}):
        with suppress(Rejection):
            assert receipt_source(output) == ""
