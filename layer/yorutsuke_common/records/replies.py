"""The model's reply inside `modelOutput`, in the form of its model family: one small model per family.

Sources: Amazon Bedrock user guide, "Inference request parameters and response fields for foundation models" (Nova,
Anthropic Claude, Amazon Titan Text, Meta Llama), and the Converse API's response, which has the same form as Nova's.
"""

from typing import Annotated

from pydantic import BaseModel, FailFast, Field, JsonValue, TypeAdapter, ValidationError

from yorutsuke_common.schema import Reason
from yorutsuke_common.validation import json_type

from .rejection import Rejection

TRUNCATED_STOP_REASONS = frozenset({"max_tokens", "model_context_window_exceeded", "length", "LENGTH"})
"""Stop reasons of incomplete replies: `max_tokens` of Nova and Anthropic, `length` of Llama, `LENGTH` of Titan."""


class _Block(BaseModel):
    """A content block. Blocks of other kinds (reasoning, tool use) lack a text."""

    text: str | None = None


# The first invalid block refuses the reply: a million of them would each take the memory of an error.
_Blocks = Annotated[list[_Block], FailFast()]


class _Message(BaseModel):
    content: _Blocks


class _MessageOutput(BaseModel):
    message: _Message


class NovaReply(BaseModel):
    """The reply of Nova, and of any model in a Converse job."""

    output: _MessageOutput
    stop_reason: str | None = Field(None, alias="stopReason")

    @property
    def text(self) -> str:
        """The text blocks, joined."""
        return _joined(self.output.message.content)


class AnthropicReply(BaseModel):
    """The reply of Anthropic Claude."""

    content: _Blocks
    stop_reason: str | None = None

    @property
    def text(self) -> str:
        """The text blocks, joined."""
        return _joined(self.content)


class _TitanResult(BaseModel):
    text: str = Field(alias="outputText")
    stop_reason: str | None = Field(None, alias="completionReason")


class TitanReply(BaseModel):
    """The reply of Amazon Titan Text, with one result per request."""

    results: Annotated[list[_TitanResult], Field(min_length=1, max_length=1)]

    @property
    def text(self) -> str:
        """The result's text."""
        return self.results[0].text

    @property
    def stop_reason(self) -> str | None:
        """The stop reason of the result."""
        return self.results[0].stop_reason


class LlamaReply(BaseModel):
    """The reply of Meta Llama."""

    text: str = Field(alias="generation")
    stop_reason: str | None = None


Reply = NovaReply | AnthropicReply | TitanReply | LlamaReply
"""The replies of all families. Their required keys differ, so at most one of them fits."""
_REPLY: TypeAdapter[Reply] = TypeAdapter(Reply)


def reply_text(model_output: JsonValue) -> str:
    """Return the text of the reply.

    Raises:
        Rejection: INVALID_RECORD for an unknown form, TRUNCATED_OUTPUT if the model ran out of tokens.
    """
    try:
        reply = _REPLY.validate_python(model_output)
    except ValidationError as exc:
        is_object = isinstance(model_output, dict)
        found = f"has the keys {sorted(model_output)}" if is_object else f"is {json_type(model_output)}"
        raise Rejection(
            Reason.INVALID_RECORD,
            f"modelOutput: must be a reply with output.message.content, content, results or generation, but {found}",
        ) from exc
    if reply.stop_reason in TRUNCATED_STOP_REASONS:
        raise Rejection(
            Reason.TRUNCATED_OUTPUT,
            f"the model stopped with {reply.stop_reason!r}, so its reply is incomplete. Raise the request's token "
            "limit.",
        )
    return reply.text


def _joined(blocks: list[_Block]) -> str:
    return "".join(block.text for block in blocks if block.text is not None)
