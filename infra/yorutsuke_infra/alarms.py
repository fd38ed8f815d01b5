"""The alarms of a stage, as data."""

from dataclasses import dataclass

from yorutsuke_common.names import MAX_FAILURE_PERCENT, MAX_REDELIVERIES

from .metrics import MAX_PROCESSING_MILLISECONDS, Metric, Rate, StageMetrics


@dataclass(frozen=True)
class Alarm:
    """An alarm that fires if `metric` exceeds `threshold` in a period.

    Attributes:
        lasting: Whether the alarm is about a state rather than an event. A lasting alarm also notifies when the state
            ends, and missing data leaves it as it is, because SQS stops counting the messages of an inactive queue.
            Source: Amazon SQS developer guide, "Available CloudWatch metrics for Amazon SQS".
    """

    name: str
    description: str
    metric: Metric | Rate
    threshold: float = 0
    lasting: bool = False


def stage_alarms(metrics: StageMetrics) -> tuple[Alarm, ...]:
    """Return the alarms of a stage. The runbook has a section on each of them."""
    jobs, handler, orchestrator = metrics.jobs, metrics.handler, metrics.orchestrator
    return (
        Alarm(
            "failure-rate",
            f"More than {MAX_FAILURE_PERCENT} % of the lines of a job's output failed.",
            jobs.failure_percent,
            MAX_FAILURE_PERCENT,
        ),
        Alarm(
            "processing-time",
            f"A job took longer than {MAX_PROCESSING_MILLISECONDS // 1000} s.",
            jobs.processing_milliseconds,
            MAX_PROCESSING_MILLISECONDS,
        ),
        Alarm("failed-jobs", "A Bedrock job ended without completing. Some images were not read.", jobs.failed_jobs),
        Alarm("failed-migrations", "The image of a transaction could not be moved.", jobs.failed_migrations),
        Alarm(
            "dlq-depth",
            "A message could not be delivered or processed, and is in the dead-letter queue.",
            metrics.dead_letters.waiting,
            lasting=True,
        ),
        # The function reports failed messages one by one, so Lambda's error metric does not count them.
        Alarm(
            "message-age",
            f"A message has failed at least {MAX_REDELIVERIES} times, or the function does not receive it.",
            metrics.queue.age_seconds,
            handler.max_message_age_seconds,
            lasting=True,
        ),
        Alarm(
            "lost-outputs",
            "The notification of an output file reached neither the function nor the dead-letter queue.",
            metrics.lost_outputs,
        ),
        Alarm(
            "lost-job-ends",
            "The event of a failed job reached neither the queue nor the dead-letter queue.",
            metrics.lost_job_ends,
        ),
        Alarm(
            "function-errors",
            "The function ended without an answer: it timed out, ran out of memory, or did not start.",
            handler.errors,
        ),
        Alarm(
            "function-throttles",
            "Lambda throttled the function: its concurrency is used up.",
            handler.throttles,
        ),
        Alarm(
            "function-duration",
            "The function took almost its whole timeout. A job that times out starts again.",
            handler.milliseconds,
            handler.max_milliseconds,
        ),
        Alarm(
            "submit-errors",
            "A job was not submitted: the orchestrator failed, timed out, or refused the request.",
            orchestrator.errors,
        ),
        Alarm(
            "submit-throttles",
            "Lambda throttled the orchestrator: its concurrency is used up.",
            orchestrator.throttles,
        ),
        Alarm(
            "submit-dlq-depth",
            "An asynchronous request failed after all retries, and is in the orchestrator's dead-letter queue.",
            metrics.failed_requests.waiting,
            lasting=True,
        ),
        Alarm(
            "lost-submissions",
            "An asynchronous request failed after all retries, and did not reach the dead-letter queue.",
            metrics.lost_requests,
        ),
    )
