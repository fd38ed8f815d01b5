"""`redrive`: what is in a dead-letter queue, and back with it to where it came from."""

import time
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.console import Group as Tables

from yorutsuke.errors import NotFoundError, UnfinishedError
from yorutsuke.jobs import Jobs
from yorutsuke.options import Json, Profile, Region, StageName, Yes
from yorutsuke.queues import hidden_messages
from yorutsuke.redrive import Group, Survey, survey
from yorutsuke.redrive import redrive as move
from yorutsuke.screen import Screen, table
from yorutsuke.stage import Stage, open_stage
from yorutsuke.times import span

from .submissions import redrive_submissions

SHOWN = 20
HEADERS = ("messages", "about", "job", "oldest", "receives", "")

OfJob = Annotated[str | None, typer.Option("--job", metavar="JOB", help="Those of one job, or intent, alone.")]
Submissions = Annotated[bool, typer.Option("--submissions", help="Instead, requests for jobs that failed.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what is there, and leave it there.")]


def redrive(
    *,
    stage: StageName,
    job: OfJob = None,
    submissions: Submissions = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    region: Region = None,
    profile: Profile = None,
    json: Json = False,
) -> None:
    """Move dead messages back to the queue, or ask again for jobs that failed, having said what they are."""
    screen = Screen(json=json)
    opened = open_stage(stage, region, profile)
    if submissions:
        redrive_submissions(screen, opened, job, dry_run=dry_run, yes=yes)
        return
    job_id = _job_id(opened, job) if job else None
    with screen.progress("Looking through", opened.dead_letter_queue.depth().waiting) as steps:
        found = survey(opened, job_id, steps.advance)
    screen.preview(*_tables(opened, found))
    moved = 0 if dry_run or not found.wanted else _moved(screen, opened, found, yes=yes)
    screen.show(_answer(opened, found, moved))
    screen.say(_outcome(opened, found, moved, dry_run=dry_run))
    if not dry_run:
        _require_done(opened, found, moved)


def _job_id(stage: Stage, name: str) -> str:
    """Return the id of a job; one without a record may well have messages here."""
    try:
        return Jobs(stage).find(name).jobId or name
    except NotFoundError:
        return name


def _moved(screen: Screen, stage: Stage, found: Survey, *, yes: bool) -> int:
    count = len(found.wanted)
    screen.confirm(f"Move {count} messages from {stage.dead_letter_queue.name} to {stage.queue.name}?", yes=yes)
    with screen.progress("Moving", count) as steps:
        return move(stage, found.wanted, steps.advance)


def _outcome(stage: Stage, found: Survey, moved: int, *, dry_run: bool) -> str:
    queue = stage.dead_letter_queue.name
    if not found.count:
        seen = " that can be seen" if found.hidden else ""
        said = f"{queue} has no such messages{seen}: there is nothing to redrive."
    elif dry_run:
        said = f"Nothing was moved; {len(found.wanted)} of {found.count} messages can be."
    else:
        said = f"{moved} of {len(found.wanted)} messages were moved."
    if unknown := found.count - len(found.wanted):
        said += f" {unknown} that the function cannot read stay in {queue}: delete them there."
    return f"{said}{hidden_messages(queue, found.hidden)}"


def _require_done(stage: Stage, found: Survey, moved: int) -> None:
    undone: list[str] = []
    if left := len(found.wanted) - moved:
        undone.append(f"{left} of {len(found.wanted)} messages were not moved: somebody else has received them")
    if found.hidden:
        undone.append(f"{found.hidden} messages of {stage.dead_letter_queue.name} could not be looked at")
    if undone:
        raise UnfinishedError(f"{'; '.join(undone)}. Run this again.")


def _answer(stage: Stage, found: Survey, moved: int) -> dict[str, Any]:
    return {
        "deadLetterQueue": stage.dead_letter_queue.name,
        "queue": stage.queue.name,
        "found": [_found(group) for group in found.ordered()],
        "messages": found.count,
        "readable": len(found.wanted),
        "hidden": found.hidden,
        "moved": moved,
    }


def _found(group: Group) -> dict[str, Any]:
    return {
        "kind": group.about.kind,
        "jobId": group.about.job_id,
        "problem": group.about.problem,
        "messages": group.count,
        "oldestSeconds": round(time.time() - group.oldest_sent),
        "mostReceives": group.most_receives,
    }


def _tables(stage: Stage, found: Survey) -> Sequence[Tables]:
    if not found.count:
        return []
    groups = found.ordered()
    title = f"In {stage.dead_letter_queue.name}: {found.count} messages"
    if len(groups) > SHOWN:
        title += f", the {SHOWN} largest of {len(groups)} groups"
    return [table(title, HEADERS, [_row(group) for group in groups[:SHOWN]])]


def _row(group: Group) -> list[object]:
    oldest = span(time.time() - group.oldest_sent)
    return [
        group.count,
        group.about.kind.value,
        group.about.job_id,
        oldest,
        group.most_receives,
        group.about.problem or "",
    ]
