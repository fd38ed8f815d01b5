"""Checks the queues: their messages, the dead-letter queues, and the event source mapping."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from yorutsuke.errors import is_denied
from yorutsuke.queues import Queue
from yorutsuke.screen import quantity
from yorutsuke.stage import Stage
from yorutsuke.times import span
from yorutsuke_common.names import (
    LOCAL_STAGE,
    MAX_AGE_INTERVALS,
    METRIC_NAMESPACE,
    RESULT_HANDLER,
    RESULT_SERVICE,
    ResultMetric,
)

from .finding import Finding, State

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch.literals import StatisticType
    from mypy_boto3_cloudwatch.type_defs import DatapointTypeDef

PERIOD_SECONDS = 300
"""Period of the statistics, in seconds."""
AGE_SECONDS = 900
"""Seconds of the past in which the latest age of a message is looked for. SQS emits it every minute."""
AGE_DENIED = "age not checked (cloudwatch:GetMetricStatistics is not allowed)"


def dead_letters(stage: Stage) -> Iterator[Finding]:
    """Check that the dead-letter queue is empty."""
    show, move = stage.command("redrive", "--dry-run"), stage.command("redrive")
    yield _emptiness(stage, stage.dead_letter_queue, f"`{show}` shows them, `{move}` moves them back")


def failed_submissions(stage: Stage) -> Iterator[Finding]:
    """Check that the dead-letter queue of requests for jobs is empty."""
    remedy = f"`{stage.command('redrive', '--submissions')}` shows and resubmits them"
    yield _emptiness(stage, stage.submit_dead_letter_queue, remedy)


def waiting(stage: Stage) -> Iterator[Finding]:
    """Check that the batch_result_handler receives the messages in its queue, by their age."""
    queue, depth = stage.queue, stage.queue.depth()
    limit = MAX_AGE_INTERVALS * redelivery_seconds(stage)
    age = _oldest_seconds(stage, queue)
    seen = f"{depth.waiting} waiting, {depth.inFlight} received, {_age_text(age)}"
    if isinstance(age, float) and age > limit:
        problem = f"{seen}, more than {span(limit)}, so messages are not consumed"
        yield Finding(queue.name, State.BAD, problem, "runbook: message-age")
    else:
        yield Finding(queue.name, State.NOT_CHECKED if age == AGE_DENIED else State.OK, seen)


def failed_redeliveries(stage: Stage) -> Iterator[Finding]:
    """Check that messages in the queue have not failed repeatedly.

    SQS omits a message from the age of the oldest message after its third receive, so the age does not show this.
    """
    # A message that fails again has failed within the last interval between its deliveries.
    seconds = redelivery_seconds(stage) + PERIOD_SECONDS
    dimensions = {"service": RESULT_SERVICE, "stage": stage.name}
    points = _statistics(stage, METRIC_NAMESPACE, ResultMetric.REDELIVERY_FAILED, dimensions, "Sum", seconds)
    count, left = sum(int(point.get("Sum", 0)) for point in points), stage.queue.depth().total
    seen = f"{count} within {span(seconds)}"
    if count and left:
        problem = f"{seen}, and the queue has {left} messages"
        yield Finding("failed redeliveries", State.BAD, problem, "runbook: failed-redeliveries")
    else:
        local = " (the emulator does not have this metric)" if stage.name == LOCAL_STAGE else ""
        yield Finding("failed redeliveries", State.OK, f"{seen}{local}")


def event_source(stage: Stage) -> Iterator[Finding]:
    """Check that the event source mapping from the queue to the batch_result_handler is enabled."""
    name = stage.physical(RESULT_HANDLER)
    pages = stage.clients.lambda_.get_paginator("list_event_source_mappings").paginate(FunctionName=name)
    states = {
        mapping.get("EventSourceArn"): mapping.get("State") for page in pages for mapping in page["EventSourceMappings"]
    }
    state = states.get(stage.arn("sqs", stage.queue.name), "no mapping")
    if state == "Enabled":
        yield Finding("event source mapping", State.OK, f"enabled, from {stage.queue.name}")
    else:
        yield Finding("event source mapping", State.BAD, f"{stage.queue.name}: {state}", "deploy the stage again")


def redelivery_seconds(stage: Stage) -> int:
    """Return the number of seconds after which a failed message is delivered again."""
    return int(stage.queue.attributes()["VisibilityTimeout"])


def _emptiness(stage: Stage, queue: Queue, remedy: str) -> Finding:
    if not (count := queue.depth().total):
        return Finding(queue.name, State.OK, "empty")
    return Finding(
        queue.name, State.BAD, f"{quantity(count, 'message')}, {_age_text(_oldest_seconds(stage, queue))}", remedy
    )


def _age_text(age: float | str) -> str:
    return age if isinstance(age, str) else f"the oldest {span(age)} old"


def _oldest_seconds(stage: Stage, queue: Queue) -> float | str:
    """Return the age of a queue's oldest message, or the reason why the age is not known.

    SQS reports the age to CloudWatch only.
    """
    cloudwatch = stage.clients.cloudwatch
    try:
        points = _statistics(
            stage, "AWS/SQS", "ApproximateAgeOfOldestMessage", {"QueueName": queue.name}, "Maximum", AGE_SECONDS
        )
    except cloudwatch.exceptions.ClientError as exc:
        if not is_denied(exc):
            raise
        return AGE_DENIED
    latest = max(points, key=lambda point: point.get("Timestamp", datetime.now(UTC)), default=None)
    return "age not yet reported by CloudWatch" if latest is None else float(latest.get("Maximum", 0))


def _statistics(
    stage: Stage, namespace: str, metric: str, dimensions: Mapping[str, str], statistic: "StatisticType", seconds: int
) -> Sequence["DatapointTypeDef"]:
    """Return a statistic of a metric for each period of the last seconds, in any order."""
    now = datetime.now(UTC)
    return stage.clients.cloudwatch.get_metric_statistics(
        Namespace=namespace,
        MetricName=metric,
        Dimensions=[{"Name": name, "Value": value} for name, value in dimensions.items()],
        StartTime=now - timedelta(seconds=seconds),
        EndTime=now,
        Period=PERIOD_SECONDS,
        Statistics=[statistic],
    )["Datapoints"]
