"""The model's reply inside `modelOutput`, in the form of its model family: one small reader per form.

A reader is a branch of `_read`. The forms have different required keys, so at most one reader fits.

Sources: Amazon Bedrock API reference, Converse (Nova has the same form); Amazon Bedrock user guide, "Inference request
parameters and response fields for foundation models" (Anthropic Claude, Amazon Titan Text, Meta Llama, Mistral AI,
Cohere, DeepSeek, OpenAI, Qwen); OpenAI API reference, "Create chat completion".
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, cast

from yorutsuke_common.schema import Reason
from yorutsuke_common.validation import json_type

from .rejection import Rejection

TRUNCATED_STOP_REASONS = frozenset(
    {"max_tokens", "length", "model_length", "model_context_window_exceeded", "error_limit"}
)
"""Stop reasons of incomplete replies, in lower case.

`max_tokens` and `model_context_window_exceeded` of Converse, Nova and Anthropic, `length` of Llama, Titan, Mistral and
OpenAI, `model_length` of Mistral, `MAX_TOKENS` and `ERROR_LIMIT` of Cohere.
"""
REFUSED_STOP_REASONS = frozenset(
    {"content_filtered", "content_filter", "guardrail_intervened", "refusal", "error_toxic", "error"}
    | {"malformed_model_output", "malformed_tool_use", "timeout", "user_cancel"}
)
"""Stop reasons of replies that the model or a filter has replaced or spoilt, in lower case.

`content_filtered`, `guardrail_intervened`, `malformed_model_output` and `malformed_tool_use` of Converse and Nova,
`refusal` of Anthropic, `content_filter` of OpenAI, `CONTENT_FILTERED` of Titan, `ERROR_TOXIC`, `ERROR`, `TIMEOUT` and
`USER_CANCEL` of Cohere.
"""
FORMS = (
    "output.message.content (Nova, Converse), content (Anthropic), results (Titan), generation (Llama), choices "
    "(OpenAI, Qwen, DeepSeek, Mistral), outputs (Mistral), message.content or text (Cohere)"
)
KIND = re.compile(r"[a-z]+(?:[_A-Z][a-z]+){0,3}|an? [a-z]+|null|text")
MAX_KINDS = 5
"""Maximum number of kinds of blocks that a rejection names."""


@dataclass(frozen=True)
class Reply:
    """A model's reply, independent of its family.

    `text` has all texts, joined. `tools` has the input of each tool use: an object, or JSON as text. `others` has the
    kinds of all other blocks, such as reasoning.
    """

    text: str = ""
    tools: Sequence[object] = ()
    others: Sequence[str] = ()
    stop_reason: object = None


def receipt_source(model_output: object) -> object:
    """Return the part of a reply that holds the receipt: its text, or the input of its tool use.

    Raises:
        Rejection: MODEL_ERROR for an error or a refusal, TRUNCATED_OUTPUT if the model ran out of tokens,
            INVALID_RECORD for an unknown form, INVALID_AI_JSON if the reply has no text and not one tool use.
    """
    reply = _read(model_output)
    if reply is None:
        raise _unknown_form(model_output)
    stop_reason = reply.stop_reason.lower() if isinstance(reply.stop_reason, str) else None
    if stop_reason in TRUNCATED_STOP_REASONS:
        raise Rejection(
            Reason.TRUNCATED_OUTPUT,
            f"the model stopped with {reply.stop_reason!r}, so its reply is incomplete. Raise the request's token "
            "limit.",
        )
    if stop_reason in REFUSED_STOP_REASONS:
        raise Rejection(
            Reason.MODEL_ERROR, f"the model stopped with {reply.stop_reason!r} and did not read the receipt"
        )
    if len(reply.tools) > 1:
        raise Rejection(Reason.INVALID_AI_JSON, f"the reply must have one tool use, not {len(reply.tools)}")
    if reply.tools:
        return reply.tools[0]
    if not reply.text and reply.others:
        # A kind is a name. Another text may come from the receipt.
        named = {kind if KIND.fullmatch(kind) else "an unknown block" for kind in reply.others}
        kinds = ", ".join(sorted(named)[:MAX_KINDS])
        raise Rejection(Reason.INVALID_AI_JSON, f"the reply must have text or a tool use, but has only {kinds}")
    return reply.text


def _read(output: Any) -> Reply | None:  # noqa: PLR0911 - each form is a branch
    """Return the reply in a model's output, or None for an unknown form. Raises Rejection for an error."""
    match output:
        case {"type": "error", "error": error}:
            raise Rejection(Reason.MODEL_ERROR, model_error(error))
        case {"output": {"message": {"content": list()}}}:
            return _reply(output["output"]["message"]["content"], output.get("stopReason"))
        case {"content": list()}:
            return _reply(output["content"], output.get("stop_reason"))
        case {"results": [{"outputText": str(text), **result}]}:
            return Reply(text, stop_reason=result.get("completionReason"))
        case {"generation": str(text)}:
            return Reply(text, stop_reason=output.get("stop_reason"))
        case {"choices": [{"message": {**message}, **choice}]}:
            return _chat_reply(message, _stop_reason(choice))
        case {"choices": [{"text": str(text), **choice}]} | {"outputs": [{"text": str(text), **choice}]}:
            return Reply(text, stop_reason=_stop_reason(choice))
        case {"message": {**message}}:
            return _chat_reply(message, output.get("finish_reason"))
        case {"text": str()}:
            return _chat_reply({**output, "content": output["text"]}, output.get("finish_reason"))
        case _:
            return None


def _stop_reason(choice: Mapping[str, Any]) -> object:
    """Return the stop reason of a choice. Families name it in one of two ways, and public adapters know both."""
    return choice.get("finish_reason") or choice.get("stop_reason")


def _chat_reply(message: Mapping[str, Any], stop_reason: object) -> Reply:
    """Read a message with its tool uses beside its content, which is text, blocks or null."""
    content, calls = message.get("content"), message.get("tool_calls")
    if message.get("refusal"):
        stop_reason = "refusal"
    blocks: Iterable[Any] = [{"text": content}] if isinstance(content, str) else _list(content)
    return _reply(chain(blocks, _list(calls)), stop_reason)


def _list(value: Any) -> Iterable[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else ()


def _reply(blocks: Iterable[Any], stop_reason: object) -> Reply:
    """Read content blocks. A block of Converse is named by its key, a block of other families by its `type`."""
    texts: list[str] = []
    tools: list[object] = []
    others: list[str] = []
    for block in blocks:
        match block:
            case {"toolUse": {"input": used}} | {"type": "tool_use", "input": used}:
                tools.append(used)
            case {"function": {"arguments": used}} | {"name": _, "parameters": used}:
                tools.append(used)
            case {"type": str(kind)} if kind != "text":
                others.append(kind)
            case {"text": str(text)}:
                texts.append(text)
            case dict():
                others += block
            case _:
                others.append(json_type(block))
    return Reply("".join(texts), tools, others, stop_reason)


def model_error(error: Any) -> str:
    """Return the detail of an error that stands in the place of a reply."""
    match error:
        case {"message": message}:
            return f"the model failed with code {error.get('type') or error.get('code')}: {message}"
        case dict():
            return f"the model failed with code {error.get('errorCode')}: {error.get('errorMessage')}"
        case _:
            return f"the model failed: {error}"


def _unknown_form(model_output: Any) -> Rejection:
    match model_output:
        case {**keys}:
            found = f"has the keys {sorted(keys)}"
        case _:
            found = f"is {json_type(model_output)}"
    return Rejection(Reason.INVALID_RECORD, f"modelOutput: must be a reply with {FORMS}, but {found}")
