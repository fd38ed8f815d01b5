"""`jobs`: lists the recent jobs of a stage, newest first."""

import heapq
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from yorutsuke.errors import NotFoundError
from yorutsuke.options import stage_command
from yorutsuke.screen import Screen, table
from yorutsuke.stage import Stage
from yorutsuke.stored_jobs import StoredJob, all_jobs
from yorutsuke.times import age, parse_since
from yorutsuke_common.schema import JobStatus

OLDEST = datetime.min.replace(tzinfo=UTC)
HEADERS = ("job", "intent", "status", "age", "good", "failed", "missing", "unmoved", "Bedrock's end")
ANSWER = {"intentId", "jobId", "userId", "status", "submitTime", "completedAt", "resultStats", "bedrockStatus"}

Limit = Annotated[int, typer.Option("--limit", min=1, help="Maximum number of jobs to list.")]
Status = Annotated[str | None, typer.Option("--status", help="List only jobs with this status, such as SUBMITTED.")]
Since = Annotated[
    timedelta | None,
    typer.Option(
        "--since", parser=parse_since, metavar="SPAN", help="List only jobs submitted in this time, such as 2d or 12h."
    ),
]


@stage_command
def jobs(screen: Screen, stage: Stage, *, limit: Limit = 20, status: Status = None, since: Since = None) -> None:
    """List recent jobs and their results, newest first."""
    after = datetime.now(UTC) - since if since else OLDEST
    stored = all_jobs(stage)
    known = [*JobStatus, *sorted({job.status for job in stored} - {*JobStatus})]
    if status and status.upper() not in known:
        raise NotFoundError(f"the status {status!r} does not exist.", f"Use one of {', '.join(known)}.")
    wanted = [
        job for job in stored if (status is None or job.status == status.upper()) and (job.submitted or OLDEST) >= after
    ]
    newest = heapq.nlargest(limit, wanted, key=lambda job: (job.submitted or OLDEST, job.intentId))
    answer = {"stage": stage.name, "jobs": [job.model_dump(include=ANSWER) for job in newest]}
    title = f"Jobs of stage {stage.name}: {len(newest)}, newest first"
    screen.show(answer, table(title, HEADERS, [_row(job) for job in newest]))


def _row(job: StoredJob) -> list[object]:
    stats = job.resultStats
    counts = (
        [stats.successCount, stats.failureCount, stats.missingCount, stats.migrationFailedCount]
        if stats
        else [None] * 4
    )
    return [job.jobId, job.intentId, job.status, age(job.submitted), *counts, job.bedrockStatus]
