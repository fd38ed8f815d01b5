"""`doctor`: whether the stage is healthy."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.console import Group

from yorutsuke.checks import alarms, queues
from yorutsuke.checks.finding import Check, Finding, State, findings
from yorutsuke.checks.jobs import JobChecks
from yorutsuke.errors import UnfinishedError
from yorutsuke.options import Json, Profile, Region, StageName
from yorutsuke.screen import Screen, table
from yorutsuke.stage import open_stage
from yorutsuke.times import parse_span

UNHEALTHY = 3
DEFAULT_SINCE = timedelta(days=7)

Since = Annotated[
    timedelta | None,
    typer.Option("--since", parser=parse_span, metavar="SPAN", help="Which jobs' ends are looked at; 7d by default."),
]


def doctor(
    *, stage: StageName, since: Since = None, region: Region = None, profile: Profile = None, json: Json = False
) -> None:
    """Tell whether the stage is healthy, and what to run next. Exit code 3 where it is not, 1 where nobody knows."""
    screen = Screen(json=json)
    opened = open_stage(stage, region, profile)
    checks = _checks(datetime.now(UTC) - (DEFAULT_SINCE if since is None else since))
    with screen.progress("Looking at the stage", len(checks)) as steps:
        found = [*findings(opened, checks, steps.advance)]
    healthy = _is_healthy(found)
    screen.show({"stage": stage, "healthy": healthy, "checks": found}, _table(stage, found))
    if healthy is None:
        raise UnfinishedError(
            f"{_count(found, State.NOT_CHECKED)} checks could not be made, and nobody knows whether stage {stage!r} "
            "is healthy: each says why. docs/operating.md has what doctor needs to be allowed."
        )
    if not healthy:
        raise typer.Exit(UNHEALTHY)


def _is_healthy(found: Sequence[Finding]) -> bool | None:
    """Tell whether nothing is bad; None where something that was not looked at may be."""
    if _count(found, State.BAD):
        return False
    return None if _count(found, State.NOT_CHECKED) else True


def _count(found: Sequence[Finding], state: State) -> int:
    return sum(finding.state is state for finding in found)


def _checks(since: datetime) -> dict[str, Check]:
    return {
        "alarms": alarms.alarms,
        "who hears alarms": alarms.subscriptions,
        "dead-letter queue": queues.dead_letters,
        "dead-letter queue of submissions": queues.failed_submissions,
        "queue": queues.waiting,
        "jobs": JobChecks(since),
        "event source mapping": queues.event_source,
    }


def _table(stage: str, found: Sequence[Finding]) -> Group:
    # What somebody has to act on comes first.
    ordered = sorted(found, key=lambda finding: [*State].index(finding.state))
    rows = [[finding.state.value, finding.check, finding.seen, finding.next] for finding in ordered]
    bad, warnings, unchecked = (_count(found, state) for state in (State.BAD, State.WARNING, State.NOT_CHECKED))
    title = f"Stage {stage}: {bad} bad, {warnings} to be looked at, {unchecked} not checked, of {len(found)} checks"
    return table(title, ("is", "check", "seen", "next"), rows)
