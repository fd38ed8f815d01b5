"""`jobs`: the recent jobs of a stage, newest first."""

import heapq
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from rich.console import Group

from yorutsuke.jobs import JobRecord, Jobs
from yorutsuke.options import Json, Profile, Region, StageName
from yorutsuke.screen import Screen, table
from yorutsuke.stage import open_stage
from yorutsuke.times import age, parse_span

OLDEST = datetime.min.replace(tzinfo=UTC)
HEADERS = ("job", "intent", "status", "age", "good", "failed", "missing", "unmoved", "Bedrock's end")

Limit = Annotated[int, typer.Option("--limit", min=1, help="How many at most.")]
Status = Annotated[str | None, typer.Option("--status", help="Those of one status, such as SUBMITTED.")]
Since = Annotated[
    timedelta | None,
    typer.Option("--since", parser=parse_span, metavar="SPAN", help="Those submitted in the last 2d, 12h or 90m."),
]


def jobs(
    *,
    stage: StageName,
    limit: Limit = 20,
    status: Status = None,
    since: Since = None,
    region: Region = None,
    profile: Profile = None,
    json: Json = False,
) -> None:
    """List recent jobs, newest first, and what came of them."""
    screen = Screen(json=json)
    opened = open_stage(stage, region, profile)
    after = datetime.now(UTC) - since if since else OLDEST
    wanted = (
        job
        for job in Jobs(opened).every()
        if (status is None or job.status == status.upper()) and (job.submitted or OLDEST) >= after
    )
    newest = heapq.nlargest(limit, wanted, key=lambda job: (job.submitted or OLDEST, job.intentId))
    screen.show({"stage": stage, "jobs": [_answer(job) for job in newest]}, _table(stage, newest))


def _answer(job: JobRecord) -> dict[str, Any]:
    names = {"intentId", "jobId", "userId", "status", "submitTime", "completedAt", "resultStats", "bedrockStatus"}
    return job.model_dump(include=names)


def _table(stage: str, newest: list[JobRecord]) -> Group:
    return table(f"Jobs of stage {stage}: {len(newest)}, newest first", HEADERS, [_row(job) for job in newest])


def _row(job: JobRecord) -> list[object]:
    stats = job.resultStats
    counts = (
        [stats.successCount, stats.failureCount, stats.missingCount, stats.migrationFailedCount]
        if stats
        else [None] * 4
    )
    return [job.jobId, job.intentId, job.status, age(job.submitted), *counts, job.bedrockStatus]
