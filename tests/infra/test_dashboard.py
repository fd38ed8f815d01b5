"""What hangs on the wall: laid out without gaps, in CloudWatch's own words, and of one mind with the alarms."""

import json
import re
from typing import Any

import pytest

from yorutsuke_infra.widgets import COLUMNS

from .conftest import REGION, Program, RunProgram

Metric = tuple[str, str, frozenset[tuple[str, str]]]
"""Namespace, name, and dimensions."""

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


@pytest.fixture
def widgets(run: RunProgram) -> list[dict[str, Any]]:
    """The widgets of a stage's dashboard."""
    return _body(run())["widgets"]


def _metric_widgets(widgets: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [widget["properties"] for widget in widgets if widget["type"] == "metric"]


def _shown(properties: dict[str, Any]) -> set[Metric]:
    """Return the metrics of a widget, operands included."""
    return {
        (namespace, name, frozenset(zip(dimensions[::2], dimensions[1::2], strict=True)))
        for namespace, name, *dimensions in (entry[:-1] for entry in properties["metrics"] if len(entry) > 1)
    }


def _watched(alarm: dict[str, Any]) -> set[Metric]:
    """Return the metrics of an alarm, operands included."""
    metrics = [query["metric"] for query in alarm["metricQueries"] if "metric" in query]
    return {(metric["namespace"], metric["metricName"], frozenset(metric["dimensions"].items())) for metric in metrics}


def test_the_widgets_fill_the_columns_and_none_lies_on_another(widgets: list[dict[str, Any]]) -> None:
    cells = [
        (column, line)
        for widget in widgets
        for column in range(widget["x"], widget["x"] + widget["width"])
        for line in range(widget["y"], widget["y"] + widget["height"])
    ]
    height = max(line for _, line in cells) + 1

    assert sorted(cells) == [(column, line) for column in range(COLUMNS) for line in range(height)]


def test_every_widget_has_the_properties_it_needs_and_no_unknown_one(widgets: list[dict[str, Any]]) -> None:
    for widget in widgets:
        assert set(widget) == {"type", "x", "y", "width", "height", "properties"}
        properties, kind = widget["properties"], widget["type"]
        assert REQUIRED[kind] <= set(properties) <= REQUIRED[kind] | OPTIONAL[kind]
        assert properties.get("view") in VIEWS[kind]
        assert properties["title"]
        assert properties.get("region", REGION) == REGION


def test_every_metric_is_written_as_cloudwatch_reads_it(widgets: list[dict[str, Any]]) -> None:
    for properties in _metric_widgets(widgets):
        assert set(properties.get("yAxis", {}).get("left", {})) <= AXIS
        for annotation in properties.get("annotations", {}).get("horizontal", []):
            assert {"value"} <= set(annotation) <= ANNOTATION
        for *metric, rendering in properties["metrics"]:
            assert set(rendering) <= RENDERING
            assert rendering.get("label") or rendering["visible"] is False
            # Namespace and name, then name and value of each dimension; metric math has none of them.
            assert ("expression" in rendering) == (not metric)
            assert len(metric) % 2 == 0


def test_the_operands_of_metric_math_are_metrics_of_the_same_widget(widgets: list[dict[str, Any]]) -> None:
    for properties in _metric_widgets(widgets):
        ids = [entry[-1]["id"] for entry in properties["metrics"] if "id" in entry[-1]]
        assert len(ids) == len(set(ids))
        assert all(re.fullmatch("[a-z][A-Za-z0-9_]*", query) for query in ids)
        for expression in [entry[-1]["expression"] for entry in properties["metrics"] if "expression" in entry[-1]]:
            assert set(re.findall("[a-z]+", expression)) <= set(ids)


def test_a_query_reads_the_log_of_the_function_it_is_about(run: RunProgram) -> None:
    program = run()
    queries = [widget["properties"]["query"] for widget in _body(program)["widgets"] if widget["type"] == "log"]

    read = [(query.split(" | ")[0], set(re.findall(r"BATCH_[A-Z]+(?=_)", query))) for query in queries]

    results, submissions = (
        f"SOURCE '{program.inputs('LogGroup', name)['name']}'"
        for name in ("batch-result-handler", "batch-orchestrator")
    )
    assert read == [(results, {"BATCH_RESULT"})] * 3 + [(submissions, {"BATCH_SUBMIT"})]


def test_every_alarm_of_the_stage_is_shown(run: RunProgram) -> None:
    program = run()

    [shown] = [widget["properties"]["alarms"] for widget in _body(program)["widgets"] if widget["type"] == "alarm"]

    assert sorted(shown) == sorted(f"arn:MetricAlarm:yorutsuke-{name}" for name in program.names("MetricAlarm"))


def test_what_an_alarm_watches_is_drawn_with_its_threshold(run: RunProgram) -> None:
    program = run(functionTimeoutSeconds=100)
    graphs = [
        (_shown(graph), {line["value"] for line in graph.get("annotations", {}).get("horizontal", [])})
        for graph in _metric_widgets(_body(program)["widgets"])
        if graph["view"] == "timeSeries"
    ]

    for name in program.names("MetricAlarm"):
        alarm = program.inputs("MetricAlarm", name)
        # That none is right needs no line.
        threshold = {alarm["threshold"]} - {0}
        assert [drawn for shown, drawn in graphs if shown >= _watched(alarm) and drawn >= threshold], name


def test_points_are_those_that_alarms_judge(run: RunProgram) -> None:
    program = run()
    body = _body(program)
    judged = {
        query["metric"]["period"]
        for name in program.names("MetricAlarm")
        for query in program.inputs("MetricAlarm", name)["metricQueries"]
        if "metric" in query
    }

    drawn = {graph["period"] for graph in _metric_widgets(body["widgets"]) if "start" not in graph}

    assert drawn == judged
    assert body["periodOverride"] == "inherit"


def test_the_dashboards_of_two_stages_differ_in_names_alone(run: RunProgram) -> None:
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
def test_outputs_lost_on_the_way_are_counted_by_who_carries_them(
    run: RunProgram, trigger: str, lost: tuple[str, ...]
) -> None:
    [way] = [
        graph for graph in _metric_widgets(_body(run(trigger=trigger))["widgets"]) if graph["title"] == "Lost messages"
    ]

    assert lost in {(namespace, name, value) for namespace, name, dimensions in _shown(way) for _, value in dimensions}
