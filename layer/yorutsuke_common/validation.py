"""Sentences about pydantic's validation errors: the field, the rule and the JSON type that was found. Pure.

pydantic's own messages name Python types, and some of them quote the input. The sentences of this module name the
input's fields and do not quote its values, because they may reach a log or a dead letter. A validator's own ValueError
is passed on. A validator of a record's fields must therefore not quote its value.
"""

from collections.abc import Mapping
from decimal import Decimal
from types import NoneType
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

RULES = {
    "missing": "is missing",
    "extra_forbidden": "is not a known field",
    "json_invalid": "is not valid JSON ({error})",
    "value_error": "{error}",
    "model_type": "must be an object, not {found}",
    "dict_type": "must be an object, not {found}",
    "list_type": "must be an array, not {found}",
    "tuple_type": "must be an array, not {found}",
    "too_short": "must have {min_length} or more entries",
    "too_long": "must have {max_length} or fewer entries",
    "string_type": "must be text, not {found}",
    "string_unicode": "must be valid Unicode text",
    "string_too_short": "must have {min_length} or more characters",
    "string_too_long": "must have {max_length} or fewer characters",
    "string_pattern_mismatch": "must match {pattern}",
    "bool_type": "must be true or false",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    # The amount of a receipt is the only field that must be an instance of a class, `Decimal`.
    "is_instance_of": "must be a number, not {found}",
    "int_type": "must be a whole number, not {found}",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number with fewer digits",
    "int_from_float": "must be a whole number",
    "finite_number": "must be a finite number",
    "decimal_max_digits": "must have {max_digits} or fewer digits",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
}
"""The rule of each error type. Its placeholders are the keys of the error's context, and `found`, the input's JSON
type.

Source: `pydantic_core.core_schema.ErrorType`, and pydantic's documentation, "Validation Errors".
"""
OTHER_RULE = "is not valid ({type})"
JSON_PROBLEMS = {
    "EOF while parsing a list": "the text ends inside an array",
    "EOF while parsing an object": "the text ends inside an object",
    "EOF while parsing a string": "the text ends inside a string",
    "EOF while parsing a value": "the text ends inside a value",
    "expected value": "expected a value",
    "expected ident": "expected true, false or null",
    "key must be a string": "expected a key in double quotes",
    "trailing comma": "expected another entry after the comma",
    "trailing characters": "expected the end of the text",
    "invalid unicode code point": "text is not valid UTF-8",
    "unexpected end of hex escape": "a Unicode escape is incomplete",
    "lone leading surrogate in hex escape": "a Unicode escape is incomplete",
    "control character (\\u0000-\\u001F) found while parsing a string": "text has an unescaped control character",
    "recursion limit exceeded": "arrays or objects are nested too deeply",
}
"""Sentences for those messages of pydantic's JSON parser that need an explanation. Other messages stay as they are.

Source: the messages of `JsonErrorType` in the crate jiter.
"""
JSON_TYPES: Mapping[Any, str] = {
    NoneType: "null",
    # A boolean is also an integer in Python.
    bool: "a boolean",
    int | float | Decimal: "a number",
    str: "text",
    Mapping: "an object",
    list: "an array",
    tuple: "an array",
}


def describe_errors(error: ValidationError, subject: str = "it") -> str:
    """Return the errors of a validation as one text, such as `amount: must be a number, not text; date: is missing`.

    `subject` names the complete input, in a sentence about it.
    """
    errors = error.errors(include_url=False, include_input=False)
    # pydantic converts the inputs to Python objects only if a rule needs them: a line may have 32 MB.
    if any("{found}" in RULES.get(each["type"], "") for each in errors):
        errors = error.errors(include_url=False)
    return "; ".join(
        f"{'.'.join(map(str, each['loc']))}: {broken_rule(each)}" if each["loc"] else f"{subject} {broken_rule(each)}"
        for each in errors
    )


def json_type(value: object) -> str:
    """Return the name of a value's JSON type, with its article."""
    names = (name for kind, name in JSON_TYPES.items() if isinstance(value, kind))
    return next(names, f"a value of the type {type(value).__name__}")


def json_problem(message: str) -> str:
    """Return a JSON parser's message, such as `expected value at line 1 column 2`, as a sentence after the position."""
    problem, _, position = message.rpartition(" at ")
    return f"{position.replace(' column', ', column')}: {JSON_PROBLEMS.get(problem, problem)}"


def broken_rule(error: ErrorDetails) -> str:
    """Return the rule that an input breaks, such as `must be a number, not text`."""
    context: dict[str, Any] = error.get("ctx", {})
    if error["type"] == "json_invalid":
        context = {"error": json_problem(context["error"])}
    rule = RULES.get(error["type"], OTHER_RULE)
    if error["type"] == "int_type" and isinstance(error.get("input"), float):
        # Strict validation reports a fraction by its type. It is a number, so only the rule helps.
        rule = RULES["int_parsing"]
    return rule.format_map({"type": error["type"], "found": json_type(error.get("input")), **context})
