"""Sentences about validation errors."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core.core_schema import ErrorType

from yorutsuke_common.schema import BatchJob, RecordCounts, SubmitRequest
from yorutsuke_common.validation import RULES, describe_errors, json_problem, json_type


class Strict(BaseModel):
    """A model without further fields, strict as the local stage's file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    pid: int = Field(gt=1, lt=10, default=2)
    names: tuple[str, ...] = Field(min_length=1, default=("a",))
    url: str = Field(pattern="^https:", default="https:")
    share: float = Field(allow_inf_nan=False, default=0.5)


def described(validate: Callable[[], object], *subject: str) -> str:
    with pytest.raises(ValidationError) as raised:
        validate()
    return describe_errors(raised.value, *subject)


def test_every_rule_names_a_pydantic_error_type() -> None:
    assert RULES.keys() <= {*get_args(ErrorType)}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"pid": 1}, "pid: must be greater than 1"),
        ({"pid": 10}, "pid: must be less than 10"),
        ({"pid": "7"}, "pid: must be a whole number, not text"),
        ({"pid": None}, "pid: must be a whole number, not null"),
        ({"pid": True}, "pid: must be a whole number, not a boolean"),
        ({"pid": 7.5}, "pid: must be a whole number"),
        ({"names": ()}, "names: must have 1 or more entries"),
        ({"names": "a"}, "names: must be an array, not text"),
        ({"url": "http:"}, "url: must match ^https:"),
        ({"share": float("nan")}, "share: must be a finite number"),
        ({"share": "0.5"}, "share: is not valid (float_type)"),
        ({"other": "secret"}, "other: is not a known field"),
    ],
)
def test_description_names_field_rule_and_type(fields: dict[str, object], text: str) -> None:
    assert described(lambda: Strict.model_validate(fields)) == text


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("[]", "the output manifest must be an object, not an array"),
        ("7", "the output manifest must be an object, not a number"),
        ("", "the output manifest is not valid JSON (line 1, column 0: the text ends inside a value)"),
        ('{"a":\n x', "the output manifest is not valid JSON (line 2, column 2: expected a value)"),
        (
            '{"totalRecordCount": "x", "processedRecordCount": 1.5, "successRecordCount": -1}',
            (
                "totalRecordCount: must be a whole number; processedRecordCount: must be a whole number; "
                "successRecordCount: must be at least 0; errorRecordCount: is missing"
            ),
        ),
    ],
)
def test_description_of_json_names_the_subject(content: str, text: str) -> None:
    assert described(lambda: RecordCounts.model_validate_json(content), "the output manifest") == text


def test_description_never_quotes_the_input() -> None:
    request = {"intentId": "secret/1", "pendingImageIds": ["secret" * 1_000] * 10_000, "userId": ["secret"]}

    text = described(lambda: SubmitRequest.model_validate(request))

    assert text == (
        "intentId: must have 1 to 128 letters, digits, dots, hyphens or underscores, a letter or digit first; "
        "pendingImageIds.0: must have 1024 or fewer bytes, not 6000; userId: must be text, not an array"
    )


def test_description_of_a_record_names_nested_fields() -> None:
    job: dict[str, Any] = {"intentId": "i", "jobId": "j", "userId": "", "status": "COMPLETED", "submitTime": "t"}

    text = described(lambda: BatchJob.model_validate({**job, "resultStats": {"successCount": Decimal("1.5")}}))

    assert text.startswith("userId: must have 1 or more characters; resultStats.successCount: must be a whole number; ")


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, "null"),
        (False, "a boolean"),
        (0, "a number"),
        (0.5, "a number"),
        (Decimal(1), "a number"),
        ("", "text"),
        ({}, "an object"),
        ([], "an array"),
        ((), "an array"),
        (b"", "a value of the type bytes"),
    ],
)
def test_json_type_names_every_type(value: object, name: str) -> None:
    assert json_type(value) == name


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"a":\n {"b": 1', "line 2, column 8: the text ends inside an object"),
        (b"[1", "line 1, column 2: the text ends inside an array"),
        (b'["a', "line 1, column 3: the text ends inside a string"),
        (b"", "line 1, column 0: the text ends inside a value"),
        (b"hello", "line 1, column 1: expected a value"),
        (b"not json", "line 1, column 2: expected true, false or null"),
        (b"{a: 1}", "line 1, column 2: expected a key in double quotes"),
        (b'{"a" 1}', "line 1, column 6: expected `:`"),
        (b"[1 2]", "line 1, column 4: expected `,` or `]`"),
        (b"[1,]", "line 1, column 4: expected another entry after the comma"),
        (b"{} {}", "line 1, column 4: expected the end of the text"),
        (b'"\xff"', "line 1, column 2: text is not valid UTF-8"),
        (rb'"\ud800"', "line 1, column 8: a Unicode escape is incomplete"),
        (rb'"\ud800\u0041"', "line 1, column 13: a Unicode escape is incomplete"),
        (b'"\x01"', "line 1, column 2: text has an unescaped control character"),
        (b"[" * 300, "line 1, column 202: arrays or objects are nested too deeply"),
    ],
)
def test_json_problem_explains_the_parsers_message(content: bytes, problem: str) -> None:
    with pytest.raises(ValidationError) as raised:
        RecordCounts.model_validate_json(content)

    [error] = raised.value.errors()
    assert json_problem(error.get("ctx", {})["error"]) == problem


def test_json_problem_keeps_an_unknown_message() -> None:
    assert json_problem("number out of range at line 3 column 12") == "line 3, column 12: number out of range"
