"""`redrive`: shows the messages of a dead-letter queue, and returns them to processing."""

from dataclasses import dataclass
from typing import Annotated

import typer

from yorutsuke.errors import NotFoundError, UnfinishedError
from yorutsuke.failed_requests import FailedRequest
from yorutsuke.options import Yes, stage_command
from yorutsuke.queues import HIDDEN_SECONDS
from yorutsuke.redrive import MessageGroup, Redrive, find_messages, find_requests, move_messages, resubmit_requests
from yorutsuke.screen import SHOWN_ROWS, Screen, quantity, table
from yorutsuke.stage import Stage
from yorutsuke.stored_jobs import find_job
from yorutsuke.times import span

MESSAGE_HEADERS = ("messages", "kind", "job", "oldest", "receives", "problem")
REQUEST_HEADERS = ("intent", "user", "images", "failed", "error", "problem")

OfJob = Annotated[str | None, typer.Option("--job", metavar="JOB", help="Redrive only messages of this job or intent.")]
Submissions = Annotated[bool, typer.Option("--submissions", help="Resubmit failed requests for jobs instead.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the messages, and leave them in the queue.")]


@dataclass(frozen=True)
class _Texts:
    """The words of the texts: a noun for the messages, a participle for their redrive, and its outcome."""

    noun: str
    participle: str
    outcome: str

    def summary(self, redrive: Redrive, *, dry_run: bool) -> str:
        queue, readable = redrive.queue.name, len(redrive.readable)
        jobs = ", ".join(f"{intent_id} {job_id}" for intent_id, job_id in redrive.jobs.items())
        done = redrive.moved + len(redrive.jobs)
        text = f"{done} of {readable} {self.noun} {self.outcome}{f': {jobs}' if jobs else ''}."
        if not redrive.count:
            text = f"Found 0 matching {self.noun} in {queue}."
        elif dry_run:
            text = f"{readable} of {redrive.count} {self.noun} can be {self.participle}. This dry run changed nothing."
        if unreadable := redrive.count - readable:
            text += (
                f" {self.noun.capitalize()} that cannot be read and stay in {queue}: {unreadable}. Delete them there."
            )
        if redrive.hidden:
            text += (
                f" Messages in {queue} that could not be received: {redrive.hidden}. Another program has received "
                "them, or they are new. After an interrupted command, messages become visible within "
                f"{HIDDEN_SECONDS // 60} minutes."
            )
        return text

    def require_done(self, redrive: Redrive) -> None:
        """Raise UnfinishedError if messages remain that could be redriven."""
        queue, failed, left = redrive.queue.name, len(redrive.failures), redrive.left
        reason = redrive.stopped.rstrip(".") or "another program has received them"
        remaining = [
            (failed, f"{self.noun} that failed again and stay in {queue}: {failed}. Correct the cause."),
            (left, f"{left} of {len(redrive.readable)} {self.noun} were not {self.participle} ({reason})."),
            (redrive.stopped and not left, f"{redrive.stopped.rstrip('.')}."),
            (redrive.hidden, f"messages in {queue} that could not be received: {redrive.hidden}."),
        ]
        if texts := [text for count, text in remaining if count]:
            raise UnfinishedError(" ".join(texts), "Run the command again.")


MESSAGE_TEXTS = _Texts("messages", "moved", "were moved")
REQUEST_TEXTS = _Texts("requests", "resubmitted", "now have a job")


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
    """Move dead messages back to the queue. With --submissions, resubmit failed requests. A preview comes first."""
    queue = stage.submit_dead_letter_queue if submissions else stage.dead_letter_queue
    texts = REQUEST_TEXTS if submissions else MESSAGE_TEXTS
    with screen.progress(f"Reading {queue.name}", queue.depth().waiting) as advance:
        if submissions:
            redrive = find_requests(stage, job, advance)
        else:
            redrive = find_messages(stage, _job_id(stage, job), advance)
    if job and not redrive.count and not redrive.hidden:
        # A name without messages may be misspelled. Raises NotFoundError.
        find_job(stage, job)
    if redrive.rows:
        headers = REQUEST_HEADERS if submissions else MESSAGE_HEADERS
        rows = [_cells(row) for row in redrive.rows]
        screen.preview(table(f"{texts.noun.capitalize()} in {queue.name}: {redrive.count}", headers, rows, SHOWN_ROWS))
    if (count := len(redrive.readable)) and not dry_run:
        move = f"Move {quantity(count, 'message')} from {queue.name} to {stage.queue.name}?"
        screen.confirm(f"Resubmit {quantity(count, 'request')}?" if submissions else move, yes=yes)
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
        title = f"Requests that failed again: {len(failed)}"
        tables = [table(title, ("intent", "error"), failed, SHOWN_ROWS)] if failed else []
        screen.show({**answer, "jobs": redrive.jobs, "failures": redrive.failures}, *tables)
    else:
        screen.show({**answer, "queue": stage.queue.name, "moved": redrive.moved})
    screen.say(texts.summary(redrive, dry_run=dry_run))
    if not dry_run:
        texts.require_done(redrive)


def _job_id(stage: Stage, name: str | None) -> str | None:
    """Return the id of a job. A job without an item may have messages as well."""
    try:
        return name and (find_job(stage, name).jobId or name)
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
