"""The alarms that docs/events.md describes."""

import re
from dataclasses import dataclass

from .documented import ROOT

PAGE = (ROOT / "docs" / "events.md").read_text()
OTHER_TRIGGER = " with `trigger: s3`"


@dataclass(frozen=True)
class AlarmDefinition:
    """The definition of an alarm. `dimensions` have STAGE in place of the stage's name."""

    namespace: str
    metrics: tuple[str, ...]
    dimensions: frozenset[tuple[str, str]]
    statistic: str
    threshold: float
    periods: int
    missing_data: str


def alarm_situations(trigger: str = "sqs") -> dict[str, tuple[str, str]]:
    """Return the situation in which an alarm's metric changes and its source, by alarm."""
    return {name: (situation, source) for name, (situation, source) in _rows("## Alarms", trigger).items()}


def alarm_definitions(trigger: str = "sqs") -> dict[str, AlarmDefinition]:
    """Return the definitions, by alarm."""
    definitions: dict[str, AlarmDefinition] = {}
    for name, (metric, dimensions, statistic, threshold, periods, missing_data) in _rows(
        "### Definitions", trigger
    ).items():
        namespace, *metrics = re.findall(r"`([^`]+)`", metric)
        pairs = [span.partition("=") for span in re.findall(r"`([^`]+)`", dimensions)]
        definitions[name] = AlarmDefinition(
            namespace=namespace,
            metrics=tuple(metrics),
            dimensions=frozenset((dimension, value) for dimension, _, value in pairs),
            statistic=statistic,
            threshold=float(threshold),
            periods=int(periods),
            missing_data=missing_data.strip("`"),
        )
    return definitions


def _rows(heading: str, trigger: str) -> dict[str, list[str]]:
    """Return the other cells of each row of a section's table, by the alarm in the first cell.

    A row for `trigger: s3` replaces the row of the same alarm, with that trigger only.
    """
    lines = PAGE.partition(f"{heading}\n")[2].partition("\n#")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]
    names = [name for name, *_ in cells]
    assert len(names) == len({*names})
    common = {name.strip("`"): rest for name, *rest in cells if OTHER_TRIGGER not in name}
    other = {name.removesuffix(OTHER_TRIGGER).strip("`"): rest for name, *rest in cells if OTHER_TRIGGER in name}
    return {**common, **(other if trigger == "s3" else {})}
