"""`dead-letters`: the lines of a job that became no transaction."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group

from yorutsuke.errors import NotFoundError
from yorutsuke.jobs import Jobs
from yorutsuke.letters import Tally, exported, read_letters
from yorutsuke.options import JobName, Json, Profile, Region, StageName, Yes
from yorutsuke.screen import Screen, table
from yorutsuke.stage import Stage, open_stage
from yorutsuke_common.schema import DeadLetter, Reason

Limit = Annotated[int, typer.Option("--limit", min=0, help="How many lines are shown at most.")]
OfReason = Annotated[Reason | None, typer.Option("--reason", help="Those of one reason.")]
Export = Annotated[
    Path | None,
    typer.Option("--export", dir_okay=False, help="Write them into a file as they are, records included."),
]


def dead_letters(
    job: JobName,
    *,
    stage: StageName,
    limit: Limit = 20,
    reason: OfReason = None,
    export: Export = None,
    yes: Yes = False,
    region: Region = None,
    profile: Profile = None,
    json: Json = False,
) -> None:
    """Show why lines became no transaction. Records may hold people's data: only --export has them."""
    screen = Screen(json=json)
    opened = open_stage(stage, region, profile)
    record = Jobs(opened).find(job)
    if record.jobId is None:
        raise NotFoundError(f"intent {job!r} has no job yet, and so no dead letters: submit it again.")
    if export and not export.parent.is_dir():
        raise NotFoundError(f"folder {str(export.parent)!r} is not there: make it, or name another file.")
    if export and export.exists():
        screen.confirm(f"{export} is there already. Replace it?", yes=yes)
    with screen.progress("Reading dead letters"):
        tally = _tally(opened, record.jobId, reason, limit, export)
    screen.show(_answer(record.jobId, tally), *_tables(record.jobId, tally))
    if export:
        screen.say(f"Written to {export}, for its owner alone to read: records may hold people's data.")


def _tally(stage: Stage, job_id: str, reason: Reason | None, limit: int, export: Path | None) -> Tally:
    tally = Tally(limit)
    if export is None:
        for _, letter in read_letters(stage, job_id):
            tally.add(letter, wanted=reason in {None, letter.reason})
        return tally
    with exported(export) as file:
        for line, letter in read_letters(stage, job_id):
            wanted = reason in {None, letter.reason}
            tally.add(letter, wanted=wanted)
            if wanted:
                file.write(line.content + b"\n")
    return tally


def _answer(job_id: str, tally: Tally) -> dict[str, Any]:
    return {
        "jobId": job_id,
        "count": tally.count,
        "byReason": tally.by_reason,
        "first": [letter.model_dump(exclude={"record"}) for letter in tally.first],
    }


def _tables(job_id: str, tally: Tally) -> list[Group]:
    reasons = [[reason.value, count] for reason, count in tally.by_reason.most_common()]
    counted = table(f"Dead letters of job {job_id}: {tally.count}", ("reason", "lines"), reasons)
    if not tally.first:
        return [counted]
    return [counted, table(f"The first {len(tally.first)}", ("line", "image", "reason", "detail"), _rows(tally.first))]


def _rows(letters: list[DeadLetter]) -> list[list[object]]:
    return [[letter.line, letter.imageId, letter.reason.value, letter.detail] for letter in letters]
