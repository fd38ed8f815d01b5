"""The dashboard of a stage: the alarms at the top, then the metrics, then the latest log entries."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from yorutsuke_common.names import MAX_FAILURE_PERCENT, LogEvent, physical_name

from .metrics import DAY_SECONDS, MAX_PROCESSING_MILLISECONDS, StageMetrics
from .widgets import COLUMNS, Row, Widgets, alarm_states, dashboard_body, equal_widths

# Each query is a list of CloudWatch Logs Insights commands. A test compares their fields with written log entries.
LATEST_FAILURES = (
    "fields @timestamp, event, jobId, error, detail, bedrockStatus",
    f'filter event in ["{LogEvent.BATCH_RESULT_FAILED}", "{LogEvent.BATCH_RESULT_JOB_FAILED}"]',
    "sort @timestamp desc",
    "limit 20",
)
LATEST_FAILED_SUBMISSIONS = (
    "fields @timestamp, event, intentId, error, detail",
    f'filter event in ["{LogEvent.BATCH_SUBMIT_FAILED}", "{LogEvent.BATCH_SUBMIT_REFUSED}"]',
    "sort @timestamp desc",
    "limit 20",
)
DEAD_LETTER_REASONS = (
    f'filter event in ["{LogEvent.BATCH_RESULT_LINE_SKIPPED}"]',
    "stats count(*) as records by reason",
    "sort records desc",
)
UNMOVED_IMAGES = (
    f'filter event in ["{LogEvent.BATCH_RESULT_IMAGE_MIGRATION_FAILED}"]',
    "stats count(*) as images by operation, code",
    "sort images desc",
)


@dataclass(frozen=True)
class DashboardArgs:
    """Arguments of `Dashboard`. `log_group` and `orchestrator_log_group` are names."""

    stage: str
    region: pulumi.Input[str]
    metrics: StageMetrics
    alarms: Sequence[aws.cloudwatch.MetricAlarm]
    log_group: pulumi.Input[str]
    orchestrator_log_group: pulumi.Input[str]


class Dashboard(pulumi.ComponentResource):
    """The dashboard. `name` is its name in CloudWatch.

    Resources:
        `{name}-jobs`: the dashboard.
    """

    def __init__(self, name: str, args: DashboardArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("yorutsuke:monitoring:Dashboard", name, {}, opts)
        dashboard = aws.cloudwatch.Dashboard(
            f"{name}-jobs",
            dashboard_name=physical_name(f"{name}-jobs", args.stage),
            dashboard_body=pulumi.Output.json_dumps(dashboard_body([*_rows(args)], start="-PT24H")),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.name = dashboard.dashboard_name
        self.register_outputs({"name": self.name})


def _rows(args: DashboardArgs) -> Iterator[Row]:
    """Yield the rows of the dashboard, from top to bottom."""
    show, metrics = Widgets(args.region), args.metrics
    yield Row(3, [(COLUMNS, alarm_states("Alarms, latest change first", [alarm.arn for alarm in args.alarms]))])
    yield from _job_rows(show, metrics)
    yield from _service_rows(show, metrics)
    yield Row(
        7,
        [
            (12, show.query("Latest failures", args.log_group, LATEST_FAILURES)),
            (6, show.query("Dead letters, by reason", args.log_group, DEAD_LETTER_REASONS, view="bar")),
            (6, show.query("Images not moved, by error code", args.log_group, UNMOVED_IMAGES)),
        ],
    )
    orchestrator = metrics.orchestrator
    runs = [orchestrator.invocations, orchestrator.errors, orchestrator.throttles]
    yield Row(
        6,
        [
            (6, show.graph("Invocations of batch_orchestrator", "invocations", runs)),
            (6, show.graph("Dead-letter queue of requests", "messages", [metrics.failed_requests.waiting])),
            (12, show.query("Latest failed submissions", args.orchestrator_log_group, LATEST_FAILED_SUBMISSIONS)),
        ],
    )
    if schedule := metrics.schedule:
        limits = {"alarm": schedule.max_waiting_seconds}
        yield equal_widths(
            6,
            show.graph("Waiting images after a scheduled run", "images", [schedule.waiting_images]),
            show.graph("Oldest waiting image", "seconds", [schedule.oldest_waiting_seconds], limits),
        )


def _job_rows(show: Widgets, metrics: StageMetrics) -> Iterator[Row]:
    jobs, handler = metrics.jobs, metrics.handler
    records, failures = [jobs.successful_records, jobs.failed_records], [jobs.failed_migrations, jobs.failed_jobs]
    duration_limits = {"alarm": handler.max_milliseconds, "timeout": handler.timeout_milliseconds}
    differences = [jobs.missing_images, jobs.unprocessed_records, jobs.manifest_difference]
    yield Row(
        4,
        [
            (18, show.totals("Last 24 hours", [*records, jobs.failure_percent, *failures])),
            (6, show.latest("Dead-letter queue, latest value", [metrics.dead_letters.waiting])),
        ],
    )
    yield equal_widths(
        6,
        show.stack("Records", "records", records),
        show.graph("Failed records", "%", [jobs.failure_percent], {"alarm": MAX_FAILURE_PERCENT}),
        show.stack("Records by day (UTC), four weeks", "records", records, period=DAY_SECONDS, start="-P28D"),
    )
    yield equal_widths(
        6,
        show.graph(
            "Longest processing of a job",
            "milliseconds",
            [jobs.processing_milliseconds],
            {"alarm": MAX_PROCESSING_MILLISECONDS},
        ),
        show.graph("Longest invocation", "milliseconds", [handler.milliseconds], duration_limits),
        show.graph("Incomplete jobs", "jobs, images or records", [*failures, *differences]),
    )


def _service_rows(show: Widgets, metrics: StageMetrics) -> Iterator[Row]:
    queue, handler = metrics.queue, metrics.handler
    runs = [handler.invocations, handler.errors, handler.throttles, handler.concurrency]
    lost = [metrics.lost_outputs, metrics.lost_requests, metrics.lost_job_ends]
    yield equal_widths(
        6,
        show.graph("Queue", "messages", [queue.waiting, queue.in_flight, metrics.jobs.failed_redeliveries]),
        show.graph("Oldest message", "seconds", [queue.age_seconds], {"alarm": handler.max_message_age_seconds}),
        show.graph("Dead-letter queue", "messages", [metrics.dead_letters.waiting]),
    )
    yield equal_widths(
        6,
        show.graph("Invocations of batch_result_handler", "invocations", runs),
        show.graph("DynamoDB throttle events", "events", metrics.tables.throttled),
        show.graph("Lost messages", "messages", lost),
    )
