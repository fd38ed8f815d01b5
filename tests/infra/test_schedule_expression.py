"""The expressions of schedules that EventBridge Scheduler accepts.

Source: EventBridge Scheduler user guide, "Schedule types in EventBridge Scheduler".
"""

import re

import pytest

from yorutsuke_infra.schedule_expression import check_schedule


@pytest.mark.parametrize(
    "expression",
    [
        "rate(1 day)",
        "rate(1 hours)",
        "rate(12 hours)",
        "rate(30 minutes)",
        "cron(0 22 * * ? *)",
        "cron(0  22 * * ? *)",
        "cron(15 10 ? * 6L 2022-2023)",
        "cron(0/15 8-20/2 ? * MON-FRI *)",
        "cron(0 0,12 L * ? *)",
        "cron(0 10 LW 1-6 ? *)",
        "cron(0 10 3W JAN,JUL ? 2030)",
        "cron(0 10 ? * 2#1 *)",
        "cron(5,35 14 * * ? *)",
        "cron(0 10 1/7 * ? 1970-2199)",
    ],
)
def test_documented_expression_is_accepted(expression: str) -> None:
    assert check_schedule(expression) == expression


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "22:00",
        "rate(0 days)",
        "rate(-1 days)",
        "rate(1.5 hours)",
        "rate(1 week)",
        "rate(day)",
        "rate(1  day)",
        "rate(1 day) ",
        "RATE(1 day)",
        "at(2026-12-01T22:00:00)",
        "0 22 * * ? *",
        f"cron({'0,' * 128}0 22 * * ? *)",
    ],
)
def test_other_expression_is_refused_with_examples(expression: str) -> None:
    with pytest.raises(ValueError, match=r"must be rate\(value unit\), such as rate\(1 day\), or cron\(fields\)"):
        check_schedule(expression)


@pytest.mark.parametrize(("expression", "count"), [("cron()", 0), ("cron(0 22 * * ?)", 5), ("cron(0 0 22 * * ? *)", 7)])
def test_cron_expression_must_have_six_fields(expression: str, count: int) -> None:
    with pytest.raises(ValueError, match=f"must have six fields, not {count}: minutes, hours, day-of-month"):
        check_schedule(expression)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ("60 22 * * ? *", "minutes, not 60"),
        ("? 22 * * ? *", "minutes, not ?"),
        ("0 24 * * ? *", "hours, not 24"),
        ("0 8-20-2 * * ? *", "hours, not 8-20-2"),
        ("0 22 32 * ? *", "day-of-month, not 32"),
        ("0 22 0 * ? *", "day-of-month, not 0"),
        ("0 22 MON * ? *", "day-of-month, not MON"),
        ("0 22 * 13 ? *", "month, not 13"),
        ("0 22 * ? ? *", "month, not ?"),
        ("0 22 ? * 0 *", "day-of-week, not 0"),
        ("0 22 ? * 8 *", "day-of-week, not 8"),
        ("0 22 ? * 2#6 *", "day-of-week, not 2#6"),
        ("0 22 ? * mon *", "day-of-week, not mon"),
        ("0 22 * * ? 1969", "year, not 1969"),
        ("0 22 * * ? 2200", "year, not 2200"),
        ("0, 22 * * ? *", "minutes, not 0,"),
        ("*/ 22 * * ? *", "minutes, not */"),
    ],
)
def test_invalid_cron_field_is_named(fields: str, field: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"must have a valid {field}. Write each field")):
        check_schedule(f"cron({fields})")


@pytest.mark.parametrize("expression", ["cron(0 22 * * * *)", "cron(0 22 1 * MON *)", "cron(0 22 ? * ? *)"])
def test_one_day_field_must_be_a_question_mark(expression: str) -> None:
    with pytest.raises(ValueError, match=r"must have \? as the day-of-month or the day-of-week, and not as both"):
        check_schedule(expression)
