"""The alarms evaluate valid metrics. `failure-rate` fires above its threshold."""

import re
from typing import Any

import pytest

from tests.e2e.aws_metrics import AWS_METRICS

from .conftest import RunProgram


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


@pytest.mark.parametrize("name", ["failure-rate", "function-duration"])
def test_one_query_of_an_alarm_returns_data(run: RunProgram, name: str) -> None:
    """Source: Amazon CloudWatch API reference, PutMetricAlarm."""
    queries = run().inputs("MetricAlarm", name)["metricQueries"]

    assert [query.get("returnData", False) for query in queries].count(True) == 1


@pytest.mark.parametrize("trigger", ["sqs", "s3"])
def test_alarms_use_existing_metrics_of_aws(run: RunProgram, trigger: str) -> None:
    program = run(trigger=trigger)
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
