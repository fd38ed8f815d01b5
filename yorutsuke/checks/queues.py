"""Checks the queues: the messages that wait, the dead-letter queues, and the mapping that feeds the function."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from yorutsuke.errors import is_denied
from yorutsuke.queues import Queue
from yorutsuke.stage import Stage
from yorutsuke.times import span
from yorutsuke_common.names import RESULT_HANDLER

from .finding import Finding, State

MAX_REDELIVERIES = 2
"""As the alarm `message-age` has it: one that has come back once may be a manifest ahead of its output."""

UNSEEN_AGE = "age not checked (cloudwatch:GetMetricStatistics is not allowed)"


def dead_letters(stage: Stage) -> Iterator[Finding]:
    """Look for messages that failed for good."""
    yield _emptiness(stage, stage.dead_letter_queue, "redrive --dry-run says what they are, redrive moves them back")


def failed_submissions(stage: Stage) -> Iterator[Finding]:
    """Look for requests for jobs that failed for good."""
    yield _emptiness(stage, stage.submit_dead_letter_queue, "redrive --submissions says which, and asks again")


def waiting(stage: Stage) -> Iterator[Finding]:
    """Look at the messages that wait for the function."""
    depth = stage.queue.depth()
    limit = MAX_REDELIVERIES * redelivery_seconds(stage)
    age = _oldest_seconds(stage, stage.queue)
    seen = f"{depth.waiting} waiting, {depth.in_flight} in work or to come back, {_aged(age)}"
    if not isinstance(age, str) and age > limit:
        yield Finding(stage.queue.name, State.BAD, f"{seen}, more than {span(limit)}", "runbook: message-age")
    else:
        yield Finding(stage.queue.name, State.NOT_CHECKED if age == UNSEEN_AGE else State.OK, seen)


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
    """Return how long it takes a message that failed to come back."""
    return int(stage.queue.attributes()["VisibilityTimeout"])


def _emptiness(stage: Stage, queue: Queue, remedy: str) -> Finding:
    depth = queue.depth()
    count = depth.waiting + depth.in_flight
    if not count:
        return Finding(queue.name, State.OK, "empty")
    return Finding(queue.name, State.BAD, f"{count} messages, {_aged(_oldest_seconds(stage, queue))}", remedy)


def _aged(age: float | str) -> str:
    return age if isinstance(age, str) else f"the oldest {span(age)} old"


def _oldest_seconds(stage: Stage, queue: Queue) -> float | str:
    """Return how old a queue's oldest message is, or why nobody knows: SQS says so to CloudWatch alone."""
    cloudwatch = stage.clients.cloudwatch
    now = datetime.now(UTC)
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
        return UNSEEN_AGE
    latest = max(points, key=lambda point: point.get("Timestamp", now), default=None)
    return "age not known to CloudWatch" if latest is None else float(latest.get("Maximum", 0))
