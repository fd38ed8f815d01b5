"""The dashboard has a layout without gaps, follows CloudWatch's syntax, and agrees with the alarms."""

import json
import re
from typing import Any

import pytest

from yorutsuke_infra.widgets import COLUMNS

from .conftest import REGION, Program, RunProgram
from .expected import SCHEDULE

Metric = tuple[str, str, frozenset[tuple[str, str]]]
"""The namespace, name and dimensions of a metric."""

# Source: Amazon CloudWatch user guide, "Dashboard body structure and syntax".
REQUIRED = {"metric": {"metrics", "region"}, "log": {"query", "region"}, "alarm": {"alarms"}}
OPTIONAL = {
    "metric": {
        *("accountId", "annotations", "end", "legend", "liveData", "period", "setPeriodToTimeRange"),
        *("singleValueFullPrecision", "sparkline", "stacked", "start", "stat", "table", "timezone", "title", "trend"),
        *("view", "yAxis"),
    },
    "log": {"accountId", "end", "queryLanguage", "stacked", "start", "title", "view"},
    "alarm": {"sortBy", "states", "title"},
}
VIEWS = {
    "metric": {"timeSeries", "singleValue", "gauge", "bar", "pie", "table"},
    "log": {"timeSeries", "table", "bar", "pie"},
    "alarm": {None},
}
RENDERING = {"accountId", "color", "expression", "id", "label", "period", "region", "stat", "visible", "yAxis"}
ANNOTATION = {"color", "fill", "label", "value", "visible", "yAxis"}
AXIS = {"label", "max", "min", "showUnits"}


def _body(program: Program) -> dict[str, Any]:
    return json.loads(program.inputs("Dashboard", "jobs")["dashboardBody"])


