"""`retry-migrations`: moves the images of a job that could not be moved, and sets their transactions' status."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Group

from yorutsuke.errors import NotFoundError, RefusedError, UnfinishedError
from yorutsuke.migrations import INDEX_SECONDS, RetryResult, Unmoved, find_unmoved, retry, surplus, target_date
from yorutsuke.options import JobName, Yes, stage_command
from yorutsuke.screen import SHOWN_ROWS, Screen, facts, quantity, table
from yorutsuke.stage import Stage
from yorutsuke.stored_jobs import StoredJob, find_job
from yorutsuke_common.names import PROCESSED_PREFIX, UPLOADS_PREFIX
from yorutsuke_common.schema import TransactionStatus


@stage_command
def retry_migrations(screen: Screen, stage: Stage, job: JobName, *, yes: Yes = False) -> None:
    """Move the images that could not be moved. Set the status of their transactions. A preview comes first."""
    stored = find_job(stage, job)
    job_id = _require_processed(stage, stored)
    transactions = find_unmoved(stage, job_id)
    count, more = len(transactions), surplus(stored, len(transactions))
    if not count and not more:
        raise _nothing_to_move(stored)
    if more:
        screen.say(
            f"The item of job {job_id} counts {quantity(more, 'unmoved image')} more than the {count} in the table, "
            "because their transactions were deleted or edited. The count is corrected when all images are moved."
        )
    screen.preview(_effects_table(stage, stored, transactions))
    move = f"Move {quantity(count, 'image')} of job {job_id} that could not be moved?"
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
            f"images that were not moved: {len(rows)} ({reasons}).", "Correct the cause, then run the command again."
        )


def _require_processed(stage: Stage, stored: StoredJob) -> str:
    """Return the id of a job. Raises RefusedError if its output is still to be processed, which moves the images."""
    if stored.is_claimed or not stored.is_completed or not stored.processedOutputs:
        claimed = " and claimed" if stored.is_claimed else ""
        raise RefusedError(
            f"job {stored.name!r} is {stored.status}{claimed}, and its output is still to be processed, which moves "
            "the images.",
            f"Run the command again when the job is COMPLETED. `{stage.command('job', stored.name)}` shows its state.",
        )
    return stored.name


def _nothing_to_move(stored: StoredJob) -> NotFoundError:
    problem = f"job {stored.name!r} does not have images that could not be moved, so nothing was changed."
    if not stored.unmoved_count:
        return NotFoundError(problem)
    # Soon after the completion, `surplus` is 0.
    return NotFoundError(
        f"{problem} Its item counts {quantity(stored.unmoved_count, 'unmoved image')}, and the index of the "
        "transactions may lag behind.",
        f"Run the command again {INDEX_SECONDS} seconds after the job's completion.",
    )


def _effects_table(stage: Stage, stored: StoredJob, transactions: Sequence[Unmoved]) -> Group:
    folders = sorted({f"{PROCESSED_PREFIX}{target_date(stage, transaction)}/" for transaction in transactions})
    return facts(
        f"Effects of moving the images of job {stored.name}",
        {
            "images to move": len(transactions),
            "from": UPLOADS_PREFIX,
            "to": ", ".join(folders),
            "status of their transactions": f"{TransactionStatus.MIGRATION_FAILED} → {TransactionStatus.PROCESSED}",
            "unmoved images in the job's item": f"{stored.unmoved_count} → 0, if all images are moved",
        },
    )


def _summary(count: int, result: RetryResult) -> str:
    summary = f"{result.moved} of {count} images were moved and their transactions updated."
    if result.edited:
        summary += (
            f" Transactions that were deleted or edited meanwhile: {result.edited}. Their images were moved, and the "
            "transactions were left unchanged."
        )
    if result.corrected:
        summary += f" The job counted {quantity(result.corrected, 'unmoved image')} too many and was corrected."
    return summary
