"""The alarms of a stage, as data."""

from dataclasses import dataclass

from yorutsuke_common.names import MAX_FAILURE_PERCENT

from .metrics import (
    MAX_PROCESSING_MILLISECONDS,
    MAX_TIMEOUT_SHARE,
    PERIOD_SECONDS,
    Metric,
    Rate,
    ScheduleMetrics,
    StageMetrics,
)


@dataclass(frozen=True)
class Alarm:
    """An alarm that fires if `metric` exceeds `threshold` in one of the latest periods.

    Attributes:
        periods: Number of the latest periods.
        lasting: Whether the alarm is about a state rather than an event. A lasting alarm also notifies when the state
            ends. Missing data does not change its state, because SQS stops the metrics of an inactive queue and a
            scheduled run is the only source of its metrics.
            Source: Amazon SQS developer guide, "Available CloudWatch metrics for Amazon SQS".
    """

    name: str
    description: str
    metric: Metric | Rate
    threshold: float = 0
    periods: int = 1
    lasting: bool = False


def stage_alarms(metrics: StageMetrics) -> tuple[Alarm, ...]:
    """Return the alarms of a stage. docs/events.md has the situation in which the metric of each alarm changes."""
    jobs, handler, orchestrator = metrics.jobs, metrics.handler, metrics.orchestrator
    return (
        Alarm(
            "failure-rate",
            f"More than {MAX_FAILURE_PERCENT} % of the records processed in {PERIOD_SECONDS // 60} minutes failed.",
            jobs.failure_percent,
            MAX_FAILURE_PERCENT,
        ),
        Alarm(
            "processing-time",
            f"The processing of a job's output took longer than {MAX_PROCESSING_MILLISECONDS // 1000} s.",
            jobs.processing_milliseconds,
            MAX_PROCESSING_MILLISECONDS,
        ),
        Alarm(
            "failed-jobs",
            "A Bedrock job ended without completing. Some of its images may not have been read.",
            jobs.failed_jobs,
        ),
        Alarm("failed-migrations", "The image of a transaction could not be moved.", jobs.failed_migrations),
        Alarm(
            "dlq-depth",
            "A message could not be delivered or processed. It is in the dead-letter queue.",
            metrics.dead_letters.waiting,
            lasting=True,
        ),
        # The function reports each failed message in its response, so Lambda's error metric does not count them. The
        # age of the message does not show the failures either, because SQS omits the message after its third receive.
        Alarm(
            "failed-redeliveries",
            "A message failed at its second or a later delivery. After the fifth, it is in the dead-letter queue.",
            jobs.failed_redeliveries,
        ),
        Alarm(
            "message-age",
            "The batch_result_handler does not receive the messages of its queue.",
            metrics.queue.age_seconds,
            handler.max_message_age_seconds,
            lasting=True,
        ),
        Alarm(
            "lost-outputs",
            "A notification of an output file or output manifest reached neither its target nor the dead-letter queue.",
            metrics.lost_outputs,
        ),
        Alarm(
            "lost-job-ends",
            "The event of a failed job reached neither the queue nor the dead-letter queue.",
            metrics.lost_job_ends,
        ),
        Alarm(
            "function-errors",
            "An invocation of the batch_result_handler failed: it timed out, ran out of memory, or did not start.",
            handler.errors,
            periods=handler.periods,
        ),
        Alarm(
            "function-throttles",
            "Lambda throttled the batch_result_handler: its concurrency is used up.",
            handler.throttles,
        ),
        Alarm(
            "function-duration",
            f"The batch_result_handler used more than {100 * MAX_TIMEOUT_SHARE:.0f} % of its timeout. "
            "A job that times out starts again.",
            handler.milliseconds,
            handler.max_milliseconds,
            handler.periods,
        ),
        Alarm(
            "submit-errors",
            "A request failed: the batch_orchestrator raised an error, timed out, or refused it.",
            orchestrator.errors,
            periods=orchestrator.periods,
        ),
        Alarm(
            "submit-throttles",
            "Lambda throttled the batch_orchestrator: its concurrency is used up.",
            orchestrator.throttles,
        ),
        Alarm(
            "submit-dlq-depth",
            "An asynchronous request failed after all retries. It is in the batch_orchestrator's dead-letter queue.",
            metrics.failed_requests.waiting,
            lasting=True,
        ),
        Alarm(
            "lost-submissions",
            "An asynchronous request failed after all retries and did not reach the dead-letter queue.",
            metrics.lost_requests,
        ),
        *(schedule_alarms(metrics.schedule) if metrics.schedule else ()),
    )


def schedule_alarms(schedule: ScheduleMetrics) -> tuple[Alarm, ...]:
    """Return the alarms of a stage with a schedule."""
    return (
        Alarm(
            "waiting-images",
            f"The oldest image that waits for a scheduled job is older than maxWaitDays ({schedule.max_wait_days}).",
            schedule.oldest_waiting_seconds,
            schedule.max_waiting_seconds,
            lasting=True,
        ),
    )
