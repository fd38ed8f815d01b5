"""The text of the reply in each model's `modelOutput`."""

import pytest
from pydantic import JsonValue

from tests.unit.layer.samples import nova_output
from yorutsuke_common.records.rejection import Rejection
from yorutsuke_common.records.replies import reply_text
from yorutsuke_common.schema import Reason


def rejection_of(model_output: JsonValue) -> tuple[Reason, str]:
    """Return the reason and the detail of the rejection of this output."""
    with pytest.raises(Rejection) as raised:
        reply_text(model_output)
    return raised.value.reason, raised.value.detail


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"text": '{"amount": 1}'}], '{"amount": 1}'),
        ([{"text": '{"amount"'}, {"text": ": 1}"}], '{"amount": 1}'),
        ([{"reasoningContent": {"reasoningText": {"text": "hm"}}}, {"text": "{}"}, {"toolUse": {"name": "x"}}], "{}"),
        ([{"text": None}, {"text": "{}"}], "{}"),
        ([{"toolUse": {"name": "x"}}], ""),
        ([], ""),
    ],
)
def test_text_blocks_of_nova_are_joined(content: JsonValue, text: str) -> None:
    assert reply_text({"output": {"message": {"role": "assistant", "content": content}}}) == text


@pytest.mark.parametrize("stop_reason", ["end_turn", "stop_sequence", "content_filtered", "MAX_TOKENS", "", None])
def test_reply_with_other_stop_reason_is_accepted(stop_reason: JsonValue) -> None:
    assert reply_text(nova_output("{}", stopReason=stop_reason)) == "{}"


def test_reply_at_the_token_limit_is_truncated() -> None:
    assert rejection_of(nova_output("{}", stopReason="max_tokens")) == (
        Reason.TRUNCATED_OUTPUT,
        "the model stopped with 'max_tokens', so its reply is incomplete. Raise the request's token limit.",
    )


@pytest.mark.parametrize(
    ("model_output", "found"),
    [
        ({}, "has the keys []"),
        ({"b": 1, "a": 2}, "has the keys ['a', 'b']"),
        ({"output": {}}, "has the keys ['output']"),
        ({"output": {"message": {}}}, "has the keys ['output']"),
        ({"output": {"message": {"content": "{}"}}}, "has the keys ['output']"),
        ({"output": {"message": {"content": ["{}"]}}}, "has the keys ['output']"),
        ({"output": {"message": {"content": [{"text": 1}]}}}, "has the keys ['output']"),
        ({"output": None}, "has the keys ['output']"),
        ({"output": {"message": {"content": []}}, "stopReason": 5}, "has the keys ['output', 'stopReason']"),
        ([], "is an array"),
        ("{}", "is text"),
        (True, "is a boolean"),
        (1.5, "is a number"),
    ],
)
def test_unknown_form_is_rejected_with_its_keys(model_output: JsonValue, found: str) -> None:
    reason, detail = rejection_of(model_output)

    assert (reason, detail.endswith(f", but {found}")) == (Reason.INVALID_RECORD, True)


@pytest.mark.parametrize(
    "model_output",
    [
        pytest.param({"content": [{"type": "text", "text": "{}"}], "stop_reason": "end_turn"}, id="anthropic"),
        pytest.param({"results": [{"outputText": "{}", "completionReason": "FINISH"}]}, id="titan"),
        pytest.param({"generation": "{}", "stop_reason": "stop"}, id="llama"),
    ],
)
def test_replies_of_other_families_are_read(model_output: JsonValue) -> None:
    assert reply_text(model_output) == "{}"


@pytest.mark.parametrize(
    "model_output",
    [
        pytest.param({"content": [{"type": "text", "text": "{"}], "stop_reason": "max_tokens"}, id="anthropic"),
        pytest.param({"results": [{"outputText": "{", "completionReason": "LENGTH"}]}, id="titan"),
        pytest.param({"generation": "{", "stop_reason": "length"}, id="llama"),
    ],
)
def test_reply_of_any_family_can_be_truncated(model_output: JsonValue) -> None:
    reason, _ = rejection_of(model_output)

    assert reason is Reason.TRUNCATED_OUTPUT
