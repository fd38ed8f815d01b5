"""`redrive`: shows the messages of a dead-letter queue, and has them processed again."""

from typing import Annotated

import typer

from yorutsuke.errors import NotFoundError, UnfinishedError
from yorutsuke.failed_requests import FailedRequest
from yorutsuke.job_records import find_record
from yorutsuke.options import Yes, stage_command
from yorutsuke.queues import HIDDEN_SECONDS
from yorutsuke.redrive import MessageGroup, Redrive, find_messages, find_requests, move_messages, resubmit_requests
from yorutsuke.screen import SHOWN_ROWS, Screen, table
from yorutsuke.stage import Stage
from yorutsuke.times import span

MESSAGE_HEADERS = ("messages", "about", "job", "oldest", "receives", "")
REQUEST_HEADERS = ("intent", "user", "images", "failed", "with", "")

OfJob = Annotated[str | None, typer.Option("--job", metavar="JOB", help="Only those of one job or intent.")]
Submissions = Annotated[bool, typer.Option("--submissions", help="Redrive failed requests for jobs instead.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the messages, and leave them in the queue.")]


@stage_command
def redrive(
    screen: Screen,
    stage: Stage,
    *,
    job: OfJob = None,
    submissions: Submissions = False,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Move dead messages back to the queue, or resubmit failed requests for jobs, after a preview."""
    queue = stage.submit_dead_letter_queue if submissions else stage.dead_letter_queue
    with screen.progress(f"Reading {queue.name}", queue.depth().waiting) as advance:
        if submissions:
            redrive = find_requests(stage, job, advance)
        else:
            redrive = find_messages(stage, _job_id(stage, job), advance)
    if redrive.rows:
        headers = REQUEST_HEADERS if submissions else MESSAGE_HEADERS
        rows = [_cells(row) for row in redrive.rows]
        screen.preview(table(f"In {queue.name}: {redrive.count} messages", headers, rows, SHOWN_ROWS))
    if (count := len(redrive.readable)) and not dry_run:
        move = f"Move {count} messages from {queue.name} to {stage.queue.name}?"
        screen.confirm(f"Ask for {count} jobs again?" if submissions else move, yes=yes)
        with screen.progress("Redriving", count) as advance:
            (resubmit_requests if submissions else move_messages)(stage, redrive, advance)
    answer = {
        "deadLetterQueue": queue.name,
        "found": redrive.rows,
        "messages": redrive.count,
        "readable": count,
        "hidden": redrive.hidden,
    }
    if submissions:
        failed = [[*failure] for failure in redrive.failures.items()]
        tables = [table(f"Failed again: {len(failed)}", ("intent", "with"), failed, SHOWN_ROWS)] if failed else []
        screen.show({**answer, "jobs": redrive.jobs, "failures": redrive.failures}, *tables)
    else:
        screen.show({**answer, "queue": stage.queue.name, "moved": redrive.moved})
    screen.say(_summary(redrive, dry_run=dry_run))
    if not dry_run:
        _require_done(redrive)


def _job_id(stage: Stage, name: str | None) -> str | None:
    """Return the id of a job. A job without a record may have messages as well."""
    try:
        return name and (find_record(stage, name).jobId or name)
    except NotFoundError:
        return name


def _cells(row: MessageGroup | FailedRequest) -> list[object]:
    match row:
        case MessageGroup():
            oldest = span(row.oldestSeconds)
            return [row.messages, row.kind.value, row.jobId, oldest, row.mostReceives, row.problem]
        case FailedRequest():
            failed = f"{span(row.ageSeconds)} ago"
            return [row.intentId, row.userId, row.imageCount, failed, row.error, row.problem]


def _summary(redrive: Redrive, *, dry_run: bool) -> str:
    queue, readable = redrive.queue.name, len(redrive.readable)
    jobs = "".join(f" Intent {intent_id} has job {job_id}." for intent_id, job_id in redrive.jobs.items())
    summary = f"{redrive.moved + len(redrive.jobs)} of {readable} messages of {queue} were redriven.{jobs}"
    if not redrive.count:
        summary = f"No such messages were received from {queue}: there is nothing to redrive."
    elif dry_run:
        summary = f"Nothing was redriven; {readable} of {redrive.count} messages of {queue} can be."
    if unreadable := redrive.count - readable:
        summary += f" {unreadable} messages cannot be read: delete them from the queue."
    if redrive.hidden:
        summary += (
            f" {redrive.hidden} more messages could not be received: another program has received them, or they are "
            f"new. Messages of an interrupted command come back after {HIDDEN_SECONDS // 60} minutes."
        )
    return summary


def _require_done(redrive: Redrive) -> None:
    """Raise UnfinishedError if messages remain that could be redriven."""
    remaining = [
        (len(redrive.failures), "failed again: correct the cause first"),
        (redrive.left, f"were not redriven: {redrive.stopped or 'another program has received them'}"),
        (redrive.hidden, "could not be received"),
    ]
    if texts := [f"{count} {text}" for count, text in remaining if count]:
        raise UnfinishedError(f"messages remain in {redrive.queue.name}: {'; '.join(texts)}. Run this again.")
