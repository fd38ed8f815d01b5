"""`redrive --submissions`: requests for jobs that failed, and asked again."""

import time
from collections.abc import Sequence
from typing import Any

from rich.console import Group

from yorutsuke.errors import UnfinishedError
from yorutsuke.queues import hidden_messages
from yorutsuke.screen import Screen, table
from yorutsuke.stage import Stage
from yorutsuke.submissions import Answers, Submission, Survey, submit_again, survey
from yorutsuke.times import span

SHOWN = 20
HEADERS = ("intent", "user", "images", "failed", "with", "")


def redrive_submissions(screen: Screen, stage: Stage, intent_id: str | None, *, dry_run: bool, yes: bool) -> None:
    """Ask the orchestrator again for the jobs that it failed with, having said which."""
    queue = stage.submit_dead_letter_queue
    with screen.progress("Looking through", queue.depth().waiting) as steps:
        found = survey(stage, intent_id, steps.advance)
    if found.requests:
        screen.preview(_table(queue.name, [*found.requests.values()]))
    count = sum(1 for submission in found.requests.values() if submission.problem is None)
    answers = Answers()
    if count and not dry_run:
        screen.confirm(f"Ask for {count} jobs again?", yes=yes)
        with screen.progress("Asking", count) as steps:
            answers = submit_again(stage, found.requests, steps.advance)
    screen.show(_answer(queue.name, found, count, answers), *([_failures_table(answers)] if answers.failures else []))
    screen.say(_outcome(queue.name, found, count, answers, dry_run=dry_run))
    if not dry_run:
        _require_done(queue.name, found, count, answers)


def _outcome(queue: str, found: Survey, count: int, answers: Answers, *, dry_run: bool) -> str:
    if not found.requests:
        seen = " that can be seen" if found.hidden else ""
        said = f"{queue} has no such requests{seen}: there is nothing to ask again."
    elif dry_run:
        said = f"Nothing was asked; {count} of {len(found.requests)} requests can be."
    else:
        jobs = ", ".join(f"{intent_id} {job_id}" for intent_id, job_id in answers.jobs.items())
        said = f"{len(answers.jobs)} jobs are there now{': ' if jobs else '.'}{jobs}"
    if unreadable := len(found.requests) - count:
        said += f" {unreadable} that are no requests stay in {queue}: delete them there."
    return f"{said}{hidden_messages(queue, found.hidden)}"


def _require_done(queue: str, found: Survey, count: int, answers: Answers) -> None:
    undone: list[str] = []
    if answers.failures:
        undone.append(f"{len(answers.failures)} requests failed again and stay in {queue}: mend that first")
    if answers.left:
        undone.append(f"{answers.left} of {count} requests were not asked again ({answers.stopped or 'not received'})")
    if found.hidden:
        undone.append(f"{found.hidden} messages of {queue} could not be looked at")
    if undone:
        raise UnfinishedError(f"{'; '.join(undone)}. Run this again.")


def _answer(queue: str, found: Survey, count: int, answers: Answers) -> dict[str, Any]:
    return {
        "deadLetterQueue": queue,
        "found": [
            {
                "intentId": submission.intent_id,
                "userId": submission.user_id,
                "imageCount": submission.image_count,
                "error": submission.error,
                "problem": submission.problem,
                "ageSeconds": round(time.time() - submission.sent),
            }
            for submission in found.requests.values()
        ],
        "messages": len(found.requests),
        "readable": count,
        "hidden": found.hidden,
        "jobs": answers.jobs,
        "failures": answers.failures,
    }


def _failures_table(answers: Answers) -> Group:
    more = f", the first {SHOWN}" if len(answers.failures) > SHOWN else ""
    rows = [[intent_id, said] for intent_id, said in [*answers.failures.items()][:SHOWN]]
    return table(f"Failed again: {len(answers.failures)}{more}", ("intent", "with"), rows)


def _table(queue: str, submissions: Sequence[Submission]) -> Group:
    more = f", the first {SHOWN}" if len(submissions) > SHOWN else ""
    title = f"In {queue}: {len(submissions)} requests{more}"
    rows = [
        [s.intent_id, s.user_id, s.image_count, f"{span(time.time() - s.sent)} ago", s.error, s.problem]
        for s in submissions[:SHOWN]
    ]
    return table(title, HEADERS, rows)
