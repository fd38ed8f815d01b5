"""A field's rules, in words: none of them is left out."""

from typing import Annotated, Literal

import pytest
from annotated_types import MultipleOf
from pydantic import BaseModel, ConfigDict, Field

from reference.fields import default, takes


class Kettle(BaseModel):
    model_config = ConfigDict(strict=True)

    litres: Annotated[int, Field(ge=1, le=3)] = 2
    watts: int = Field(alias="WATTS", gt=0)
    colour: Literal["red", "blue"] = "red"
    whistles: bool = False
    owners: Annotated[tuple[Annotated[str, Field(pattern="^[a-z]+$")], ...], Field(strict=False, min_length=1)] = ()
    motto: str | None = None
    steps: Annotated[int, MultipleOf(2)] = 2
    weight: float = 1.5


@pytest.mark.parametrize(
    ("name", "words", "written"),
    [
        ("litres", "a whole number from 1 up to 3", "`2`"),
        ("watts", "a whole number above 0", "required"),
        ("colour", "`red` or `blue`", "`red`"),
        ("whistles", "`true` or `false`", "`false`"),
        ("owners", "a list of text of the form `^[a-z]+$` that is not empty", "none"),
        ("motto", "text", "none"),
    ],
)
def test_a_field_says_what_it_takes_and_what_it_is_otherwise(name: str, words: str, written: str) -> None:
    field = Kettle.model_fields[name]

    assert (takes(field), default(field)) == (words, written)


@pytest.mark.parametrize(("name", "unknown"), [("steps", "MultipleOf"), ("weight", "float")])
def test_a_rule_or_a_type_without_words_is_an_error(name: str, unknown: str) -> None:
    with pytest.raises(TypeError, match=rf"{unknown}.* reference/fields.py: add"):
        takes(Kettle.model_fields[name])
