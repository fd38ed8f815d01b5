"""`dead-letters`: shows the records of a job's output that did not become transactions."""

from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group

from yorutsuke.errors import NotFoundError
from yorutsuke.letters import exported, read_letters
from yorutsuke.options import JobName, Yes, stage_command
from yorutsuke.screen import Screen, quantity, table
from yorutsuke.stage import Stage
from yorutsuke.stored_jobs import find_job
from yorutsuke_common.schema import DeadLetter, Reason

Limit = Annotated[int, typer.Option("--limit", min=0, help="Maximum number of dead letters to show.")]
OfReason = Annotated[Reason | None, typer.Option("--reason", help="Show only dead letters with this reason.")]
Export = Annotated[
    Path | None, typer.Option("--export", dir_okay=False, help="Write the dead letters, with their records, to a file.")
]


@stage_command
def dead_letters(
    screen: Screen,
    stage: Stage,
    job: JobName,
    *,
    limit: Limit = 20,
    reason: OfReason = None,
    export: Export = None,
    yes: Yes = False,
) -> None:
    """Show why records did not become transactions. Only --export writes the records, which may hold personal data."""
    stored = find_job(stage, job)
    job_id = stored.require_job("dead letters")
    if export and not export.parent.is_dir():
        raise NotFoundError(f"folder {str(export.parent)!r} does not exist.", "Create it, or name another file.")
    if export and export.exists():
        screen.confirm(f"{export} exists. Replace it?", yes=yes)
    reasons: Counter[Reason] = Counter()
    first: list[DeadLetter] = []
    with screen.progress("Reading dead letters"), exported(export) if export else nullcontext() as file:
        for line, letter in read_letters(stage, job_id):
            reasons[letter.reason] += 1
            if reason in {None, letter.reason}:
                first += [letter] if len(first) < limit else []
                if file:
                    file.write(line.content + b"\n")
    shown = [letter.model_dump(exclude={"record"}) for letter in first]
    answer = {"jobId": job_id, "count": reasons.total(), "byReason": reasons, "first": shown}
    headers = ["line", "image", "reason", "detail"]
    rows = [[letter.line, letter.imageId, letter.reason.value, letter.detail] for letter in first]
    if len(stored.outputStats) > 1:
        headers = ["output file", *headers]
        rows = [[letter.output, *row] for letter, row in zip(first, rows, strict=True)]
    title = f"The first {quantity(len(rows), 'dead letter')}"
    tables = [table(title, headers, rows)] if rows else []
    screen.show(answer, reasons_table(f"Dead letters of job {job_id}", reasons), *tables)
    if export:
        screen.say(f"Written to {export}. Only the file's owner can read it, because records may hold personal data.")


def reasons_table(title: str, reasons: Counter[Reason]) -> Group:
    """Return a table of the number of dead letters by reason."""
    rows = [[reason.value, count] for reason, count in reasons.most_common()]
    return table(f"{title}: {reasons.total()}", ("reason", "dead letters"), rows)
