"""Replies that a model may give to the image of a receipt: mostly the JSON object asked for, and its known failures.

A reply has the form of Amazon Nova or of Converse, which adds `metrics`. Its text depends only on the seed and the
record's id, so the order of the records does not matter. The reply to an image that a smoke run has drawn is the
receipt in its text chunk.
"""

import base64
import json
import random
import struct
from enum import StrEnum
from typing import Any

from local.receipts import nova_output, receipt_fields
from yorutsuke.smoke.receipts import RECEIPT_KEYWORD

from .model_requests import CONVERSE, INVOKE_MODEL, image_sources, request_problem

SEED = 1
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
IMAGE_TOKENS = 1_600
"""Tokens of an image, about as many as a photograph of one megapixel has."""
TOKEN_CHARACTERS = 4
"""Characters of a token, about as many as in English text."""
PROSE = ("この画像はレシートではないようです。", "I cannot read this receipt: the image is blurred.")


class Kind(StrEnum):
    """The kinds of replies.

    `FENCED`: good, in a code fence. `CUT_SHORT`: ended by `max_tokens`. `PROSE`: not JSON. `IMPOSSIBLE_DATE`: JSON with
    a date that the calendar does not have. `ERROR`: the model failed.
    """

    GOOD = "good"
    FENCED = "fenced"
    CUT_SHORT = "cut short"
    PROSE = "prose"
    IMPOSSIBLE_DATE = "impossible date"
    ERROR = "error"


SHARES = {
    Kind.GOOD: 0.91,
    Kind.FENCED: 0.05,
    Kind.CUT_SHORT: 0.01,
    Kind.PROSE: 0.01,
    Kind.IMPOSSIBLE_DATE: 0.01,
    Kind.ERROR: 0.01,
}


READABLE = {Kind.GOOD, Kind.FENCED}
"""The kinds of replies that become transactions."""


def kind_of(record_id: str) -> Kind:
    """Return the kind of the reply to a record."""
    return _kind(seeded_dice(record_id))


def reply(
    record_id: str, model_input: dict[str, Any], model_id: str, invocation_type: str = INVOKE_MODEL
) -> dict[str, Any]:
    """Return the part of an output line that follows the input: `modelOutput`, or `error`.

    Sources: Amazon Bedrock user guide, "View the results of a batch inference job"; Amazon Bedrock API reference,
    Converse.
    """
    if problem := request_problem(model_input, model_id, invocation_type):
        return error_reply(400, problem)
    dice = seeded_dice(record_id)
    kind, fields = _kind(dice), receipt_fields(dice)
    if drawn := _drawn_fields(model_input):
        kind, fields = Kind.GOOD, drawn
    if kind is Kind.ERROR:
        return error_reply(500, "The model could not process the request.")
    good = json.dumps(fields, ensure_ascii=False)
    texts = {
        Kind.FENCED: f"```json\n{good}\n```",
        Kind.CUT_SHORT: good[: len(good) // 2],
        Kind.PROSE: dice.choice(PROSE),
        Kind.IMPOSSIBLE_DATE: json.dumps({**fields, "date": "2026-02-30"}, ensure_ascii=False),
    }
    text = texts.get(kind, good)
    stop_reason = "max_tokens" if kind is Kind.CUT_SHORT else "end_turn"
    output = nova_output(text, stop_reason, (_input_tokens(model_input), len(text) // TOKEN_CHARACTERS))
    return {"modelOutput": output | ({"metrics": {"latencyMs": 1}} if invocation_type == CONVERSE else {})}


def seeded_dice(name: str) -> random.Random:
    """Return a random generator that is the same for the same name."""
    return random.Random(f"{SEED}:{name}")  # noqa: S311 - sample data


def _blocks(model_input: dict[str, Any]) -> list[Any]:
    return [block for message in model_input["messages"] for block in message["content"]]


def _input_tokens(model_input: dict[str, Any]) -> int:
    """Return a plausible number of tokens of a model request."""
    blocks = [*model_input.get("system", []), *_blocks(model_input)]
    return sum(IMAGE_TOKENS if "image" in block else len(block.get("text", "")) // TOKEN_CHARACTERS for block in blocks)


def _drawn_fields(model_input: dict[str, Any]) -> dict[str, object] | None:
    """Return the receipt in the text chunk of a drawn image, or None if the image does not have this chunk.

    Source: PNG Specification, "Chunk layout" and "tEXt Textual data".
    """
    encoded = [source.get("bytes", "") for source in image_sources(model_input)]
    content = base64.b64decode(encoded[0]) if encoded else b""
    position = len(PNG_SIGNATURE)
    while content.startswith(PNG_SIGNATURE) and position + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, position)
        data = content[position + 8 : position + 8 + length]
        keyword, _, text = data.partition(b"\0")
        if (kind, keyword) == (b"tEXt", RECEIPT_KEYWORD.encode()):
            return json.loads(text)
        # A checksum of four bytes follows the data.
        position += 8 + length + 4
    return None


def _kind(dice: random.Random) -> Kind:
    return dice.choices(list(SHARES), list(SHARES.values()))[0]


def error_reply(code: int, message: str) -> dict[str, Any]:
    """Return the part of an output line that follows the input of a failed record."""
    return {"error": {"errorCode": code, "errorMessage": message}}
