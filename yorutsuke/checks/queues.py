"""Checks the queues: their messages, the dead-letter queues, and the event source mapping."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from yorutsuke.errors import is_denied
from yorutsuke.queues import Queue
from yorutsuke.screen import quantity
from yorutsuke.stage import Stage
from yorutsuke.times import span
from yorutsuke_common.names import MAX_REDELIVERIES, RESULT_HANDLER

from .finding import Finding, State

AGE_DENIED = "age not checked (cloudwatch:GetMetricStatistics is not allowed)"


def dead_letters(stage: Stage) -> Iterator[Finding]:
    """Check that the dead-letter queue is empty."""
    yield _emptiness(stage, stage.dead_letter_queue, "redrive --dry-run shows them, redrive moves them back")


def failed_submissions(stage: Stage) -> Iterator[Finding]:
    """Check that the dead-letter queue of requests for jobs is empty."""
    yield _emptiness(stage, stage.submit_dead_letter_queue, "redrive --submissions shows and resubmits them")


def waiting(stage: Stage) -> Iterator[Finding]:
    """Check the age of the messages that wait for the batch_result_handler."""
    queue, depth = stage.queue, stage.queue.depth()
    limit = MAX_REDELIVERIES * redelivery_seconds(stage)
    age = _oldest_seconds(stage, queue)
    seen = f"{depth.waiting} waiting, {depth.inFlight} received, {_age_text(age)}"
    if isinstance(age, float) and age > limit:
        yield Finding(queue.name, State.BAD, f"{seen}, more than {span(limit)}", "runbook: message-age")
    else:
        yield Finding(queue.name, State.NOT_CHECKED if age == AGE_DENIED else State.OK, seen)


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
    now = datetime.now(UTC)
    cloudwatch = stage.clients.cloudwatch
    try:
        points = cloudwatch.get_metric_statistics(
            Namespace="AWS/SQS",
            MetricName="ApproximateAgeOfOldestMessage",
            Dimensions=[{"Name": "QueueName", "Value": queue.name}],
            StartTime=now - timedelta(minutes=15),
            EndTime=now,
            Period=300,
            Statistics=["Maximum"],
        )["Datapoints"]
    except cloudwatch.exceptions.ClientError as exc:
        if not is_denied(exc):
            raise
        return AGE_DENIED
    latest = max(points, key=lambda point: point.get("Timestamp", now), default=None)
    return "age not yet reported by CloudWatch" if latest is None else float(latest.get("Maximum", 0))
