"""What the alarms look at is what the handler emits: a name or a dimension that differs would never ring."""

import json
from typing import Any

from local.deployer import run_program
from tests.infra.conftest import Program
from yorutsuke_infra.metrics import NAMESPACE

from .conftest import LogReader
from .stage import ENVIRONMENT, Stage, job_end, plan_line

Metric = tuple[str, str, tuple[tuple[str, str], ...]]
"""Namespace, name, and dimensions, sorted."""


def _emitted(entries: list[dict[str, Any]]) -> set[Metric]:
    """Return the metrics that CloudWatch makes of log entries in its embedded metric format."""
    return {
        (directive["Namespace"], metric["Name"], tuple(sorted((name, entry[name]) for name in dimensions)))
        for entry in entries
        if "_aws" in entry
        for directive in entry["_aws"]["CloudWatchMetrics"]
        for metric in directive["Metrics"]
        for dimensions in directive["Dimensions"]
    }


def _looked_at() -> set[Metric]:
    """Return the metrics of the stage's own namespace that its alarms look at."""
    program = Program()
    config = {"aws:region": "ap-northeast-1", "yorutsuke:stage": json.dumps({})}
    run_program(program, ENVIRONMENT["STAGE"], config)
    metrics = [
        query["metric"]
        for name in program.names("MetricAlarm")
        for query in program.inputs("MetricAlarm", name)["metricQueries"]
        if "metric" in query
    ]
    return {
        (metric["namespace"], metric["metricName"], tuple(sorted(metric["dimensions"].items())))
        for metric in metrics
        if metric["namespace"] == NAMESPACE
    }


def test_every_metric_of_an_alarm_is_one_that_the_handler_emits(stage: Stage, logged: LogReader) -> None:
    stage.put_job()
    stage.put_images(["img-1"])
    stage.deliver(stage.put_output(plan_line("img-1"), "{"), stage.put_manifest(2), job_end("Stopped"))

    looked_at = _looked_at()

    assert {name for _, name, _ in looked_at} == {
        "SuccessCount",
        "FailureCount",
        "ProcessingTime",
        "JobFailed",
        "MigrationFailedCount",
    }
    assert looked_at <= _emitted(logged())
