"""The widgets of a dashboard and their positions.

A body may contain unresolved Pulumi inputs. Therefore serialise it with `pulumi.Output.json_dumps`.

Source: Amazon CloudWatch user guide, "Dashboard body structure and syntax".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pulumi import Input, Output

from .metrics import PERIOD_SECONDS, Metric, Rate

Widget = dict[str, Any]
Document = dict[str, Any]
Lines = Sequence[Metric | Rate]

COLUMNS = 24
"""Width of a dashboard, in grid columns."""
LIMIT_COLOR = "#d62728"


@dataclass(frozen=True)
class Row:
    """Widgets in a row, each with its width in columns. The widths add up to `COLUMNS`."""

    height: int
    widgets: Sequence[tuple[int, Widget]]


def dashboard_body(rows: Sequence[Row], start: str) -> Document:
    """Return a dashboard with these rows, from top to bottom. `start` begins its time range, such as -PT24H."""
    widgets: list[Widget] = []
    top = 0
    for row in rows:
        left = 0
        for width, widget in row.widgets:
            widgets.append({**widget, "x": left, "y": top, "width": width, "height": row.height})
            left += width
        top += row.height
    # With `inherit`, each widget keeps its own period in any time range. Its points are the values that alarms use.
    return {"start": start, "periodOverride": "inherit", "widgets": widgets}


def equal_widths(height: int, *widgets: Widget) -> Row:
    """Return a row of widgets with equal widths."""
    return Row(height, [(COLUMNS // len(widgets), widget) for widget in widgets])


def alarm_states(title: str, arns: Sequence[Input[str]]) -> Widget:
    """Show the states of alarms, the latest change first."""
    return {"type": "alarm", "properties": {"title": title, "alarms": list(arns), "sortBy": "stateUpdatedTimestamp"}}


@dataclass(frozen=True)
class Widgets:
    """Creates widgets for the metrics and log entries of one Region."""

    region: Input[str]

    def totals(self, title: str, lines: Lines) -> Widget:
        """Show one number per metric for the complete time range of the dashboard."""
        return self._metrics(title, lines, view="singleValue", setPeriodToTimeRange=True)

    def latest(self, title: str, lines: Lines) -> Widget:
        """Show the latest value of each metric."""
        return self._metrics(title, lines, view="singleValue")

    def graph(self, title: str, unit: str, lines: Lines, limits: Mapping[str, float] | None = None) -> Widget:
        """Draw metrics as lines with one point per alarm period, and limits as horizontal lines."""
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
        """Draw metrics as stacked areas. `start` overrides the start of the dashboard's time range."""
        widget = self._metrics(title, lines, period, view="timeSeries", stacked=True, yAxis=_axis(unit))
        if start:
            widget["properties"]["start"] = start
        return widget

    def query(self, title: str, log_group: Input[str], commands: Sequence[str], view: str = "table") -> Widget:
        """Show the result of a CloudWatch Logs Insights query on a log group."""
        source = Output.concat("SOURCE '", log_group, "' | ", "\n| ".join(commands))
        return {"type": "log", "properties": {"title": title, "region": self.region, "view": view, "query": source}}

    def _metrics(self, title: str, lines: Lines, period: int = PERIOD_SECONDS, **properties: object) -> Widget:
        shown = [entry for line in lines for entry in _entries(line)]
        return {
            "type": "metric",
            "properties": {"title": title, "region": self.region, "period": period, "metrics": shown, **properties},
        }


def _axis(unit: str) -> dict[str, Any]:
    return {"left": {"min": 0, "label": unit, "showUnits": False}}


def _entries(line: Metric | Rate) -> list[list[Any]]:
    """Return the entries of a line in the widget's array of metrics. The operands of an expression are hidden."""
    if isinstance(line, Metric):
        return [_entry(line, label=line.label)]
    operands = [_entry(metric, id=operand, visible=False) for operand, metric in line.operands.items()]
    return [*operands, [{"expression": line.expression, "label": line.label, "id": "rate"}]]


def _entry(metric: Metric, **rendering: object) -> list[Any]:
    dimensions = [part for dimension in metric.dimensions.items() for part in dimension]
    return [metric.namespace, metric.name, *dimensions, {"stat": metric.stat, **rendering}]
