"""`job`: shows everything about one job."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from yorutsuke.letters import read_letters
from yorutsuke.log_query import cli_arguments, console_link, job_query
from yorutsuke.options import JobName, stage_command
from yorutsuke.outputs import job_outputs
from yorutsuke.screen import Screen, facts, list_first, table
from yorutsuke.stage import Stage
from yorutsuke.stored_jobs import StoredJob, find_item, read_job
from yorutsuke.times import age
from yorutsuke.transactions import job_transactions
from yorutsuke_common.aws.dynamodb import Item, from_item
from yorutsuke_common.names import LOCAL_STAGE, ORCHESTRATOR, RESULT_HANDLER, log_group
from yorutsuke_common.schema import Reason, TransactionStatus

from .dead_letters import reasons_table

SHOWN_IMAGES = 10
LOG_DAYS = 30
"""Number of days for which a job's item is kept. A stage keeps its logs as long by default."""


@stage_command
def job(screen: Screen, stage: Stage, job: JobName) -> None:
    """Show one job in detail. Include its outputs, dead letters, images, messages and log."""
    with screen.progress(f"Reading job {job}"):
        item = find_item(stage, job)
        stored = read_job(item)
        reasons, missing, unmoved = _results(stage, stored, item)
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
        "deadLetters": reasons,
        "missingImages": None if missing is None else {"count": len(missing), "first": missing[:SHOWN_IMAGES]},
        "unmovedImages": unmoved,
        "messages": {"queue": queue, "deadLetterQueue": dead},
        "log": {"link": link, "command": start_query},
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
    tables += [reasons_table(f"Dead letters of job {stored.name}", reasons)] if reasons else []
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


def _results(stage: Stage, stored: StoredJob, item: Item) -> tuple[Counter[Reason], list[str] | None, int]:
    """Return the number of dead letters by reason, the missing images, and the number of unmoved images.

    Missing images are requested images without a record. They are None while the request or the results are not known.
    """
    requested: list[str] | None = from_item(item).get("pendingImageIds")
    missing = {*(requested or ())}
    reasons: Counter[Reason] = Counter()
    unmoved = 0
    if stored.jobId:
        for _, letter in read_letters(stage, stored.jobId):
            reasons[letter.reason] += 1
            missing.discard(letter.imageId or "")
        for transaction in job_transactions(stage, stored.jobId, "imageId", "status"):
            missing.discard(transaction["imageId"]["S"])
            unmoved += transaction["status"]["S"] == TransactionStatus.MIGRATION_FAILED
    return reasons, None if requested is None or stored.resultStats is None else sorted(missing), unmoved


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
