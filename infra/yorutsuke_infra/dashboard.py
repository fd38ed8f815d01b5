"""What hangs on the wall: one dashboard per stage, from what rings at its top to the log at its bottom."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from yorutsuke_common.names import LogEvent

from .config import physical_name
from .metrics import MAX_FAILURE_PERCENT, MAX_PROCESSING_MILLISECONDS, PERIOD_SECONDS, StageMetrics
from .widgets import COLUMNS, Document, Row, Widgets, alarm_states, dashboard_body, thirds

DAY_SECONDS = 24 * 3600

# A test compares the fields with the log entries that the functions write.
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
SKIPPED_LINES = (
    f'filter event in ["{LogEvent.BATCH_RESULT_LINE_SKIPPED}"]',
    "stats count(*) as lines by reason",
    "sort lines desc",
)
UNMOVED_IMAGES = (
    f'filter event in ["{LogEvent.BATCH_RESULT_IMAGE_MIGRATION_FAILED}"]',
    "stats count(*) as images by operation, code",
    "sort images desc",
)


@dataclass(frozen=True)
class DashboardArgs:
    """What is shown: metrics, the stage's alarms, and the log groups of both functions, by their names."""

    stage: str
    region: pulumi.Input[str]
    metrics: StageMetrics
    alarms: Sequence[aws.cloudwatch.MetricAlarm]
    log_group: pulumi.Input[str]
    orchestrator_log_group: pulumi.Input[str]


class Dashboard(pulumi.ComponentResource):
    """The dashboard; `name` is what the console lists it by."""

    def __init__(self, name: str, args: DashboardArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("yorutsuke:monitoring:Dashboard", name, {}, opts)
        wall = wall_body(args)
        dashboard = aws.cloudwatch.Dashboard(
            "nights",
            dashboard_name=physical_name("nights", args.stage),
            dashboard_body=pulumi.Output.json_dumps(wall),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.name = dashboard.dashboard_name
        self.register_outputs({})


def wall_body(args: DashboardArgs) -> Document:
    """Return what one wants to see after a night: does anything ring, what came out, how, and what went wrong."""
    widgets, metrics = Widgets(args.region), args.metrics
    return dashboard_body(
        [
            Row(3, [(COLUMNS, alarm_states("Alarms, those that ring first", [alarm.arn for alarm in args.alarms]))]),
            _at_a_glance(widgets, metrics),
            _lines(widgets, metrics),
            _times(widgets, metrics),
            _queues(widgets, metrics),
            _services(widgets, metrics),
            _log(widgets, args.log_group),
            _submissions(widgets, metrics, args.orchestrator_log_group),
        ],
        start="-PT24H",
    )


def _at_a_glance(widgets: Widgets, metrics: StageMetrics) -> Row:
    night = widgets.totals(
        "The night at a glance",
        {
            "Lines good": metrics.good_lines,
            "Lines failed": metrics.failed_lines,
            "Failed of all, %": metrics.failure_percent,
            "Images not moved": metrics.failed_migrations,
            "Jobs not completed by Bedrock": metrics.failed_jobs,
        },
    )
    now = widgets.latest("Dead-letter queue now", {"Messages": metrics.dead_letters})
    return Row(4, [(18, night), (6, now)])


def _lines(widgets: Widgets, metrics: StageMetrics) -> Row:
    outcome = {"Good": metrics.good_lines, "Failed": metrics.failed_lines}
    return thirds(
        6,
        widgets.stack("Lines taken in", "lines", outcome),
        widgets.graph(
            f"Lines that failed, every {PERIOD_SECONDS // 60} minutes",
            "%",
            {"Failed": metrics.failure_percent},
            {f"rings above {MAX_FAILURE_PERCENT:g} %": MAX_FAILURE_PERCENT},
        ),
        widgets.stack("Lines by day (UTC), four weeks", "lines", outcome, period=DAY_SECONDS, start="-P28D"),
    )


def _times(widgets: Widgets, metrics: StageMetrics) -> Row:
    return thirds(
        6,
        widgets.graph(
            "Longest job",
            "milliseconds",
            {"Output taken in": metrics.processing_milliseconds},
            {f"rings above {MAX_PROCESSING_MILLISECONDS / 1000:g} s": MAX_PROCESSING_MILLISECONDS},
        ),
        widgets.graph(
            "Longest run of the function",
            "milliseconds",
            {"Run": metrics.function_milliseconds},
            {
                f"rings above {metrics.max_function_milliseconds / 1000:g} s": metrics.max_function_milliseconds,
                f"ended at {metrics.function_timeout_milliseconds / 1000:g} s": metrics.function_timeout_milliseconds,
            },
        ),
        widgets.graph(
            "Left undone",
            "jobs, images or records",
            {
                "Jobs not completed by Bedrock": metrics.failed_jobs,
                "Images not moved": metrics.failed_migrations,
                "Images without a line": metrics.missing_images,
                "Records not processed": metrics.unprocessed_records,
                "Manifest other than output": metrics.manifest_difference,
            },
        ),
    )


def _queues(widgets: Widgets, metrics: StageMetrics) -> Row:
    return thirds(
        6,
        widgets.graph(
            "Queue",
            "messages",
            {"Waiting": metrics.waiting_messages, "In work, or to come back": metrics.messages_in_flight},
        ),
        widgets.graph(
            "Oldest message of the queue",
            "seconds",
            {"Age": metrics.message_age_seconds},
            {f"rings above {metrics.max_message_age_seconds} s": metrics.max_message_age_seconds},
        ),
        widgets.graph("Dead-letter queue", "messages", {"Not delivered, or not taken in": metrics.dead_letters}),
    )


def _services(widgets: Widgets, metrics: StageMetrics) -> Row:
    return thirds(
        6,
        widgets.graph(
            "Function",
            "runs",
            {
                "Runs": metrics.function_runs,
                "Ended before they answered": metrics.function_errors,
                "Refused by Lambda": metrics.function_throttles,
                "At once": metrics.functions_at_once,
            },
        ),
        widgets.graph(
            "Throttled by DynamoDB",
            "items",
            {
                "Transactions": metrics.throttled_transactions,
                "Their index by job": metrics.throttled_by_job_index,
                "Images marked": metrics.throttled_image_writes,
                "Images looked up": metrics.throttled_image_reads,
            },
        ),
        widgets.graph(
            "Lost on the way",
            "messages",
            {
                "Outputs and manifests": metrics.lost_outputs,
                "Requests for jobs": metrics.lost_submissions,
                "Ends of jobs": metrics.lost_ends,
            },
        ),
    )


def _log(widgets: Widgets, log_group: pulumi.Input[str]) -> Row:
    return Row(
        7,
        [
            (12, widgets.query("The latest failures", log_group, LATEST_FAILURES)),
            (6, widgets.query("Lines skipped, by reason", log_group, SKIPPED_LINES, view="bar")),
            (6, widgets.query("Images not moved, by reason", log_group, UNMOVED_IMAGES)),
        ],
    )


def _submissions(widgets: Widgets, metrics: StageMetrics, log_group: pulumi.Input[str]) -> Row:
    return Row(
        6,
        [
            (
                6,
                widgets.graph(
                    "Orchestrator",
                    "runs",
                    {
                        "Runs": metrics.submission_runs,
                        "Failed, ended or refused": metrics.submission_errors,
                        "Not run by Lambda": metrics.submission_throttles,
                    },
                ),
            ),
            (6, widgets.graph("Requests given up", "messages", {"Waiting": metrics.failed_submissions})),
            (12, widgets.query("The latest jobs not submitted", log_group, LATEST_FAILED_SUBMISSIONS)),
        ],
    )
