"""The expressions of EventBridge Scheduler for a recurring schedule.

Sources: EventBridge Scheduler user guide, "Schedule types in EventBridge Scheduler"; EventBridge Scheduler API
reference, CreateSchedule (`ScheduleExpression`).
"""

import re

RATE = re.compile(r"rate\([1-9][0-9]* (minute|hour|day)s?\)")
CRON = re.compile(r"cron\((.*)\)")
MONTHS = "JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC"
DAYS = "SUN|MON|TUE|WED|THU|FRI|SAT"
MAX_CHARACTERS = 256
"""Maximum length of an expression, in characters."""


def _list_of(value: str) -> str:
    """Return the pattern of a list of values, of ranges and of `*`. Each may have an increment."""
    entry = rf"(\*|({value})(-({value}))?)(/[0-9]+)?"
    return rf"{entry}(,{entry})*"


_DAY_OF_MONTH = "0?[1-9]|[12][0-9]|3[01]"
_DAY_OF_WEEK = f"[1-7]|{DAYS}"
FIELDS = {
    "minutes": _list_of("[0-5]?[0-9]"),
    "hours": _list_of("[01]?[0-9]|2[0-3]"),
    "day-of-month": rf"\?|LW?|({_DAY_OF_MONTH})W|{_list_of(_DAY_OF_MONTH)}",
    "month": _list_of(f"0?[1-9]|1[0-2]|{MONTHS}"),
    "day-of-week": rf"\?|({_DAY_OF_WEEK})?L|({_DAY_OF_WEEK})#[1-5]|{_list_of(_DAY_OF_WEEK)}",
    "year": _list_of("19[7-9][0-9]|2[01][0-9][0-9]"),
}
"""The pattern of each field of a cron expression, in the order of the fields."""


def check_schedule(expression: str) -> str:
    """Return a recurring schedule expression.

    Raises:
        ValueError: EventBridge Scheduler would refuse the expression.
    """
    cron = CRON.fullmatch(expression)
    if len(expression) > MAX_CHARACTERS or not (cron or RATE.fullmatch(expression)):
        raise ValueError(
            "must be rate(value unit), such as rate(1 day), or cron(fields), such as cron(0 22 * * ? *). The units are "
            "minutes, hours and days"
        )
    if cron:
        _check_fields(cron[1].split())
    return expression


def _check_fields(fields: list[str]) -> None:
    if len(fields) != len(FIELDS):
        raise ValueError(f"must have six fields, not {len(fields)}: {', '.join(FIELDS)}. Write cron(0 22 * * ? *)")
    for (name, pattern), field in zip(FIELDS.items(), fields, strict=True):
        if not re.fullmatch(pattern, field):
            raise ValueError(f"must have a valid {name}, not {field}. Write each field as EventBridge Scheduler does")
    if (fields[2] == "?") == (fields[4] == "?"):
        raise ValueError(
            "must have ? as the day-of-month or the day-of-week, and not as both. Write cron(0 22 * * ? *)"
        )