@pytest.fixture(params=[None, SCHEDULE])
def widgets(run: RunProgram, request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """The widgets of a stage's dashboard, without and with a schedule."""
    return _body(run(schedule=request.param))["widgets"]


def _metric_widgets(widgets: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [widget["properties"] for widget in widgets if widget["type"] == "metric"]


def _widget_metrics(properties: dict[str, Any]) -> set[Metric]:
    """Return the metrics of a widget, including operands."""
    return {
        (namespace, name, frozenset(zip(dimensions[::2], dimensions[1::2], strict=True)))
        for namespace, name, *dimensions in (entry[:-1] for entry in properties["metrics"] if len(entry) > 1)
    }


def _alarm_metrics(alarm: dict[str, Any]) -> set[Metric]:
    """Return the metrics of an alarm, including operands."""
    metrics = [query["metric"] for query in alarm["metricQueries"] if "metric" in query]
    return {(metric["namespace"], metric["metricName"], frozenset(metric["dimensions"].items())) for metric in metrics}


def test_widgets_fill_the_grid_without_overlap(widgets: list[dict[str, Any]]) -> None:
    cells = [
        (column, line)
        for widget in widgets
        for column in range(widget["x"], widget["x"] + widget["width"])
        for line in range(widget["y"], widget["y"] + widget["height"])
    ]
    height = max(line for _, line in cells) + 1

    assert sorted(cells) == [(column, line) for column in range(COLUMNS) for line in range(height)]


def test_widgets_have_required_and_known_properties(widgets: list[dict[str, Any]]) -> None:
    for widget in widgets:
        assert set(widget) == {"type", "x", "y", "width", "height", "properties"}
        properties, kind = widget["properties"], widget["type"]
        assert REQUIRED[kind] <= set(properties) <= REQUIRED[kind] | OPTIONAL[kind]
        assert properties.get("view") in VIEWS[kind]
        assert properties["title"]
        assert properties.get("region", REGION) == REGION


def test_metric_entries_follow_cloudwatch_syntax(widgets: list[dict[str, Any]]) -> None:
    for properties in _metric_widgets(widgets):
        assert set(properties.get("yAxis", {}).get("left", {})) <= AXIS
        for annotation in properties.get("annotations", {}).get("horizontal", []):
            assert {"value"} <= set(annotation) <= ANNOTATION
        for *metric, rendering in properties["metrics"]:
            assert set(rendering) <= RENDERING
            assert rendering.get("label") or rendering["visible"] is False
            # A metric has a namespace, a name, and pairs of dimension and value. A metric math entry omits them.
            assert ("expression" in rendering) == (not metric)
            assert len(metric) % 2 == 0


def test_metric_math_operands_are_in_the_same_widget(widgets: list[dict[str, Any]]) -> None:
    for properties in _metric_widgets(widgets):
        ids = [entry[-1]["id"] for entry in properties["metrics"] if "id" in entry[-1]]
        assert len(ids) == len(set(ids))
        assert all(re.fullmatch("[a-z][A-Za-z0-9_]*", query) for query in ids)
        for expression in [entry[-1]["expression"] for entry in properties["metrics"] if "expression" in entry[-1]]:
            assert set(re.findall("[a-z]+", expression)) <= set(ids)


def test_queries_read_the_log_of_their_function(run: RunProgram) -> None:
    program = run()
    queries = [widget["properties"]["query"] for widget in _body(program)["widgets"] if widget["type"] == "log"]

    read = [(query.split(" | ")[0], set(re.findall(r"BATCH_[A-Z]+(?=_)", query))) for query in queries]

    results, submissions = (
        f"SOURCE '{program.inputs('LogGroup', name)['name']}'"
        for name in ("batch-result-handler", "batch-orchestrator")
    )
    assert read == [(results, {"BATCH_RESULT"})] * 3 + [(submissions, {"BATCH_SUBMIT"})]


def test_dashboard_shows_every_alarm(run: RunProgram) -> None:
    program = run(schedule=SCHEDULE)

    [shown] = [widget["properties"]["alarms"] for widget in _body(program)["widgets"] if widget["type"] == "alarm"]

    assert sorted(shown) == sorted(f"arn:MetricAlarm:yorutsuke-{name}" for name in program.names("MetricAlarm"))


def test_graphs_show_every_alarm_metric_with_its_threshold(run: RunProgram) -> None:
    program = run(functionTimeoutSeconds=100, schedule=SCHEDULE, maxWaitDays=5)
    graphs = [
        (_widget_metrics(graph), {line["value"] for line in graph.get("annotations", {}).get("horizontal", [])})
        for graph in _metric_widgets(_body(program)["widgets"])
        if graph["view"] == "timeSeries"
    ]

    for name in program.names("MetricAlarm"):
        alarm = program.inputs("MetricAlarm", name)
        # A threshold of 0 does not need a horizontal line.
        threshold = {alarm["threshold"]} - {0}
        assert [drawn for shown, drawn in graphs if shown >= _alarm_metrics(alarm) and drawn >= threshold], name


def test_graph_periods_equal_alarm_periods(run: RunProgram) -> None:
    program = run(schedule=SCHEDULE)
    body = _body(program)
    evaluated = {
        query["metric"]["period"]
        for name in program.names("MetricAlarm")
        for query in program.inputs("MetricAlarm", name)["metricQueries"]
        if "metric" in query
    }

    drawn = {graph["period"] for graph in _metric_widgets(body["widgets"]) if "start" not in graph}

    assert drawn == evaluated
    assert body["periodOverride"] == "inherit"


def test_dashboards_of_two_stages_differ_only_in_names(run: RunProgram) -> None:
    first, second = (run(stage).inputs("Dashboard", "jobs") for stage in ("alpha", "omega"))

    assert first["dashboardName"] == "yorutsuke-jobs-alpha"
    assert {key: value.replace("alpha", "omega") for key, value in first.items()} == second
    assert first != second


@pytest.mark.parametrize(
    ("trigger", "lost"),
    [
        ("sqs", ("AWS/SNS", "NumberOfNotificationsFailedToRedriveToDlq", "yorutsuke-batch-output-dev")),
        ("s3", ("AWS/Lambda", "DestinationDeliveryFailures", "yorutsuke-batch-result-handler-dev")),
    ],
)
def test_lost_messages_graph_counts_undelivered_output_notifications(
    run: RunProgram, trigger: str, lost: tuple[str, ...]
) -> None:
    [lost_messages] = [
        graph for graph in _metric_widgets(_body(run(trigger=trigger))["widgets"]) if graph["title"] == "Lost messages"
    ]

    assert lost in {
        (namespace, name, value)
        for namespace, name, dimensions in _widget_metrics(lost_messages)
        for _, value in dimensions
    }
