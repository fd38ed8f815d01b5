"""Everything that a stage knows of one job, from its record to where its messages may be."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from yorutsuke_common.aws.dynamodb import from_item
from yorutsuke_common.schema import TransactionStatus

from .jobs import JobRecord, Jobs
from .letters import Tally, read_letters
from .log_query import LogQuery, job_query
from .outputs import JobOutput, job_outputs
from .queues import Depth
from .stage import Stage
from .transactions import job_transactions

SHOWN_IMAGES = 10
LOG_DAYS = 30
"""How long a job's record lives, and by default its log."""


@dataclass(frozen=True)
class JobReport:
    """What there is of a job.

    `missing` are the images that no line answered, None where nobody knows which were asked for.
    """

    record: JobRecord
    outputs: Sequence[JobOutput]
    letters: Tally
    missing: Sequence[str] | None
    unmoved: int
    queue: Depth
    dead_letter_queue: Depth
    log: LogQuery


def report_on(stage: Stage, name: str) -> JobReport:
    """Look everything up. Raises NotFoundError; botocore's errors as they come."""
    jobs = Jobs(stage)
    asked_for: list[str] | None = from_item(jobs.item(name)).get("pendingImageIds")
    record = jobs.find(name)
    letters = Tally(limit=0)
    unanswered = set(asked_for or ())
    unmoved = 0
    if record.jobId:
        for _, letter in read_letters(stage, record.jobId):
            letters.add(letter)
            unanswered.discard(letter.imageId or "")
        for item in job_transactions(stage, record.jobId, "imageId", "status"):
            unanswered.discard(item["imageId"]["S"])
            unmoved += item["status"]["S"] == TransactionStatus.MIGRATION_FAILED
    return JobReport(
        record=record,
        outputs=list(job_outputs(stage, record)),
        letters=letters,
        missing=None if asked_for is None or record.resultStats is None else sorted(unanswered),
        unmoved=unmoved,
        queue=stage.queue.depth(),
        dead_letter_queue=stage.dead_letter_queue.depth(),
        log=_log_of(stage, record),
    )


def _log_of(stage: Stage, record: JobRecord) -> LogQuery:
    now = datetime.now(UTC)
    start = record.submitted or now - timedelta(days=LOG_DAYS)
    return LogQuery(stage.region, stage.log_groups(), job_query(record.intentId, record.jobId), start, now)
