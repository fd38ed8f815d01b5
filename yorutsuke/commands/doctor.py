"""`doctor`: checks whether the stage is healthy."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from yorutsuke.checks import alarms, queues
from yorutsuke.checks.finding import Check, State, run_checks
from yorutsuke.checks.jobs import JobChecks
from yorutsuke.errors import UnfinishedError
from yorutsuke.options import stage_command
from yorutsuke.screen import Screen, quantity, table
from yorutsuke.stage import Stage
from yorutsuke.times import parse_since

UNHEALTHY = 3
DEFAULT_SINCE = timedelta(days=7)

Since = Annotated[
    timedelta | None,
    typer.Option(
        "--since", parser=parse_since, metavar="SPAN", help="Check the results of jobs in this time. By default 7d."
    ),
]


@stage_command
def doctor(screen: Screen, stage: Stage, *, since: Since = None) -> None:
    """Check the health of the stage. List findings and remedies. Exit code 3: not healthy. Exit code 1: not known."""
    checks: dict[str, Check] = {
        "alarms": alarms.alarms,
        "alarm subscriptions": alarms.subscriptions,
        "dead-letter queue": queues.dead_letters,
        "dead-letter queue of submissions": queues.failed_submissions,
        "queue": queues.waiting,
        "failed redeliveries": queues.failed_redeliveries,
        "jobs": JobChecks(datetime.now(UTC) - (DEFAULT_SINCE if since is None else since)),
        "event source mapping": queues.event_source,
    }
    with screen.progress("Checking the stage", len(checks)) as advance:
        found = run_checks(stage, checks, advance)
    counts = {state: sum(finding.state is state for finding in found) for state in State}
    bad, unchecked = counts[State.BAD], counts[State.NOT_CHECKED]
    healthy = False if bad else None if unchecked else True
    warnings = quantity(counts[State.WARNING], "warning")
    title = f"Stage {stage.name}: {bad} bad, {warnings}, {unchecked} not checked, of {quantity(len(found), 'finding')}"
    worst_first = sorted(found, key=lambda finding: [*State].index(finding.state))
    rows = [[finding.state.value, finding.check, finding.seen] for finding in worst_first]
    # A command in a table could be broken into several lines.
    remedies = [f"{finding.check}: {finding.next}" for finding in worst_first if finding.next]
    lines = ["", "Remedies:", *remedies] if remedies else []
    answer = {"stage": stage.name, "healthy": healthy, "checks": found}
    screen.show(answer, table(title, ("state", "check", "finding"), rows), *lines)
    if healthy is None:
        raise UnfinishedError(
            f"{quantity(unchecked, 'check')} could not be made, so the health of stage {stage.name!r} is not known.",
            "Each finding shows the reason. docs/operating.md lists the permissions that doctor needs.",
        )
    if not healthy:
        raise typer.Exit(UNHEALTHY)
