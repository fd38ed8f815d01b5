"""The receipt in a model's reply."""

import json
from decimal import Decimal, DecimalException
from typing import NoReturn

from pydantic import ValidationError

from yorutsuke_common.schema import Reason, Receipt, problems

from .limits import MAX_VALUES, has_too_many_values
from .rejection import Rejection

FENCE = "```"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


# The standard parser, not pydantic's: only this one passes on a number's digits before they become a float.
_DECODER = json.JSONDecoder(parse_float=Decimal, parse_int=Decimal, parse_constant=_refuse_constant)


def parse_receipt(text: str) -> Receipt:
    """Return the receipt in a model's reply, with exact numbers.

    Raises:
        Rejection: The reply is not JSON, or is not a valid receipt.
    """
    if has_too_many_values(text):
        raise Rejection(Reason.INVALID_TRANSACTION, f"the model's reply has more than {MAX_VALUES} values")
    try:
        value = _DECODER.decode(_without_fence(text))
    except (ValueError, DecimalException, RecursionError) as exc:
        problem = exc.msg if isinstance(exc, json.JSONDecodeError) else type(exc).__name__
        raise Rejection(Reason.INVALID_AI_JSON, f"the model's reply is no JSON: {problem}") from exc
    try:
        return Receipt.model_validate(value)
    except ValidationError as exc:
        raise Rejection(Reason.INVALID_TRANSACTION, problems(exc.errors())) from exc


def _without_fence(text: str) -> str:
    """Return the content of the code fence if the whole reply is one, else the reply itself."""
    reply = text.strip()
    opening, newline, body = reply.partition("\n")
    language = opening.removeprefix(FENCE).strip()
    if newline and opening.startswith(FENCE) and body.endswith(FENCE) and (language.isalnum() or not language):
        return body.removesuffix(FENCE)
    return text
