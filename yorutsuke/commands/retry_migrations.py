"""`retry-migrations`: the images of a job that could not be moved, and nothing else."""

from collections import Counter

from rich.console import Group

from yorutsuke.errors import RefusedError, UnfinishedError
from yorutsuke.jobs import JobRecord, Jobs
from yorutsuke.migrations import RetryResult, retry, surplus, unmoved
from yorutsuke.options import JobName, Json, Profile, Region, StageName, Yes
from yorutsuke.screen import Screen, table
from yorutsuke.stage import open_stage

SHOWN = 20


def retry_migrations(
    job: JobName,
    *,
    stage: StageName,
    yes: Yes = False,
    region: Region = None,
    profile: Profile = None,
    json: Json = False,
) -> None:
    """Move the images that could not be moved; of their transactions nothing changes but the status."""
    screen = Screen(json=json)
    opened = open_stage(stage, region, profile)
    record = Jobs(opened).find(job)
    _require_settled(record)
    count = sum(1 for _ in unmoved(opened, record))
    more = surplus(record, count)
    result = RetryResult()
    if more:
        screen.say(
            f"The record of job {record.name} counts {more} more than the {count} that the table has: somebody has "
            "deleted their transactions, or set their status. Where none is left unmoved, the count is corrected."
        )
    if count or more:
        screen.confirm(_question(record, count), yes=yes)
        with screen.progress("Moving", count) as steps:
            result = retry(opened, record, steps.advance)
    screen.show(
        {
            "jobId": record.jobId,
            "found": count,
            "moved": result.moved,
            "edited": result.edited,
            "corrected": result.corrected,
            "failures": result.failures,
        },
        *([_failures_table(result)] if result.failures else []),
    )
    screen.say(_said(count, result))
    if result.failures:
        raise UnfinishedError(
            f"{len(result.failures)} images stay where they are ({_counted(result)}): mend that, then run this again."
        )


def _question(record: JobRecord, count: int) -> str:
    if count:
        return f"Move {count} images of job {record.name} that could not be moved?"
    return f"Have the record of job {record.name} say that no image is left unmoved?"


def _said(count: int, result: RetryResult) -> str:
    said = f"{result.moved} of {count} images were moved and their transactions marked."
    if result.edited:
        said += (
            f" {result.edited} transactions were deleted, or their status was set, meanwhile: their images were moved "
            "as well, and they are left as they are."
        )
    if result.corrected:
        said += f" The record counted {result.corrected} more than there are, and does no longer."
    return said


def _require_settled(record: JobRecord) -> None:
    """Leave a job alone whose output is still to be taken in, or in again: that moves its images as well."""
    if record.is_claimed or not record.is_completed or not record.processedOutputs:
        claimed = " and claimed" if record.is_claimed else ""
        raise RefusedError(
            f"job {record.name!r} is {record.status}{claimed}, its output still to be taken in, which moves the images:"
            " try again once it is COMPLETED and free. `job` shows whether it is, `doctor` whether a replay died."
        )


def _counted(result: RetryResult) -> str:
    return ", ".join(f"{why} {count}" for why, count in Counter(result.failures.values()).most_common())


def _failures_table(result: RetryResult) -> Group:
    rows = [[image_id, why] for image_id, why in sorted(result.failures.items())]
    more = f", the first {SHOWN}" if len(rows) > SHOWN else ""
    return table(f"Not moved: {len(rows)}{more}", ("image", "why"), rows[:SHOWN])
