"""What a field of a model takes, in the words of somebody who sets it."""

from collections.abc import Iterator, Mapping
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin
from zoneinfo import ZoneInfo

from annotated_types import Ge, Gt, Le, MaxLen, MinLen
from pydantic import AfterValidator, Strict
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, to_json

NAMES: Mapping[object, str] = {
    bool: "`true` or `false`",
    int: "a whole number",
    str: "text",
    ZoneInfo: "the name of a time zone",
}


def takes(field: FieldInfo) -> str:
    """Return what values a field takes: their type, and within which bounds.

    Raises TypeError for a type or a rule that this module has no words for.
    """
    return " ".join([_type(field.annotation), *_bounds(field.metadata)])


def default(field: FieldInfo) -> str:
    """Return a field's default as it would be written, in backticks; `none` where it may be left out without one."""
    value = field.get_default()
    if value is PydanticUndefined:
        return "required"
    if value in (None, ()):
        return "none"
    return f"`{value if isinstance(value, str) else to_json(value).decode()}`"


def _type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return " ".join([_type(arguments[0]), *_bounds(arguments[1:])])
    if origin is Literal:
        return _choice(arguments)
    if origin is tuple:
        return f"a list of {_type(arguments[0])}"
    if NoneType in arguments:
        [given] = [argument for argument in arguments if argument is not NoneType]
        return _type(given)
    if annotation not in NAMES:
        raise TypeError(f"type {annotation!r} has no name in reference/fields.py: add one.")
    return NAMES[annotation]


def _choice(values: tuple[object, ...]) -> str:
    *most, last = [f"`{value}`" for value in values]
    return f"{', '.join(most)} or {last}" if most else last


def _bounds(metadata: Any) -> Iterator[str]:
    """Return the rules that pydantic keeps beside a type."""
    for rule in _flat(metadata):
        match rule:
            case Ge(ge=bound):
                yield f"from {bound}"
            case Gt(gt=bound):
                yield f"above {bound}"
            case Le(le=bound):
                yield f"up to {bound}"
            case MinLen(min_length=1):
                yield "that is not empty"
            case MinLen(min_length=length):
                yield f"of {length} or more"
            case MaxLen(max_length=length):
                yield f"of {length} or fewer"
            case _ if pattern := getattr(rule, "pattern", None):
                yield f"of the form `{pattern}`"
            case AfterValidator() | Strict():
                # What a function checks is said by the field's docstring; whether YAML may say 1 for true, by nobody.
                pass
            case _:
                raise TypeError(f"{rule!r} has no words in reference/fields.py: add them.")


def _flat(metadata: Any) -> Iterator[object]:
    """Return the rules, those within a nested `Field` among them."""
    for rule in metadata:
        yield from rule.metadata if isinstance(rule, FieldInfo) else (rule,)
