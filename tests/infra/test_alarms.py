"""The alarms are those of docs/events.md, and evaluate valid metrics. `failure-rate` fires above its threshold."""

import re
from typing import Any

import pytest

from tests.documented_alarms import AlarmDefinition, alarm_definitions, alarm_situations
from tests.e2e.aws_metrics import AWS_METRICS
from yorutsuke_infra.metrics import PERIOD_SECONDS

from .conftest import Program, RunProgram
from .expected import SCHEDULE


def _evaluate_rate(alarm: dict[str, Any], success: int, failure: int) -> float:
    """Return the value of the alarm's expression, given the sums of a period.

    Source: Amazon CloudWatch user guide, "Using metric math": `IF(condition, value, other value)`.
    """
    [expression] = [query["expression"] for query in alarm["metricQueries"] if "expression" in query]
    condition, value, otherwise = re.fullmatch(r"IF\((.+), (.+), (.+)\)", expression).groups()  # pyright: ignore[reportOptionalMemberAccess]
    names = {"success": success, "failure": failure}
    return eval(value if eval(condition, names) else otherwise, names)  # noqa: S307 - our own expression


@pytest.mark.parametrize(
    ("success", "failure", "fires"),
    [
        (950, 50, False),
        (949, 51, True),
        (0, 0, False),
        (0, 1, True),
        (1, 0, False),
        (19, 1, False),
        (18, 1, True),
        (47_500, 2_500, False),
        (47_499, 2_501, True),
    ],
)
def test_failure_rate_alarm_fires_above_five_percent(
    run: RunProgram, success: int, failure: int, *, fires: bool
) -> None:
    alarm = run().inputs("MetricAlarm", "failure-rate")

    assert alarm["comparisonOperator"] == "GreaterThanThreshold"
    assert (_evaluate_rate(alarm, success, failure) > alarm["threshold"]) is fires


@pytest.mark.parametrize("times", [2, 3])
def test_failure_rate_is_unchanged_by_repeated_counts(run: RunProgram, times: int) -> None:
    """A crash between the emission and the completion emits the counts of a job again."""
    alarm = run().inputs("MetricAlarm", "failure-rate")

    assert _evaluate_rate(alarm, times * 949, times * 51) == _evaluate_rate(alarm, 949, 51) == 5.1


def _definition(program: Program, name: str) -> AlarmDefinition:
    """Return the definition of a deployed alarm of the stage `dev`."""
    alarm = program.inputs("MetricAlarm", name)
    metrics = [query["metric"] for query in alarm["metricQueries"] if "metric" in query]
    [(namespace, statistic, period, *dimensions)] = {
        (metric["namespace"], metric["stat"], metric["period"], *sorted(metric["dimensions"].items()))
        for metric in metrics
    }
    assert (alarm["comparisonOperator"], period, alarm["datapointsToAlarm"]) == ("GreaterThanThreshold", 300, 1)
    return AlarmDefinition(
        namespace=namespace,
        metrics=tuple(metric["metricName"] for metric in metrics),
        dimensions=frozenset((dimension, re.sub(r"\bdev$", "STAGE", value)) for dimension, value in dimensions),
        statistic=statistic,
        threshold=alarm["threshold"],
        periods=alarm["evaluationPeriods"],
        missing_data=alarm["treatMissingData"],
    )


@pytest.mark.parametrize("trigger", ["sqs", "s3"])
def test_every_alarm_has_its_documented_definition(run: RunProgram, trigger: str) -> None:
    program = run(trigger=trigger, schedule=SCHEDULE)

    declared = {name: _definition(program, name) for name in program.names("MetricAlarm")}

    assert declared == alarm_definitions(trigger)


@pytest.mark.parametrize("trigger", ["sqs", "s3"])
def test_every_alarm_has_a_situation_with_its_source(run: RunProgram, trigger: str) -> None:
    situations = alarm_situations(trigger)
    own = {
        name: dict(found.dimensions)["service"]
        for name, found in alarm_definitions(trigger).items()
        if found.namespace == "BatchResult"
    }
    emitters = {"batch_result_handler": "the handler (", "batch_orchestrator": "the orchestrator ("}

    assert sorted(situations) == sorted(run(trigger=trigger, schedule=SCHEDULE).names("MetricAlarm"))
    assert all(situation and source for situation, source in situations.values())
    assert {
        name: service
        for service, emitter in emitters.items()
        for name, (_, source) in situations.items()
        if source.startswith(emitter)
    } == own


@pytest.mark.parametrize(("timeout", "function"), [(60, 2), (300, 2), (301, 3), (900, 4)])
def test_alarm_looks_back_over_the_timeout(run: RunProgram, timeout: int, function: int) -> None:
    """Lambda dates a metric by the start of the invocation. Source: docs/events.md."""
    program = run(functionTimeoutSeconds=timeout)

    periods = {name: program.inputs("MetricAlarm", name)["evaluationPeriods"] for name in program.names("MetricAlarm")}

    looking_back = {"function-errors": function, "function-duration": function, "submit-errors": 4}
    assert {name: count for name, count in periods.items() if count > 1} == looking_back
    # One more period is left for the delay of the metric.
    assert (function - 1) * PERIOD_SECONDS >= timeout


@pytest.mark.parametrize("name", ["failure-rate", "function-duration"])
def test_one_query_of_an_alarm_returns_data(run: RunProgram, name: str) -> None:
    """Source: Amazon CloudWatch API reference, PutMetricAlarm."""
    queries = run().inputs("MetricAlarm", name)["metricQueries"]

    assert [query.get("returnData", False) for query in queries].count(True) == 1


@pytest.mark.parametrize("trigger", ["sqs", "s3"])
def test_alarms_use_existing_metrics_of_aws(run: RunProgram, trigger: str) -> None:
    program = run(trigger=trigger, schedule=SCHEDULE)
    metrics = [
        query["metric"]
        for name in program.names("MetricAlarm")
        for query in program.inputs("MetricAlarm", name)["metricQueries"]
        if "metric" in query
    ]
    aws_metrics = [metric for metric in metrics if metric["namespace"].startswith("AWS/")]

    assert aws_metrics
    for metric in aws_metrics:
        assert metric["metricName"] in AWS_METRICS[metric["namespace"], frozenset(metric["dimensions"])]
