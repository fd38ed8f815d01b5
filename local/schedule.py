"""`demo -- --schedule`: scheduled runs submit the images of several users until no image waits.

The receipts of each user are made up before the first run. The result compares all transactions with these receipts,
and not with anything that the pipeline stores.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.table import Table

from yorutsuke.orchestrator import submit
from yorutsuke.smoke.uploads import upload
from yorutsuke_common.schema import ImageStatus, JobStatus, iso_utc

from .bedrock.replies import READABLE, kind_of
from .job_run import SETTLE_SECONDS, JobRun, until
from .loop import StandIn, operators_stage
from .receipts import Receipt, make_image, make_readable_image, make_receipts
from .terminal import step

USERS = 9
RECEIPTS_PER_USER = 20
MIN_RECORDS = 1
"""Minimum number of images in a job, so that the last images do not wait for others."""
SETTINGS = {"jobSize": 60, "minRecords": MIN_RECORDS}
"""The settings of the stage. The first run submits three jobs."""
STAND_IN = StandIn(MIN_RECORDS, failing_job=2)
MAX_RUNS = 10
"""Maximum number of runs. An image has failed after `maxAttempts` jobs, so three runs are enough."""


@dataclass(frozen=True)
class ScheduleResult:
    """The receipts of each user, and the items of the three tables after the last run.

    `seconds` is the time from the first run to the end of the last job.
    """

    receipts: Mapping[str, list[Receipt]]
    images: list[dict[str, Any]]
    jobs: list[dict[str, Any]]
    transactions: list[dict[str, Any]]
    runs: int
    seconds: float

    def summary(self) -> dict[str, Any]:
        """Return the object that `--json` prints.

        An image is `lost` if it has neither a transaction nor failed with a reason, and `doubled` if it has more than
        one of these. A transaction has a `wrongOwner` if its receipt was not made for its user and its image.
        """
        failures = {
            image["imageId"]: image["failureReason"]
            for image in self.images
            if image["status"] == ImageStatus.FAILED and "failureReason" in image
        }
        ends = Counter([*failures, *(transaction["imageId"] for transaction in self.transactions)])
        expected = {
            receipt.image_id: {"userId": user, **receipt.fields}
            for user, own in self.receipts.items()
            for receipt in own
        }
        are_right = [
            each["imageId"] in expected and expected[each["imageId"]].items() <= each.items()
            for each in self.transactions
        ]
        return {
            "users": len(self.receipts),
            "images": len(expected),
            "runs": self.runs,
            "jobs": len(self.jobs),
            "failedJobs": sum(job["status"] == JobStatus.FAILED for job in self.jobs),
            "transactions": len(self.transactions),
            "failedImages": len(failures),
            "failureReasons": dict(sorted(Counter(failures.values()).items())),
            "lost": sum(not ends[image_id] for image_id in expected),
            "wrongOwner": are_right.count(False),
            "doubled": sum(count > 1 for count in ends.values()),
            "seconds": round(self.seconds, 2),
        }

    def tables(self) -> list[Table]:
        """Return the result as tables."""
        return [self._jobs_table(), self._result_table()]

    def _jobs_table(self) -> Table:
        users = {receipt.image_id: user for user, own in self.receipts.items() for receipt in own}
        table = Table("job", "intent", "status", title="Jobs", title_justify="left")
        for title in ("users", "images", "transactions"):
            table.add_column(title, justify="right")
        made = Counter(transaction["jobId"] for transaction in self.transactions)
        for job in sorted(self.jobs, key=lambda job: job["intentId"]):
            image_ids = job["pendingImageIds"]
            counts = (len({users[image_id] for image_id in image_ids}), len(image_ids), made[job["jobId"]])
            table.add_row(job["jobId"], job["intentId"], job["status"], *map(str, counts))
        return table

    def _result_table(self) -> Table:
        summary = self.summary()
        reasons = ", ".join(f"{reason} {count}" for reason, count in summary["failureReasons"].items())
        table = Table(show_header=False, title="Scheduled runs", title_justify="left")
        table.add_row("users", str(summary["users"]))
        table.add_row("images", str(summary["images"]))
        table.add_row("runs", str(summary["runs"]))
        table.add_row("jobs", f"{summary['jobs']}, of which failed: {summary['failedJobs']}")
        table.add_row(
            "transactions", f"{summary['transactions']}, of which with a wrong owner: {summary['wrongOwner']}"
        )
        table.add_row("failed images", f"{summary['failedImages']}" + (f": {reasons}" if reasons else ""))
        table.add_row("lost images", str(summary["lost"]))
        table.add_row("doubled images", str(summary["doubled"]))
        table.add_row("duration", f"{self.seconds:.1f} s since the first run")
        return table


def run_schedule(job_run: JobRun) -> ScheduleResult:
    """Upload the receipts of all users, and run the schedule until no image waits. Raises NotSettledError."""
    stage = operators_stage(job_run)
    receipts = {f"user-{n}": make_receipts(RECEIPTS_PER_USER, n, f"user{n}-") for n in range(1, USERS + 1)}
    with step(f"Adding {USERS * RECEIPTS_PER_USER} receipt images of {USERS} users"):
        for user, own in receipts.items():
            upload(stage, user, {receipt.image_id: _image(receipt) for receipt in own}, lambda: None)
    first, started, runs = datetime.now(UTC), time.perf_counter(), 0
    while runs < MAX_RUNS and _statuses(job_run)[ImageStatus.PENDING]:
        with step(f"Run {runs + 1} of the schedule") as show_progress:
            # The ids of the intents follow from the scheduled time.
            submit(stage, json.dumps({"scheduledTime": iso_utc(first + timedelta(hours=runs))}))
            _wait_until_ended(job_run, show_progress)
        runs += 1
    return ScheduleResult(
        receipts=receipts,
        images=job_run.items("pendingImagesTable"),
        jobs=job_run.items("batchJobsTable"),
        transactions=job_run.items("transactionsTable"),
        runs=runs,
        seconds=time.perf_counter() - started,
    )


def problem(summary: Mapping[str, Any]) -> str | None:
    """Return why the result of scheduled runs is not correct, or None if it is."""
    wrong = [f"{name}: {summary[name]}" for name in ("lost", "wrongOwner", "doubled") if summary[name]]
    rule = "Every receipt must become one transaction of its user, or a failed image with a reason."
    return f"The scheduled runs have a wrong result ({', '.join(wrong)}). {rule}" if wrong else None


def _image(receipt: Receipt) -> bytes:
    """Return the image of a receipt. The stand-in for Bedrock cannot read the images to which it gives bad replies."""
    is_readable = kind_of(receipt.image_id) in READABLE
    return make_readable_image(receipt) if is_readable else make_image(receipt.image_id)


def _statuses(job_run: JobRun) -> Counter[str]:
    return Counter(image["status"] for image in job_run.items("pendingImagesTable"))


def _wait_until_ended(job_run: JobRun, show_progress: Callable[[str], None]) -> None:
    """Wait until every job has ended and no job holds an image. Raises NotSettledError."""

    def is_ended() -> bool:
        statuses, jobs = _statuses(job_run), Counter(job["status"] for job in job_run.items("batchJobsTable"))
        show_progress(", ".join(f"{statuses[status]} {status.value}" for status in ImageStatus if statuses[status]))
        return not statuses[ImageStatus.SUBMITTED] and not jobs[JobStatus.SUBMITTED]

    until(is_ended, SETTLE_SECONDS, "the jobs of a scheduled run to end")
