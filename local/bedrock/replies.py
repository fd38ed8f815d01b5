"""Replies that a model may give to the image of a receipt: mostly the JSON object asked for, and its known failures.

A reply has the form of Amazon Nova, whatever the job's model. It depends only on the seed and the record's id, so the
order of the records does not matter.
"""

import json
import random
from enum import StrEnum
from typing import Any

from local.receipts import nova_output, receipt_fields

SEED = 1
CHARACTERS_PER_TOKEN = 3
INPUT_TOKENS = (900, 1500)
"""Range of the tokens that an image and the prompt take."""
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


def kind_of(record_id: str) -> Kind:
    """Return the kind of the reply to a record."""
    return _kind(seeded_dice(record_id))


def reply(record_id: str, model_input: dict[str, Any]) -> dict[str, Any]:
    """Return the part of an output line that follows the input: `modelOutput` in Nova's form, or `error`.

    Source: Amazon Bedrock user guide, "View the results of a batch inference job".
    """
    if not isinstance(model_input.get("messages"), list):
        return _error(400, "Malformed input request: #: required key [messages] not found.")
    dice = seeded_dice(record_id)
    kind = _kind(dice)
    fields = receipt_fields(dice)
    text, stop_reason = json.dumps(fields, ensure_ascii=False), "end_turn"
    match kind:
        case Kind.GOOD:
            pass
        case Kind.FENCED:
            text = f"```json\n{text}\n```"
        case Kind.CUT_SHORT:
            text, stop_reason = text[: len(text) // 2], "max_tokens"
        case Kind.PROSE:
            text = dice.choice(PROSE)
        case Kind.IMPOSSIBLE_DATE:
            text = json.dumps({**fields, "date": "2026-02-30"}, ensure_ascii=False)
        case Kind.ERROR:
            return _error(500, "The model could not process the request.")
    tokens = dice.randrange(*INPUT_TOKENS), 1 + len(text) // CHARACTERS_PER_TOKEN
    return {"modelOutput": nova_output(text, stop_reason, *tokens)}


def seeded_dice(name: str) -> random.Random:
    """Return a random generator that is the same for the same name."""
    return random.Random(f"{SEED}:{name}")  # noqa: S311 - sample data


def _kind(dice: random.Random) -> Kind:
    return dice.choices(list(SHARES), list(SHARES.values()))[0]


def _error(code: int, message: str) -> dict[str, Any]:
    return {"error": {"errorCode": code, "errorMessage": message}}
