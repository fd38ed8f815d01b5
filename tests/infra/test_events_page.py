import re
from pathlib import Path

from yorutsuke_common.names import LogEvent, ResultMetric, ScheduleMetric

PAGE = (Path(__file__).parents[2] / "docs" / "events.md").read_text()


def _first_cells(heading: str) -> list[str]:
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)


def test_page_lists_every_log_event() -> None:
    assert _first_cells("Log events") == [event.value for event in LogEvent]


def test_page_lists_every_metric() -> None:
    assert _first_cells("Metrics") == [metric.value for metrics in (ResultMetric, ScheduleMetric) for metric in metrics]
