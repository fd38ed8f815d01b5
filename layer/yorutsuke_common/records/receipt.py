"""The receipt in a model's reply."""

import json
from collections import Counter
from decimal import Decimal, DecimalException
from typing import Any, NoReturn

from pydantic import ValidationError

from yorutsuke_common.schema import Reason, Receipt
from yorutsuke_common.validation import describe_errors

from .limits import MAX_VALUES, has_too_many_values
from .rejection import Rejection

FENCE = "```"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object. Refuse a repeated key, because either value may be the one on the receipt."""
    value = dict(members)
    if len(value) < len(members):
        counts = Counter(key for key, _ in members)
        fields = ", ".join(field for field in Receipt.model_fields if counts[field] > 1)
        repeated = fields or "a key that a receipt does not have"
        detail = f"an object in the model's reply must have each key once, but repeats {repeated}"
        raise Rejection(Reason.INVALID_AI_JSON, detail)
    return value


# Only the standard parser passes on a number's digits before they become a float, and repeated keys. pydantic's parser
# does neither.
_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=Decimal, parse_int=Decimal, parse_constant=_refuse_constant
)


def parse_receipt(text: str, latest_date: str) -> Receipt:
    """Return the receipt in a model's reply, with exact numbers.

    Args:
        text: The reply.
        latest_date: The latest date that the receipt may have, YYYY-MM-DD.

    Raises:
        Rejection: The reply is not JSON, repeats a key, or is not a valid receipt.
    """
    if has_too_many_values(text):
        raise Rejection(Reason.INVALID_TRANSACTION, f"the model's reply must have {MAX_VALUES} or fewer values")
    try:
        value = _DECODER.decode(_without_fence(text))
    except (ValueError, DecimalException, RecursionError) as exc:
        raise Rejection(Reason.INVALID_AI_JSON, f"the model's reply is not valid JSON ({_problem(exc)})") from exc
    try:
        receipt = Receipt.model_validate(value)
    except ValidationError as exc:
        raise Rejection(Reason.INVALID_TRANSACTION, describe_errors(exc, "the model's reply")) from exc
    if receipt.date > latest_date:
        detail = f"date: must be at most {latest_date}, one day after the output file was written"
        raise Rejection(Reason.INVALID_TRANSACTION, detail)
    return receipt


def _problem(error: Exception) -> str:
    """Return the reason why a reply is not JSON, without a value of the reply."""
    match error:
        case json.JSONDecodeError(msg=message, lineno=line, colno=column):
            problem = message.replace("Expecting value", "expected a value").replace("Expecting", "expected")
            problem = problem.removesuffix(" at").removesuffix(" starting")
            return f"line {line}, column {column}: {problem[0].lower()}{problem[1:]}"
        case RecursionError():
            return "its arrays or objects are nested too deeply"
        case DecimalException():
            return "the exponent of a number is out of range"
        case _:
            return "NaN and Infinity are not JSON numbers"


def _without_fence(text: str) -> str:
    """Return the content of the code fence if the complete reply is one, else the reply itself."""
    reply = text.strip()
    opening, newline, body = reply.partition("\n")
    language = opening.removeprefix(FENCE).strip()
    if newline and opening.startswith(FENCE) and body.endswith(FENCE) and (language.isalnum() or not language):
        return body.removesuffix(FENCE)
    return text
