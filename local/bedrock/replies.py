"""What a model might reply to the image of a receipt: mostly the JSON object asked for, and all that is met otherwise.

The reply follows from the seed and the record's id alone, in whatever order records are asked about.
"""

import json
import random
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from local.receipts import nova_output, receipt_fields

CHARACTERS_PER_TOKEN = 3
INPUT_TOKENS = (900, 1500)
"""What an image and the prompt come to."""


class Kind(StrEnum):
    """How a reply came out."""

    GOOD = "good"
    FENCED = "fenced"
    CUT_SHORT = "cut short"
    PROSE = "prose"
    IMPOSSIBLE_DATE = "impossible date"
    ERROR = "error"


@dataclass(frozen=True)
class Mix:
    """The share of each kind of reply, between 0 and 1; what is left is good.

    `fenced`: good, in a code fence. `cut_short`: ended by `max_tokens`. `prose`: no JSON. `impossible_date`: JSON, with
    a date that no calendar has. `error`: none, since the model failed.
    """

    fenced: float = 0.05
    cut_short: float = 0.01
    prose: float = 0.01
    impossible_date: float = 0.01
    error: float = 0.01

    def weights(self) -> dict[Kind, float]:
        """Return the share of every kind."""
        others = {
            Kind.FENCED: self.fenced,
            Kind.CUT_SHORT: self.cut_short,
            Kind.PROSE: self.prose,
            Kind.IMPOSSIBLE_DATE: self.impossible_date,
            Kind.ERROR: self.error,
        }
        return {Kind.GOOD: 1 - sum(others.values()), **others}


@dataclass(frozen=True)
class Model:
    """A model that reads receipts."""

    seed: int = 1
    mix: Mix = field(default_factory=Mix)

    def kind_of(self, record_id: str) -> Kind:
        """Return how the reply to a record comes out."""
        return self._kind(self._dice(record_id))

    def outcome(self, record_id: str, model_input: dict[str, Any]) -> dict[str, Any]:
        """Return what a line of the output has beside id and input: `modelOutput` of Nova's form, or `error`.

        Of the input, only that it has messages is looked at. Source of both forms: Amazon Bedrock user guide, "View the
        results of a batch inference job".
        """
        if not isinstance(model_input.get("messages"), list):
            return _error(400, "Malformed input request: #: required key [messages] not found.")
        dice = self._dice(record_id)
        kind = self._kind(dice)
        fields = receipt_fields(dice)
        text = json.dumps(fields, ensure_ascii=False)
        stop_reason = "end_turn"
        match kind:
            case Kind.GOOD:
                pass
            case Kind.FENCED:
                text = f"```json\n{text}\n```"
            case Kind.CUT_SHORT:
                text, stop_reason = text[: len(text) // 2], "max_tokens"
            case Kind.PROSE:
                text = dice.choice(
                    ("この画像はレシートではないようです。", "I cannot read this receipt: the image is blurred.")
                )
            case Kind.IMPOSSIBLE_DATE:
                text = json.dumps({**fields, "date": "2026-02-30"}, ensure_ascii=False)
            case Kind.ERROR:
                return _error(500, "The model could not process the request.")
        tokens = dice.randrange(*INPUT_TOKENS), 1 + len(text) // CHARACTERS_PER_TOKEN
        return {"modelOutput": nova_output(text, stop_reason, *tokens)}

    def _dice(self, record_id: str) -> random.Random:
        return random.Random(f"{self.seed}:{record_id}")  # noqa: S311 - sample data

    def _kind(self, dice: random.Random) -> Kind:
        kinds = self.mix.weights()
        return dice.choices(list(kinds), list(kinds.values()))[0]


def _error(code: int, message: str) -> dict[str, Any]:
    return {"error": {"errorCode": code, "errorMessage": message}}
