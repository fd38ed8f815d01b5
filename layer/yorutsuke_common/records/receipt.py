"""The receipt in a model's reply."""

import re
from typing import Any

from pydantic import ValidationError

from yorutsuke_common.schema import Reason, Receipt
from yorutsuke_common.validation import describe_errors

from .exact_json import decode_object
from .limits import MAX_VALUES, has_too_many_values
from .rejection import Rejection

_BEGINNING = re.compile(
    r"""<(?P<tag>thinking|think|reasoning)\b[^<>]{0,100}+>
    | </(?:thinking|think|reasoning)>
    | \{ \s*+ (?: \} | "[^"\\]*+(?:\\.[^"\\]*+)*+" \s*+ : \s*+
        (?: [^\w\s<‹.…] | \d | true | false | null | NaN | Infinity ) )
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
"""A tag of a model's reasoning, or the beginning of an object: a brace, a key, and a character that may begin a value.

Any other brace is prose, also in a template such as `{"amount": number}` or `{"amount": <number>}`. The quantifiers are
possessive or bounded, so the search takes a time proportional to the text.
"""
_ALMOST_RECEIPT = re.compile(r"[{｛][^{}｛｝]{0,300}?amount[^\w{}｛｝]{0,20}\d", re.IGNORECASE)
"""A receipt that is not JSON, such as `{'amount': 900}` or `{amount: ¥900}`: a brace, and an amount with a number."""


def parse_receipt(source: object, latest_date: str) -> Receipt:
    """Return the receipt in a model's reply, with exact numbers.

    Args:
        source: The text of the reply, or the input of its tool use.
        latest_date: The latest date that the receipt may have, YYYY-MM-DD.

    Raises:
        Rejection: The reply does not hold one JSON object, repeats a key, or is not a valid receipt.
    """
    value = _only_object(source) if isinstance(source, str) else source
    try:
        receipt = Receipt.model_validate(value)
    except ValidationError as exc:
        raise Rejection(Reason.INVALID_TRANSACTION, describe_errors(exc, "the model's reply")) from exc
    if receipt.date > latest_date:
        detail = f"date: must be at most {latest_date}, one day after the output file was written"
        raise Rejection(Reason.INVALID_TRANSACTION, detail)
    return receipt


def _only_object(text: str) -> Any:
    """Return the JSON object in a text, outside of the model's reasoning. Text, fences and brackets may surround it.

    Raises:
        Rejection: The text has no object, more than one, or the beginning of one that is not valid JSON.
    """
    if has_too_many_values(text):
        raise Rejection(Reason.INVALID_TRANSACTION, f"the model's reply must have {MAX_VALUES} or fewer values")
    found: Any = None
    prose: list[str] = []
    count = position = 0
    while beginning := _BEGINNING.search(text, position):
        prose.append(text[position : beginning.start()])
        if tag := beginning["tag"]:
            # Reasoning without an end is the rest of the text.
            end = re.compile(f"</{tag}>", re.IGNORECASE).search(text, beginning.end())
            position = end.end() if end else len(text)
        elif beginning[0].startswith("<"):
            # The tag at the beginning of the reasoning may be part of the prompt.
            count, position = 0, beginning.end()
        else:
            found, position = decode_object(text, beginning.start())
            count += 1
    prose.append(text[position:])
    if count == 1 and any(map(_ALMOST_RECEIPT.search, prose)):
        raise Rejection(Reason.INVALID_AI_JSON, "the reply holds a JSON object and a receipt that is not valid JSON")
    if count != 1:
        if not text.strip():
            raise Rejection(Reason.INVALID_AI_JSON, "the reply is empty")
        held = f"{count} JSON objects" if count else "no JSON object"
        raise Rejection(Reason.INVALID_AI_JSON, f"the reply holds {held}, and must hold one")
    return found
