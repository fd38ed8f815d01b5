"""`retry-migrations`: moves the images of a job that could not be moved, and sets their transactions' status."""

from collections import Counter

from yorutsuke.errors import RefusedError, UnfinishedError
from yorutsuke.migrations import RetryResult, find_unmoved, retry, surplus
from yorutsuke.options import JobName, Yes, stage_command
from yorutsuke.screen import SHOWN_ROWS, Screen, table
from yorutsuke.stage import Stage
from yorutsuke.stored_jobs import StoredJob, find_job


@stage_command
def retry_migrations(screen: Screen, stage: Stage, job: JobName, *, yes: Yes = False) -> None:
    """Move the images that could not be moved. Set the status of their transactions."""
    stored = find_job(stage, job)
    job_id = _require_processed(stored)
    transactions = find_unmoved(stage, job_id)
    count, more = len(transactions), surplus(stored, len(transactions))
    result = RetryResult()
    if more:
        screen.say(
            f"The item of job {job_id} counts {more} unmoved images more than the {count} in the table, because "
            "their transactions were deleted or edited. The count is corrected when all images are moved."
        )
    if count or more:
        move = f"Move {count} images of job {job_id} that could not be moved?"
        correct = f"Correct the item of job {job_id} to 0 unmoved images?"
        screen.confirm(move if count else correct, yes=yes)
        with screen.progress("Moving images", count) as advance:
            result = retry(stage, stored, transactions, advance)
    rows = [[image_id, reason] for image_id, reason in sorted(result.failures.items())]
    tables = [table(f"Images not moved: {len(rows)}", ("image", "reason"), rows, SHOWN_ROWS)] if rows else []
    screen.show({"jobId": job_id, "found": count, **vars(result)}, *tables)
    screen.say(_summary(count, result))
    if rows:
        reasons = ", ".join(f"{reason} {n}" for reason, n in Counter(result.failures.values()).most_common())
        raise UnfinishedError(
            f"{len(rows)} images were not moved ({reasons}). Correct the cause, then run the command again."
        )


def _require_processed(stored: StoredJob) -> str:
    """Return the id of a job. Raises RefusedError if its output is still to be processed, which moves the images."""
    if stored.is_claimed or not stored.is_completed or not stored.processedOutputs:
        claimed = " and claimed" if stored.is_claimed else ""
        raise RefusedError(
            f"job {stored.name!r} is {stored.status}{claimed}, and its output is still to be processed, which moves "
            f"the images. Run the command again when the job is COMPLETED. `job {stored.name}` shows its state."
        )
    return stored.name


def _summary(count: int, result: RetryResult) -> str:
    summary = f"{result.moved} of {count} images were moved and their transactions updated."
    if result.edited:
        summary += (
            f" {result.edited} transactions were deleted or edited meanwhile. Their images were moved, and the "
            "transactions were left unchanged."
        )
    if result.corrected:
        summary += f" The job counted {result.corrected} unmoved images too many and was corrected."
    return summary
