"""Replies that a model may give to the image of a receipt: mostly the JSON object asked for, and its known failures.

A reply has the form of Amazon Nova or of Converse, which adds `metrics`. Its text depends only on the seed and the
record's id, so the order of the records does not matter.
"""

import json
import random
from enum import StrEnum
from typing import Any

from local.receipts import nova_output, receipt_fields

from .model_requests import CONVERSE, INVOKE_MODEL, request_problem

SEED = 1
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


def reply(
    record_id: str, model_input: dict[str, Any], model_id: str, invocation_type: str = INVOKE_MODEL
) -> dict[str, Any]:
    """Return the part of an output line that follows the input: `modelOutput`, or `error`.

    Sources: Amazon Bedrock user guide, "View the results of a batch inference job"; Amazon Bedrock API reference,
    Converse.
    """
    if problem := request_problem(model_input, model_id, invocation_type):
        return _error(400, problem)
    dice = seeded_dice(record_id)
    kind, fields = _kind(dice), receipt_fields(dice)
    if kind is Kind.ERROR:
        return _error(500, "The model could not process the request.")
    good = json.dumps(fields, ensure_ascii=False)
    texts = {
        Kind.FENCED: f"```json\n{good}\n```",
        Kind.CUT_SHORT: good[: len(good) // 2],
        Kind.PROSE: dice.choice(PROSE),
        Kind.IMPOSSIBLE_DATE: json.dumps({**fields, "date": "2026-02-30"}, ensure_ascii=False),
    }
    output = nova_output(texts.get(kind, good), "max_tokens" if kind is Kind.CUT_SHORT else "end_turn")
    return {"modelOutput": output | ({"metrics": {"latencyMs": 1}} if invocation_type == CONVERSE else {})}


def seeded_dice(name: str) -> random.Random:
    """Return a random generator that is the same for the same name."""
    return random.Random(f"{SEED}:{name}")  # noqa: S311 - sample data


def _kind(dice: random.Random) -> Kind:
    return dice.choices(list(SHARES), list(SHARES.values()))[0]


def _error(code: int, message: str) -> dict[str, Any]:
    return {"error": {"errorCode": code, "errorMessage": message}}
