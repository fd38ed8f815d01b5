"""JSON with exact numbers, in which each key of an object occurs once.

Only the standard parser passes on a number's digits before they become a float, and repeated keys. pydantic's parser
does neither.
"""

import json
from collections import Counter
from collections.abc import Callable
from decimal import Decimal, DecimalException
from typing import Any, NoReturn, TypeVar

from yorutsuke_common.schema import Reason, Receipt

from .rejection import Rejection

_T = TypeVar("_T")


def decode(text: str) -> Any:
    """Return the value of a text, with numbers as `Decimal`. Raises Rejection (INVALID_AI_JSON)."""
    return _checked(lambda: _DECODER.decode(text))


def decode_object(text: str, start: int) -> tuple[Any, int]:
    """Return the object that starts at a position in a text, and the position after it.

    Raises:
        Rejection: INVALID_AI_JSON: the text has no complete JSON object there, or the object repeats a key.
    """
    return _checked(lambda: _DECODER.raw_decode(text, start))


def _checked(parse: Callable[[], _T]) -> _T:
    try:
        return parse()
    except (ValueError, DecimalException, RecursionError) as exc:
        raise Rejection(Reason.INVALID_AI_JSON, f"the model's reply is not valid JSON ({_problem(exc)})") from exc


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


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=Decimal, parse_int=Decimal, parse_constant=_refuse_constant
)


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
