"""Tests that each metric and field in alarms and dashboards exists in a real job run's log or in AWS's metrics.

A misspelt name or dimension would give an alarm that never fires and an empty graph.
"""

import json
import re
from typing import Any

import pytest

from local.job_run import JobRun, until
from local.receipts import bedrock_counts, bedrock_lines

from .aws_metrics import AWS_METRICS
from .conftest import JOB_NUMBERS, REDELIVERY_SECONDS, own_receipts, redelivered_after

Metric = tuple[str, str, frozenset[tuple[str, str]]]
"""Namespace, name, and dimensions."""
Entries = list[dict[str, Any]]

SETTLE_SECONDS = 120


@pytest.fixture(scope="module")
def entries(stage: JobRun, tmp_path_factory: pytest.TempPathFactory) -> Entries:
    """The log entries of a job run that contains every kind of event.

    The output file arrives before the job's item, and its message fails twice. The output has a bad record and a record
    with an unknown image, and it lacks a record for one image. Two submissions fail as well: one has too few images,
    one has a broken item.
    """
    job_run = JobRun(stage.aws, stage.outputs, job_id=f"jobrun{next(JOB_NUMBERS):06}")
    receipts = own_receipts(job_run, 4)
    images = [receipt.image_id for receipt in receipts]
    file = tmp_path_factory.mktemp("job_run") / "manifest.jsonl.out"
    file.write_text("".join(f"{line}\n" for line in (*bedrock_lines(receipts), "{")))
    job_run.seed_images(images[1:])
    with redelivered_after(stage, REDELIVERY_SECONDS):
        job_run.drop_output(file)
        message_id = job_run.wait_for_entry("BATCH_RESULT_FAILED")["messageId"]
        about_message = f'"RedeliveryFailed" "{message_id}"'
        redelivered = until(
            lambda: [*job_run.log_entries(about_message)], SETTLE_SECONDS, "the metric of a failed redelivery"
        )
        job_run.seed_job([*images, f"{job_run.job_id}-without-a-record"])
        until(lambda: job_run.job()["status"] == "COMPLETED", SETTLE_SECONDS, "the job to be COMPLETED")
        job_run.drop_output_manifest(bedrock_counts(job_run.job()["resultStats"]["totalCount"]))
        job_run.wait_for_entry("BATCH_RESULT_RECONCILED")
        job_run.end_job("PartiallyCompleted", "Not all records could be processed in time.")
        job_run.wait_for_entry("BATCH_RESULT_JOB_FAILED")
    submissions = _failed_submissions(stage, refused=f"{job_run.job_id}-refused", failed=f"{job_run.job_id}-failed")
    return [*job_run.log_entries(f'"{job_run.job_id}"'), *redelivered, *submissions]


def _failed_submissions(stage: JobRun, refused: str, failed: str) -> Entries:
    """Make two failing submissions with these intents, and return the orchestrator's log entries about them."""
    aws, table = stage.aws, stage.outputs["batchJobsTable"]
    aws.dynamodb.put_item(TableName=table, Item={"intentId": {"S": failed}})
    for intent_id in (refused, failed):
        request = {"intentId": intent_id, "pendingImageIds": ["img-1"], "userId": "user-1"}
        invoked = aws.lambda_.invoke(FunctionName=stage.outputs["orchestratorName"], Payload=json.dumps(request))
        assert "FunctionError" in invoked
    log = JobRun(aws, {**stage.outputs, "logGroup": stage.outputs["orchestratorLogGroup"]})
    return [entry for intent_id in (refused, failed) for entry in log.log_entries(f'"{intent_id}"')]


def _emitted_metrics(entries: Entries) -> set[Metric]:
    """Return the metrics that CloudWatch extracts from log entries in the embedded metric format."""
    return {
        (directive["Namespace"], metric["Name"], frozenset((name, entry[name]) for name in dimensions))
        for entry in entries
        if "_aws" in entry
        for directive in entry["_aws"]["CloudWatchMetrics"]
        for metric in directive["Metrics"]
        for dimensions in directive["Dimensions"]
    }


def _alarm_metrics(put_alarms: list[dict[str, Any]]) -> set[Metric]:
    """Return the metrics of the alarms."""
    metrics = [
        query["MetricStat"]["Metric"] for alarm in put_alarms for query in alarm["Metrics"] if "MetricStat" in query
    ]
    return {
        (
            metric["Namespace"],
            metric["MetricName"],
            frozenset((dimension["Name"], dimension["Value"]) for dimension in metric["Dimensions"]),
        )
        for metric in metrics
    }


