"""What a check found, and how checks are made: beside one another, so that none that fails hides the others."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from enum import StrEnum

from yorutsuke.errors import Told, UndecidedError, is_denied, told
from yorutsuke.stage import Stage

AT_ONCE = 8


class State(StrEnum):
    """How it is. `bad`: the stage does not do its work, or somebody has to act; `not checked`: it cannot be told."""

    BAD = "bad"
    WARNING = "warning"
    NOT_CHECKED = "not checked"
    OK = "ok"


@dataclass(frozen=True)
class Finding:
    """What was seen of one thing, and what to do next about it."""

    check: str
    state: State
    seen: str
    next: str = ""


Check = Callable[[Stage], Iterable[Finding]]


def findings(stage: Stage, checks: Mapping[str, Check], done: Callable[[], object]) -> Iterator[Finding]:
    """Make the checks, several at a time, and yield what they find in the order of their names."""
    found: dict[str, list[Finding]] = {}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        under_way = {pool.submit(_made, name, check, stage): name for name, check in checks.items()}
        for check in as_completed(under_way):
            found[under_way[check]] = check.result()
            done()
    for name in checks:
        yield from found[name]


def _made(name: str, check: Check, stage: Stage) -> list[Finding]:
    made: list[Finding] = []
    try:
        # One by one: what was found before one that fails is kept.
        for finding in check(stage):
            made.append(finding)  # noqa: PERF402
    except Told as error:
        unseen = is_denied(error) or isinstance(error, UndecidedError)
        made.append(Finding(name, State.NOT_CHECKED if unseen else State.BAD, told(error)))
    except Exception as error:  # noqa: BLE001 - it is found to have failed, and hides no other
        made.append(Finding(name, State.BAD, f"the check itself failed: {type(error).__name__}", "report it as a bug"))
    return made
