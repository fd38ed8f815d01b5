"""The widgets of a dashboard and where they lie. Pure: names and ARNs in, a dashboard body out.

Serialise a body with `pulumi.Output.json_dumps`.

Source: Amazon CloudWatch user guide, "Dashboard body structure and syntax".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pulumi import Input, Output

from .metrics import PERIOD_SECONDS, Metric, Rate

Widget = dict[str, Any]
Document = dict[str, Any]
Lines = Mapping[str, Metric | Rate]
"""What is shown, by its label."""

COLUMNS = 24
LIMIT_COLOR = "#d62728"


@dataclass(frozen=True)
class Row:
    """Widgets side by side, each with its width in columns; together they fill all of them."""

    height: int
    widgets: Sequence[tuple[int, Widget]]


def dashboard_body(rows: Sequence[Row], start: str) -> Document:
    """Return a dashboard of rows, one below the other; `start` is where its time begins, such as -PT24H."""
    widgets: list[Widget] = []
    top = 0
    for row in rows:
        left = 0
        for width, widget in row.widgets:
            widgets.append({**widget, "x": left, "y": top, "width": width, "height": row.height})
            left += width
        top += row.height
    # Inherited, a period is what the widget says, however much time is shown: points stay those that alarms judge.
    return {"start": start, "periodOverride": "inherit", "widgets": widgets}


def thirds(height: int, left: Widget, middle: Widget, right: Widget) -> Row:
    """Return a row of three widgets of the same width."""
    return Row(height, [(COLUMNS // 3, widget) for widget in (left, middle, right)])


def alarm_states(title: str, arns: Sequence[Input[str]]) -> Widget:
    """Show alarms, those that ring first."""
    return {
        "type": "alarm",
        "properties": {"title": title, "alarms": list(arns), "sortBy": "stateUpdatedTimestamp"},
    }


@dataclass(frozen=True)
class Widgets:
    """Makes widgets that show the metrics and the log entries of one region."""

    region: Input[str]

    def totals(self, title: str, lines: Lines) -> Widget:
        """Show one number each for all the time that the dashboard shows."""
        return self._metrics(title, lines, view="singleValue", setPeriodToTimeRange=True)

    def latest(self, title: str, lines: Lines) -> Widget:
        """Show one number each, the latest."""
        return self._metrics(title, lines, view="singleValue")

    def graph(self, title: str, unit: str, lines: Lines, limits: Mapping[str, float] | None = None) -> Widget:
        """Draw lines over the periods that alarms judge, and limits by their labels."""
        widget = self._metrics(title, lines, view="timeSeries", yAxis=_axis(unit))
        if limits:
            horizontal = [
                {"label": label, "value": value, "color": LIMIT_COLOR, "yAxis": "left"}
                for label, value in limits.items()
            ]
            widget["properties"]["annotations"] = {"horizontal": horizontal}
        return widget

    def stack(
        self, title: str, unit: str, lines: Lines, period: int = PERIOD_SECONDS, start: str | None = None
    ) -> Widget:
        """Draw areas on top of each other; `start` is this widget's own, where the dashboard's is not meant."""
        widget = self._metrics(title, lines, period, view="timeSeries", stacked=True, yAxis=_axis(unit))
        if start:
            widget["properties"]["start"] = start
        return widget

    def query(self, title: str, log_group: Input[str], commands: Sequence[str], view: str = "table") -> Widget:
        """Show what a query in the language of CloudWatch Logs Insights finds in a log group."""
        source = Output.concat("SOURCE '", log_group, "' | ", "\n| ".join(commands))
        return {"type": "log", "properties": {"title": title, "region": self.region, "view": view, "query": source}}

    def _metrics(self, title: str, lines: Lines, period: int = PERIOD_SECONDS, **properties: object) -> Widget:
        shown = [entry for label, line in lines.items() for entry in _entries(label, line)]
        return {
            "type": "metric",
            "properties": {"title": title, "region": self.region, "period": period, "metrics": shown, **properties},
        }


def _axis(unit: str) -> dict[str, Any]:
    return {"left": {"min": 0, "label": unit, "showUnits": False}}


def _entries(label: str, line: Metric | Rate) -> list[list[Any]]:
    """Return what stands for a line in an array of metrics; operands are there and not seen."""
    if isinstance(line, Metric):
        return [_entry(line, label=label)]
    operands = [_entry(metric, id=operand, visible=False) for operand, metric in line.operands.items()]
    return [*operands, [{"expression": line.expression, "label": label, "id": "rate"}]]


def _entry(metric: Metric, **rendering: object) -> list[Any]:
    dimensions = [part for dimension in metric.dimensions.items() for part in dimension]
    return [metric.namespace, metric.name, *dimensions, {"stat": metric.stat, **rendering}]
