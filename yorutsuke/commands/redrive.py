"""`redrive`: shows the messages of a dead-letter queue, and returns them to processing."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

import typer

from yorutsuke.errors import NotFoundError, UnfinishedError
from yorutsuke.failed_requests import FailedRequest
from yorutsuke.options import Yes, stage_command
from yorutsuke.outcomes import Outcome, Outcomes
from yorutsuke.queues import HIDDEN_SECONDS
from yorutsuke.redrive import MessageGroup, Redrive, find_messages, find_requests, move_messages, resubmit_requests
from yorutsuke.screen import SHOWN_ROWS, Screen, quantity, table
from yorutsuke.stage import Stage
from yorutsuke.stored_jobs import find_job
from yorutsuke.times import span
from yorutsuke.waiting import DEFAULT_TIMEOUT, NoWait, Timeout, wait_until

MESSAGE_HEADERS = ("messages", "kind", "job", "oldest", "receives", "problem")
REQUEST_HEADERS = ("intent or scheduled run", "user", "images", "failed", "error", "problem")

OfJob = Annotated[str | None, typer.Option("--job", metavar="JOB", help="Redrive only messages of this job or intent.")]
Submissions = Annotated[bool, typer.Option("--submissions", help="Resubmit failed requests for jobs instead.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the messages, and leave them in the queue.")]


RUN_AGAIN = "Run the command again."


@dataclass(frozen=True)
class _Problem:
    """A part of the work that is not done, and its remedy."""

    text: str
    remedy: str


@dataclass(frozen=True)
class _Texts:
    """The words of the texts: a noun for the messages, a participle for their redrive, and its outcome."""

    noun: str
    participle: str
    outcome: str

    def summary(self, redrive: Redrive, *, dry_run: bool) -> str:
        queue, readable = redrive.queue.name, len(redrive.readable)
        jobs = ", ".join(f"{intent_id} {job_id}" for intent_id, job_id in redrive.jobs.items())
        done = len(redrive.sent) + redrive.resubmitted
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

    def problems(self, redrive: Redrive) -> list[_Problem]:
        """Return the reasons why messages remain that could be redriven."""
        queue, failed, left = redrive.queue.name, len(redrive.failures), redrive.left
        reason = redrive.stopped.rstrip(".") or "another program has received them"
        remaining = [
            (failed, f"{self.noun} that failed again and stay in {queue}: {failed}. Correct the cause."),
            (left, f"{left} of {len(redrive.readable)} {self.noun} were not {self.participle} ({reason})."),
            (redrive.stopped and not left, f"{redrive.stopped.rstrip('.')}."),
            (redrive.hidden, f"messages in {queue} that could not be received: {redrive.hidden}."),
        ]
        return [_Problem(text, RUN_AGAIN) for count, text in remaining if count]


MESSAGE_TEXTS = _Texts("messages", "moved", "were moved")
REQUEST_TEXTS = _Texts("requests", "resubmitted", "succeeded")


@stage_command
def redrive(
    screen: Screen,
    stage: Stage,
    *,
    job: OfJob = None,
    submissions: Submissions = False,
    dry_run: DryRun = False,
    no_wait: NoWait = False,
    timeout: Timeout = None,
    yes: Yes = False,
) -> None:
    """Move dead messages back to the queue, and wait until they are processed. A preview comes first.

    With --submissions, resubmit failed requests instead.
    """
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
    screen.say(texts.summary(redrive, dry_run=dry_run))
    problems = [] if dry_run else texts.problems(redrive)
    if submissions:
        _show_failures(screen, redrive, answer)
    else:
        limit = DEFAULT_TIMEOUT if timeout is None else timeout
        problems += _follow(screen, stage, redrive, answer, None if no_wait or dry_run else limit)
    if problems:
        remedies = dict.fromkeys(problem.remedy for problem in problems)
        raise UnfinishedError(" ".join(problem.text for problem in problems), " ".join(remedies))


def _show_failures(screen: Screen, redrive: Redrive, answer: dict[str, Any]) -> None:
    """Show the requests that failed again."""
    failed = [[*failure] for failure in redrive.failures.items()]
    title = f"Requests that failed again: {len(failed)}"
    tables = [table(title, ("intent or scheduled run", "error"), failed, SHOWN_ROWS)] if failed else []
    screen.show({**answer, "jobs": redrive.jobs, "failures": redrive.failures}, *tables)


def _follow(
    screen: Screen, stage: Stage, redrive: Redrive, answer: dict[str, Any], limit: timedelta | None
) -> list[_Problem]:
    """Wait until the moved messages are processed, unless `limit` is None. Show the outcomes. Return the problems."""
    outcomes = Outcomes(stage, [] if limit is None else redrive.sent)
    if limit is not None:
        stopped = f"Stopped waiting. The function continues. `{stage.command('jobs')}` shows the results."
        wait_until(screen, outcomes.update, limit, stopped, len(outcomes.events))
    groups = outcomes.groups
    dead, waiting = outcomes.count(Outcome.DEAD), outcomes.count(Outcome.WAITING)
    is_done = limit is not None and not dead and not waiting
    rows = [[group.messages, group.kind.value, group.jobId, group.outcome.value] for group in groups]
    title = f"Outcome of the moved messages: {len(outcomes.sent)}"
    tables = [table(title, ("messages", "kind", "job", "outcome"), rows, SHOWN_ROWS)] if rows else []
    moved = {"queue": stage.queue.name, "moved": len(redrive.sent), "done": is_done, "outcomes": groups}
    screen.show({**answer, **moved}, *tables)
    problems: list[_Problem] = []
    if dead:
        failed = f"messages that failed again and are in {redrive.queue.name}: {dead}. Correct the cause."
        problems.append(_Problem(failed, RUN_AGAIN))
    if waiting:
        late = (
            f"{waiting} of {len(redrive.sent)} messages were not processed within {limit}. The function continues, and "
            "SQS delivers a failed message again."
        )
        # Groups that were not processed come first.
        show = stage.command("job", groups[0].jobId or "")
        problems.append(_Problem(late, f"Run `{show}` later."))
    return problems


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
            return [row.name, row.userId, row.imageCount, failed, row.error, row.problem]
