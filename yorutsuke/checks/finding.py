"""Findings, and the concurrent run of the checks that yield them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain

from yorutsuke.errors import REPORTED_ERRORS, error_line, is_denied
from yorutsuke.screen import Advance
from yorutsuke.stage import Stage
from yorutsuke_common.aws.calls import CallPool


class State(StrEnum):
    """The states, the worst first. `bad`: the stage does not work, or an operator must act."""

    BAD = "bad"
    WARNING = "warning"
    NOT_CHECKED = "not checked"
    OK = "ok"


@dataclass(frozen=True)
class Finding:
    """The result of a check, as in the JSON answer. `next` is the remedy."""

    check: str
    state: State
    seen: str
    next: str = ""


Check = Callable[[Stage], Iterable[Finding]]


def run_checks(stage: Stage, checks: Mapping[str, Check], advance: Advance) -> list[Finding]:
    """Run checks concurrently, and return their findings in the order of the checks. A failed check is a finding."""

    def run(name: str) -> list[Finding]:
        found = [*_findings(name, checks[name], stage)]
        advance()
        return found

    return [*chain.from_iterable(CallPool().map(run, checks))]


def _findings(name: str, check: Check, stage: Stage) -> Iterator[Finding]:
    try:
        yield from check(stage)
    except REPORTED_ERRORS as error:
        yield Finding(name, State.NOT_CHECKED if is_denied(error) else State.BAD, error_line(error, stage.profile))
    except Exception as error:  # noqa: BLE001 - an error in a check is a finding, too
        yield Finding(name, State.BAD, f"the check itself failed: {type(error).__name__}", "report it as a bug")
