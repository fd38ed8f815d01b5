"""`redrive --submissions`: requests for jobs that failed, and asked again."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group

from yorutsuke.errors import UnfinishedError
from yorutsuke.screen import Screen, table
from yorutsuke.stage import Stage
from yorutsuke.submissions import Answers, Submission, submit_again, survey
from yorutsuke.times import span

SHOWN = 20
HEADERS = ("intent", "user", "images", "failed", "with", "")


def redrive_submissions(screen: Screen, stage: Stage, intent_id: str | None, *, dry_run: bool, yes: bool) -> None:
    """Ask the orchestrator again for the jobs that it failed with, having said which."""
    queue = stage.submit_dead_letter_queue
    with screen.progress("Looking through", queue.depth().waiting) as steps:
        found = survey(stage, intent_id, steps.advance)
    if found:
        screen.preview(_table(queue.name, [*found.values()]))
    count = sum(1 for submission in found.values() if submission.problem is None)
    answers = Answers()
    if count and not dry_run:
        screen.confirm(f"Ask for {count} jobs again?", yes=yes)
        with screen.progress("Asking", count) as steps:
            answers = submit_again(stage, found, steps.advance)
    screen.show(_answer(queue.name, found, count, answers))
    screen.say(_outcome(queue.name, found, answers))
    if answers.failures:
        why = "; ".join(f"{intent_id}: {said}" for intent_id, said in answers.failures.items())
        raise UnfinishedError(f"{len(answers.failures)} requests failed again and stay in {queue.name} ({why}).")


def _outcome(queue: str, found: Mapping[str, Submission], answers: Answers) -> str:
    if not found:
        return f"{queue} has no such requests: there is nothing to ask again."
    jobs = ", ".join(f"{intent_id} {job_id}" for intent_id, job_id in answers.jobs.items())
    return f"{len(answers.jobs)} jobs are there now{': ' if jobs else '.'}{jobs}"


def _answer(queue: str, found: Mapping[str, Submission], count: int, answers: Answers) -> dict[str, Any]:
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
            for submission in found.values()
        ],
        "messages": len(found),
        "readable": count,
        "jobs": answers.jobs,
        "failures": answers.failures,
    }


def _table(queue: str, submissions: Sequence[Submission]) -> Group:
    more = f", the first {SHOWN}" if len(submissions) > SHOWN else ""
    title = f"In {queue}: {len(submissions)} requests{more}"
    rows = [
        [s.intent_id, s.user_id, s.image_count, f"{span(time.time() - s.sent)} ago", s.error, s.problem]
        for s in submissions[:SHOWN]
    ]
    return table(title, HEADERS, rows)
