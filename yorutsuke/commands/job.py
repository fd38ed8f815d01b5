"""`job`: everything about one job."""

from collections.abc import Iterator
from typing import Any

from rich.console import Group

from yorutsuke.job_report import SHOWN_IMAGES, JobReport, report_on
from yorutsuke.jobs import JobRecord
from yorutsuke.options import JobName, Json, Profile, Region, StageName
from yorutsuke.screen import Screen, facts, table
from yorutsuke.stage import Stage, open_stage
from yorutsuke.times import age

RECORD = {
    "intentId",
    "jobId",
    "userId",
    "status",
    "submitTime",
    "completedAt",
    "modelId",
    "manifestUri",
    "traceId",
    "imageCount",
    "resultStats",
    "bedrockStatus",
    "bedrockMessage",
    "bedrockCounts",
    "claimedBy",
    "claimedUntil",
}


def job(job: JobName, *, stage: StageName, region: Region = None, profile: Profile = None, json: Json = False) -> None:
    """Show everything about one job: record, outputs, dead letters, images, messages, log."""
    screen = Screen(json=json)
    opened = open_stage(stage, region, profile)
    with screen.progress(f"Looking {job} up"):
        report = report_on(opened, job)
    screen.show(_answer(report), *_tables(opened, report))
    if not json:
        screen.say(f"\nIts log, in the console:\n{report.log.link}\nand by the AWS CLI:\n{report.log.command}")


def _answer(report: JobReport) -> dict[str, Any]:
    missing = report.missing
    return {
        **report.record.model_dump(include=RECORD),
        "isClaimed": report.record.is_claimed,
        "outputs": [
            {
                "key": output.key,
                "bytes": output.size,
                "lastModified": output.modified,
                "etag": output.etag,
                "state": output.state,
            }
            for output in report.outputs
        ],
        "deadLetters": report.letters.by_reason,
        "missingImages": None if missing is None else {"count": len(missing), "first": missing[:SHOWN_IMAGES]},
        "unmovedImages": report.unmoved,
        "messages": {
            "queue": {"waiting": report.queue.waiting, "inFlight": report.queue.in_flight},
            "deadLetterQueue": {
                "waiting": report.dead_letter_queue.waiting,
                "inFlight": report.dead_letter_queue.in_flight,
            },
        },
        "log": {"link": report.log.link, "command": report.log.command},
    }


def _tables(stage: Stage, report: JobReport) -> Iterator[Group]:
    record = report.record
    yield facts(
        f"Job {record.name}",
        {
            "status": record.status,
            "intent": record.intentId,
            "user": record.userId,
            "submitted": _since(record.submitTime, age(record.submitted)),
            "completed": record.completedAt,
            "model": record.modelId,
            "manifest": record.manifestUri,
            "trace": record.traceId,
            "lines": _counts(record.resultStats),
            "Bedrock's counts": _counts(record.bedrockCounts),
            "Bedrock's end": record.bedrockStatus,
            "Bedrock's message": record.bedrockMessage,
            "claim": _claim(record),
            "images missing": _missing(report),
            "images unmoved": _unmoved(report),
            "messages": _messages(stage, report),
        },
    )
    if report.outputs:
        rows = [[o.key, o.size, age(o.modified), o.state] for o in report.outputs]
        yield table("Its objects", ("key", "bytes", "age", "state"), rows)
    if report.letters.count:
        rows = [[reason.value, count] for reason, count in report.letters.by_reason.most_common()]
        yield table(f"Its dead letters: {report.letters.count}", ("reason", "lines"), rows)


def _since(time: str | None, how_long: str | None) -> str | None:
    return f"{time} ({how_long} ago)" if how_long else time


def _counts(counts: Any) -> str | None:
    if counts is None:
        return None
    return "  ".join(f"{name}={count}" for name, count in counts.model_dump(exclude_none=True).items())


def _claim(record: JobRecord) -> str | None:
    if record.claimedUntil is None:
        return None
    return f"a function has it, until {record.claimedUntil} (epoch) at the latest" if record.is_claimed else "run out"


def _missing(report: JobReport) -> str | None:
    if not report.missing:
        return None if report.missing is None else "none"
    more = ", …" if len(report.missing) > SHOWN_IMAGES else ""
    return f"{len(report.missing)}: {', '.join(report.missing[:SHOWN_IMAGES])}{more}"


def _unmoved(report: JobReport) -> str:
    return f"{report.unmoved}: run retry-migrations {report.record.name}" if report.unmoved else "none"


def _messages(stage: Stage, report: JobReport) -> str:
    queue, dead = report.queue, report.dead_letter_queue
    look = f"; redrive --job {report.record.name} --dry-run says whether any is this job's" if dead.waiting else ""
    return (
        f"{queue.waiting} waiting and {queue.in_flight} in work in {stage.queue.name}, "
        f"{dead.waiting} in {stage.dead_letter_queue.name}{look}"
    )