def _widgets(stage: JobRun, kind: str) -> list[dict[str, Any]]:
    """Return the properties of the deployed dashboard's widgets of one type."""
    body = stage.aws.cloudwatch.get_dashboard(DashboardName=stage.outputs["dashboardName"])["DashboardBody"]
    return [widget["properties"] for widget in json.loads(body)["widgets"] if widget["type"] == kind]


def _dashboard_metrics(stage: JobRun) -> set[Metric]:
    """Return the metrics on the deployed dashboard."""
    return {
        (namespace, name, frozenset(zip(dimensions[::2], dimensions[1::2], strict=True)))
        for properties in _widgets(stage, "metric")
        for namespace, name, *dimensions in (entry[:-1] for entry in properties["metrics"] if len(entry) > 1)
    }


def _deployed_names(stage: JobRun) -> dict[str, set[str]]:
    """Return the names of the deployed resources, by metric dimension."""
    aws = stage.aws
    tables = [aws.dynamodb.describe_table(TableName=name)["Table"] for name in aws.dynamodb.list_tables()["TableNames"]]
    return {
        "QueueName": {url.rsplit("/", 1)[-1] for url in aws.sqs.list_queues()["QueueUrls"]},
        "FunctionName": {function.get("FunctionName", "") for function in aws.lambda_.list_functions()["Functions"]},
        "TableName": {table.get("TableName", "") for table in tables},
        "GlobalSecondaryIndexName": {
            index.get("IndexName", "") for table in tables for index in table.get("GlobalSecondaryIndexes", [])
        },
        "TopicName": {topic.get("TopicArn", "").rsplit(":", 1)[-1] for topic in aws.sns.list_topics()["Topics"]},
        "RuleName": {rule.get("Name", "") for rule in aws.events.list_rules()["Rules"]},
    }


def _missing_from_aws(stage: JobRun, metrics: set[Metric]) -> set[Metric]:
    """Return the metrics that AWS does not publish, or that belong to a missing resource."""
    existing = _deployed_names(stage)
    return {
        (namespace, name, dimensions)
        for namespace, name, dimensions in metrics
        if name not in AWS_METRICS.get((namespace, frozenset(dimension for dimension, _ in dimensions)), set())
        or any(value not in existing[dimension] for dimension, value in dimensions)
    }


def _fields(query: str) -> set[str]:
    """Return the log fields that a query reads, without CloudWatch's own fields, which begin with `@`."""
    read: set[str] = set()
    defined: set[str] = set()
    for command in re.split(r"\s*\|\s*", query):
        name, _, rest = command.partition(" ")
        match name:
            case "SOURCE" | "limit":
                pass
            case "fields":
                read.update(rest.split(", "))
            case "filter" | "sort":
                read.add(rest.split()[0])
            case "stats":
                aggregates, _, groups = rest.partition(" by ")
                defined.update(re.findall(r" as (\w+)", aggregates))
                read.update(groups.split(", "))
            case _:
                pytest.fail(f"this test cannot parse the query command {command!r}")
    return {field for field in read - defined if not field.startswith("@")}


def test_every_alarm_metric_exists(stage: JobRun, put_alarms: list[dict[str, Any]], entries: Entries) -> None:
    used, emitted = _alarm_metrics(put_alarms), _emitted_metrics(entries)

    assert used & emitted
    assert _missing_from_aws(stage, used - emitted) == set()


def test_every_dashboard_metric_exists(stage: JobRun, entries: Entries) -> None:
    drawn, emitted = _dashboard_metrics(stage), _emitted_metrics(entries)

    assert drawn & emitted
    assert _missing_from_aws(stage, drawn - emitted) == set()


def test_dashboard_shows_every_emitted_metric(stage: JobRun, entries: Entries) -> None:
    assert _emitted_metrics(entries) - _dashboard_metrics(stage) == set()


def test_every_event_and_field_of_queries_exists(stage: JobRun, entries: Entries) -> None:
    queries = [properties["query"] for properties in _widgets(stage, "log")]

    assert queries
    for query in queries:
        events = set(re.findall(r'"(\w+)"', query))
        found = [entry for entry in entries if entry.get("event") in events]
        assert {entry["event"] for entry in found} == events
        assert _fields(query) - {field for entry in found for field in entry} == set()


def test_dashboard_shows_every_deployed_alarm(stage: JobRun) -> None:
    deployed = {alarm.get("AlarmArn") for alarm in stage.aws.cloudwatch.describe_alarms()["MetricAlarms"]}

    [shown] = [properties["alarms"] for properties in _widgets(stage, "alarm")]

    assert set(shown) == deployed
