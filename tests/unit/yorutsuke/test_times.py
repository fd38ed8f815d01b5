from datetime import timedelta

import pytest

from yorutsuke.times import age, parse_span, span


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2d", timedelta(days=2)),
        ("12h", timedelta(hours=12)),
        ("90m", timedelta(minutes=90)),
        ("3650d", timedelta(days=3650)),
    ],
)
def test_span_is_a_number_and_a_unit(text: str, expected: timedelta) -> None:
    assert parse_span(text) == expected


@pytest.mark.parametrize("text", ["", "2", "d", "2w", "-1d", "1.5h", "2 d", "9999999d", "999999d", "3651d"])
def test_invalid_span_is_refused_with_the_rule(text: str) -> None:
    with pytest.raises(ValueError, match="Write a number and d, h or m"):
        parse_span(text)


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172_800, "2 d")]
)
def test_span_is_shown_in_its_largest_unit(seconds: float, expected: str) -> None:
    assert span(seconds) == expected


def test_age_of_an_unknown_time_is_unknown() -> None:
    assert age(None) is None
