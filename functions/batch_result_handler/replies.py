"""The model's reply inside `modelOutput`, whose form is the model's own.

Source: Amazon Nova user guide, "Complete request schema" and the Converse API's response, which share this form:
`{"output": {"message": {"content": [{"text": …}, …]}}, "stopReason": …}`.
"""

from pydantic import BaseModel, JsonValue, ValidationError

from yorutsuke_common.schema import Reason

from .rejection import Rejection

TRUNCATED_STOP_REASONS = frozenset({"max_tokens"})


class _Block(BaseModel):
    """A content block; blocks of other kinds (reasoning, tool use) carry no text."""

    text: str | None = None


class _Message(BaseModel):
    content: list[_Block]


class _MessageOutput(BaseModel):
    message: _Message


class NovaReply(BaseModel):
    """The reply of Nova, and of any model in a Converse job."""

    output: _MessageOutput
    stopReason: str | None = None


def reply_text(model_output: JsonValue) -> str:
    """Return the text of the reply, its text blocks joined.

    Raises Rejection: INVALID_RECORD for a form we do not know, TRUNCATED_OUTPUT where the model ran out of tokens.
    """
    try:
        reply = NovaReply.model_validate(model_output)
    except ValidationError as exc:
        keys = sorted(model_output) if isinstance(model_output, dict) else type(model_output).__name__
        raise Rejection(
            Reason.INVALID_RECORD,
            f"modelOutput has no reply we can read: expected output.message.content, found {keys}",
        ) from exc
    if reply.stopReason in TRUNCATED_STOP_REASONS:
        raise Rejection(
            Reason.TRUNCATED_OUTPUT, f"the model stopped at {reply.stopReason!r}: raise the request's token limit"
        )
    return "".join(block.text for block in reply.output.message.content if block.text is not None)
