"""`job`: shows everything about one job."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from yorutsuke.job_images import JobImage, JobRecords, job_images, read_records, requested_ids
from yorutsuke.log_query import cli_arguments, console_link, job_query
from yorutsuke.options import JobName, stage_command
from yorutsuke.outputs import job_outputs
from yorutsuke.screen import Screen, facts, list_first, table
from yorutsuke.stage import Stage
from yorutsuke.stored_jobs import StoredJob, find_item, read_job
from yorutsuke.times import age
from yorutsuke_common.names import LOCAL_STAGE, ORCHESTRATOR, RESULT_HANDLER, log_group
from yorutsuke_common.schema import TransactionStatus

from .dead_letters import reasons_table

SHOWN_IMAGES = 10
LOG_DAYS = 30
"""Number of days for which a job's item is kept. A stage keeps its logs as long by default."""


IMAGE_HEADERS = ("image", "user", "outcome", "detail", "status", "attempts", "failure")

Images = Annotated[bool, typer.Option("--images", help="List every image of the job with its outcome.")]


@stage_command
def job(screen: Screen, stage: Stage, job: JobName, *, images: Images = False) -> None:
    """Show one job in detail. Include its outputs, dead letters, images, messages and log."""
    with screen.progress(f"Reading job {job}"):
        item = find_item(stage, job)
        stored = read_job(item)
        requested = requested_ids(item)
        records = read_records(stage, stored)
        missing, unmoved = _missing(stored, requested, records), _unmoved(records)
        listed = job_images(stage, stored, requested, records) if images else None
        outputs = [*job_outputs(stage, stored)]
        queue, dead = stage.queue.depth(), stage.dead_letter_queue.depth()
    now = datetime.now(UTC)
    start = stored.submitted or now - timedelta(days=LOG_DAYS)
    groups = [log_group(stage.physical(name)) for name in (RESULT_HANDLER, ORCHESTRATOR)]
    query = groups, job_query(stored.intentId, stored.jobId), start, now
    # The console shows the logs of AWS, not those of the emulator.
    link = None if stage.name == LOCAL_STAGE else console_link(stage.clients.lambda_.meta.region_name, *query)
    start_query = stage.aws_command(*cli_arguments(*query))
    answer = {
        **stored.model_dump(exclude={"processedOutputs"}),
        "isClaimed": stored.is_claimed,
        "outputs": outputs,
        "deadLetters": records.reasons,
        "missingImages": None if missing is None else {"count": len(missing), "first": missing[:SHOWN_IMAGES]},
        "unmovedImages": unmoved,
        "messages": {"queue": queue, "deadLetterQueue": dead},
        "log": {"link": link, "command": start_query},
        **({} if listed is None else {"images": [image.answer() for image in listed]}),
    }
    unmoved_known = "0" if stored.resultStats else None
    rows = {
        **_job_facts(stored),
        "images missing": None if missing is None else _listed(missing),
        "images unmoved": unmoved or unmoved_known,
        "messages": f"{queue.waiting} waiting and {queue.inFlight} received in {stage.queue.name}, "
        f"{dead.waiting} in {stage.dead_letter_queue.name}, for all jobs",
    }
    objects = [[output.key, output.bytes, age(output.lastModified), output.state] for output in outputs]
    tables = [facts(f"Job {stored.name}", rows)]
    title = f"Objects of job {stored.name}"
    tables += [table(title, ("key", "bytes", "age", "state"), objects)] if objects else []
    tables += [reasons_table(f"Dead letters of job {stored.name}", records.reasons)] if records.reasons else []
    if listed is not None:
        tables.append(table(f"Images of job {stored.name}: {len(listed)}", IMAGE_HEADERS, [*map(_image_row, listed)]))
    screen.show(answer, *tables)
    if not screen.json:
        # A command in a table could be broken into several lines.
        if unmoved:
            screen.say("", "Move the unmoved images:", stage.command("retry-migrations", stored.name))
        if dead.waiting:
            dead_messages = stage.command("redrive", "--job", stored.name, "--dry-run")
            screen.say("", "Show the dead messages of this job:", dead_messages)
        console = ("Log entries in the CloudWatch console:", link) if link else ()
        screen.say("", *console, "Log entries with the AWS CLI:", start_query)


def _missing(stored: StoredJob, requested: Sequence[str] | None, records: JobRecords) -> list[str] | None:
    """Return the requested images without a record, or None while the request or the results are not known."""
    return None if requested is None or stored.resultStats is None else sorted({*requested} - records.image_ids)


def _unmoved(records: JobRecords) -> int:
    return sum(status == TransactionStatus.MIGRATION_FAILED for _, status in records.transactions.values())


def _image_row(image: JobImage) -> list[object]:
    stored = image.stored
    detail = " ".join(image.transaction) if image.transaction else image.reason and image.reason.value
    item = (stored.status, stored.attempts, stored.failure_reason) if stored else (None, None, None)
    return [image.image_id, stored and stored.user_id, image.outcome.value, detail, *item]


def _job_facts(stored: StoredJob) -> dict[str, object]:
    how_long = age(stored.submitted)
    claim = f"held until {stored.claimedUntil} (epoch seconds)" if stored.is_claimed else "expired"
    return {
        "status": stored.status,
        "intent": stored.intentId,
        "user": stored.userId,
        "submitted": f"{stored.submitTime} ({how_long} ago)" if how_long else stored.submitTime,
        "completed": stored.completedAt,
        "model": stored.modelId,
        "manifest (input)": stored.manifestUri,
        "trace": stored.traceId,
        "records": _counts(stored.resultStats),
        "Bedrock's counts": _counts(stored.bedrockCounts),
        "Bedrock's end": stored.bedrockStatus,
        "Bedrock's message": stored.bedrockMessage,
        "claim": stored.claimedUntil and claim,
    }


def _counts(counts: Any) -> str | None:
    return counts and "  ".join(f"{name}={n}" for name, n in counts.model_dump(exclude_none=True).items())


def _listed(missing: list[str]) -> str:
    return f"{len(missing)}: {list_first(missing, len(missing), SHOWN_IMAGES)}" if missing else "0"
