"""A night that goes wrong on purpose: jobs with causes that are real, and gone by the morning.

What mends them can be tried on what they leave. Nothing of that is written here: the pipeline does it all by itself.
"""

import tempfile
import time
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from yorutsuke_common.names import BATCH_OUTPUT_PREFIX, PROCESSED_PREFIX, UPLOADS_PREFIX
from yorutsuke_common.schema import JobStatus, TransactionStatus
from yorutsuke_infra.messaging import MAX_RECEIVES, VISIBILITY_PER_TIMEOUT

from .night import USER_ID, Night, until
from .outage import outage
from .receipts import Receipt, make_receipts, plan_lines
from .terminal import step

RECEIPTS = 40
"""Of each job."""
MISATTRIBUTED = 5
OTHER_USER_ID = "user-2"
FUNCTION_TIMEOUT_SECONDS = 2
"""What fails comes back after six times this: five receives take a minute, instead of the two and a half hours of a
stage's default. A warm function takes in forty receipts in less than a second; a cold start is not counted."""
DEAD_LETTER_SECONDS = 3 * MAX_RECEIVES * VISIBILITY_PER_TIMEOUT * FUNCTION_TIMEOUT_SECONDS


@dataclass(frozen=True)
class Trouble:
    """A job, what goes wrong with it, and the operator's command that mends it, if one does."""

    job_id: str
    broke: str
    command: str | None


COPIES_DENIED = Trouble("copiesdenied", "its images could not be copied to processed/", "retry-migrations copiesdenied")
OUTPUT_DENIED = Trouble("outputdenied", f"its output could not be read, {MAX_RECEIVES} times", "redrive")
FOREIGN_OWNER = Trouble(
    "foreignowner", f"{MISATTRIBUTED} of its images were said to be another user's", "replay foreignowner"
)
BEDROCK_FAILS = Trouble("bedrockfails", "Bedrock ended it as Failed, without an output", None)
NOTHING_AMISS = Trouble("nothingamiss", "nothing", None)
TROUBLES = (COPIES_DENIED, OUTPUT_DENIED, FOREIGN_OWNER, BEDROCK_FAILS, NOTHING_AMISS)


@dataclass(frozen=True)
class Remains:
    """What a job left on the stage."""

    trouble: Trouble
    status: str
    transactions: int
    migration_failed: int
    images_processed: int
    images_left: int
    dead_letters: Mapping[str, int]
    dead_messages: int

    def summary(self) -> dict[str, Any]:
        """Return it as `--json` tells it. `deadLetters` has how many there are for each reason."""
        return {
            "jobId": self.trouble.job_id,
            "status": self.status,
            "broke": self.trouble.broke,
            "transactions": self.transactions,
            "migrationFailed": self.migration_failed,
            "imagesProcessed": self.images_processed,
            "imagesLeft": self.images_left,
            "deadLetters": dict(self.dead_letters),
            "deadMessages": self.dead_messages,
            "command": self.trouble.command,
        }

    def told(self) -> str:
        """Return it in words."""
        counts = [
            (self.transactions, "transactions"),
            (self.migration_failed, "of them migrationFailed"),
            (self.images_processed, "images in processed/"),
            (self.images_left, "images in uploads/"),
            *((count, f"dead letters {reason}") for reason, count in self.dead_letters.items()),
            (self.dead_messages, "in the dead-letter queue"),
        ]
        return ", ".join(f"{count} {what}" for count, what in counts if count)


@dataclass(frozen=True)
class BrokenNight:
    """What the night left, job by job, in the morning."""

    remains: list[Remains]
    dlq_depth: int
    seconds: float

    def summary(self) -> dict[str, Any]:
        """Return the night as the one JSON object that `--json` prints."""
        return {
            "jobs": [remains.summary() for remains in self.remains],
            "dlqDepth": self.dlq_depth,
            "seconds": round(self.seconds, 2),
        }

    def table(self) -> Table:
        """Return the night as a table: a row for each job."""
        table = Table(title="The morning after", title_justify="left", caption_justify="left")
        table.caption = (
            "Each command goes after: python3 -m nox -s yorutsuke -- … --stage local\n"
            "What Bedrock did not read waits for another job: there is no Bedrock here."
        )
        table.add_column("job", no_wrap=True)
        for title in ("status", "what broke", "what it left behind"):
            table.add_column(title)
        table.add_column("what mends it", no_wrap=True)
        for remains in self.remains:
            trouble = remains.trouble
            mended = trouble.command or ("–" if trouble is NOTHING_AMISS else "submit its images again")
            table.add_row(*map(escape, (trouble.job_id, remains.status, trouble.broke, remains.told(), mended)))
        return table


def break_night(stage: Night) -> BrokenNight:
    """Have the jobs of a night go wrong on a stage, each in its way, and mend every cause.

    The stage's function is to have FUNCTION_TIMEOUT_SECONDS. Raises NotSettledError.
    """
    started = time.perf_counter()
    jobs = {
        trouble: _Job(replace(stage, job_id=trouble.job_id), make_receipts(RECEIPTS, seed, f"{trouble.job_id}-"))
        for seed, trouble in enumerate(TROUBLES, 1)
    }
    with step(f"Seeding {len(jobs)} jobs of {RECEIPTS} receipt images each"):
        for job in jobs.values():
            job.seed()
    output_denied = jobs[OUTPUT_DENIED]
    with outage(stage, "s3:GetObject", f"{BATCH_OUTPUT_PREFIX}{OUTPUT_DENIED.job_id}/*"):
        output_denied.drop_output()
        _have_copies_denied(jobs[COPIES_DENIED])
        _have_images_misattributed(jobs[FOREIGN_OWNER])
        _have_bedrock_fail(jobs[BEDROCK_FAILS])
        _have_nothing_amiss(jobs[NOTHING_AMISS])
        _wait_until_given_up(output_denied.night)
    remains = [_remains(trouble, job.night) for trouble, job in jobs.items()]
    return BrokenNight(remains, stage.dlq_depth(), time.perf_counter() - started)


@dataclass(frozen=True)
class _Job:
    night: Night
    receipts: list[Receipt]

    @property
    def image_ids(self) -> list[str]:
        return [receipt.image_id for receipt in self.receipts]

    def seed(self) -> None:
        self.night.seed_images(self.image_ids)
        self.night.seed_job(self.image_ids)

    def drop_output(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "output.jsonl"
            file.write_text("".join(f"{line}\n" for line in plan_lines(self.receipts)))
            self.night.drop_output(file)


def _have_copies_denied(job: _Job) -> None:
    with (
        step(f"{job.night.job_id}: taken in while nothing can be copied to processed/"),
        outage(job.night, "s3:PutObject", f"{PROCESSED_PREFIX}*"),
    ):
        job.drop_output()
        job.night.wait_until_completed()


def _have_images_misattributed(job: _Job) -> None:
    with (
        step(f"{job.night.job_id}: taken in while {MISATTRIBUTED} images are said to be {OTHER_USER_ID}'s"),
        _misattributed(job.night, job.image_ids[:MISATTRIBUTED]),
    ):
        job.drop_output()
        job.night.wait_until_completed()


@contextmanager
def _misattributed(night: Night, image_ids: list[str]) -> Generator[None]:
    """Have pending-images say for a while that images are another user's."""
    night.set_owner(image_ids, OTHER_USER_ID)
    try:
        yield
    finally:
        night.set_owner(image_ids, USER_ID)


def _have_bedrock_fail(job: _Job) -> None:
    with step(f"{job.night.job_id}: ended by Bedrock as Failed"):
        job.night.end_job("Failed", "The model could not be reached.")
        job.night.wait_until(lambda record: record["status"] == JobStatus.FAILED, "be FAILED")


def _have_nothing_amiss(job: _Job) -> None:
    with step(f"{job.night.job_id}: taken in"):
        job.drop_output()
        job.night.wait_until_completed()


def _wait_until_given_up(night: Night) -> None:
    """Wait until the message about an output has failed so often that it is in the dead-letter queue."""
    with step(f"{night.job_id}: given up in a minute or so") as say_so_far:

        def is_given_up() -> int:
            say_so_far(f"{len(list(night.failures()))} of {MAX_RECEIVES} receives")
            return night.dead_messages()

        until(is_given_up, DEAD_LETTER_SECONDS, f"the message about {night.job_id!r} to be in the dead-letter queue")


def _remains(trouble: Trouble, night: Night) -> Remains:
    transactions = Counter(transaction["status"] for transaction in night.transactions())
    own = partial(_own_images, night)
    return Remains(
        trouble=trouble,
        status=night.job()["status"],
        transactions=transactions.total(),
        migration_failed=transactions[TransactionStatus.MIGRATION_FAILED],
        images_processed=own(PROCESSED_PREFIX),
        images_left=own(UPLOADS_PREFIX),
        dead_letters=Counter(letter["reason"] for letter in night.dead_letters()),
        dead_messages=night.dead_messages(),
    )


def _own_images(night: Night, prefix: str) -> int:
    """Return how many images of the job there are below a prefix: their ids begin with the job's."""
    return sum(night.job_id in key for key in night.object_keys(prefix))
