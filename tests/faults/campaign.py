"""The fault campaign: every crash point, then seeded schedules of faults; each must end as a clean run does."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from batch_result_handler import handler as handler_module
from local.in_memory import Call, Fault
from tests.integration.stage import BATCH_JOBS
from yorutsuke_common.aws.dynamodb import from_item

from .faulty_job import WAITS, Faults, FaultyJob, Overtaken, dice_of

FAULTY_DELIVERIES = 8
MAX_DELIVERIES = 40
MESSAGES = 3
"""That tell of a night's job."""
FAULTS = (
    Fault("die"),
    Fault("die", after=True),
    Fault("reset"),
    Fault("reset", after=True),
    Fault("timeout"),
    Fault("timeout", after=True),
    Fault("error", code="InternalServerError", status=500),
    Fault("error", code="InternalServerError", status=500, after=True),
    Fault("error", code="ThrottlingException", status=400),
    Fault("error", code="SlowDown", status=503),
    Fault("error", code="AccessDenied", status=403),
    *(Overtaken(message=number) for number in range(MESSAGES)),
)
PARTIAL = {
    "BatchWriteItem": "unprocessed",
    "BatchGetItem": "unprocessed",
    "DeleteObjects": "refused",
    "GetObject": "cut",
    "Query": "stale",
}
"""How an operation may do half of what it was asked for, or answer from the past."""


@dataclass
class Verdict:
    """What a campaign found; `failures` names the schedules that did not hold, each to be run again alone."""

    seed: int
    schedules: int = 0
    crash_points: int = 0
    meetings: int = 0
    found: Counter[str] = field(default_factory=Counter[str])
    failures: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    def summary(self) -> dict[str, int]:
        """Return the counts that the campaign is judged by."""
        names = ("lost", "doubled", "diverged", "images_nowhere")
        return {
            "seed": self.seed,
            "schedules": self.schedules,
            "crash_points": self.crash_points,
            "meetings": self.meetings,
            **{name: self.found[name] for name in names},
        }


def _kind(name: str) -> str:
    return name.rpartition("-")[0] + "-…"


def no_faults(_: int, __: Call) -> Fault | None:
    """Let every call through."""
    return None


def crash_schedules(calls: int) -> Iterator[tuple[str, Faults]]:
    """Yield the schedules in which the function dies once: before or after each of the calls of a clean run."""
    for after in (False, True):
        for number in range(1, calls + 1):
            yield f"crash-{'after' if after else 'before'}-{number}", _at(number, Fault("die", after=after))


def meeting_schedules(calls: int) -> Iterator[tuple[str, Faults]]:
    """Yield the schedules in which another function is given a message before one of the calls of a clean run."""
    for message in range(MESSAGES):
        for number in range(1, calls + 1):
            yield f"meeting-{message}-before-{number}", _at(number, Overtaken(message=message))


def _at(number: int, fault: Fault) -> Faults:
    calls = 0

    def faults(_: int, __: Call) -> Fault | None:
        nonlocal calls
        calls += 1
        return fault if calls == number else None

    return faults


def random_faults(seed: str) -> Faults:
    """Return the faults of a seed: each is decided by what the call is, not by when it comes."""
    rate = dice_of(seed).choice((0.02, 0.05, 0.1, 0.3, 0.6))
    attempts: Counter[object] = Counter()

    def faults(delivery: int, call: Call) -> Fault | None:
        if delivery > FAULTY_DELIVERIES:
            return None
        attempts[delivery, call] += 1
        dice = dice_of(seed, delivery, call, attempts[delivery, call])
        if dice.random() >= rate:
            return None
        partial = PARTIAL.get(call.operation)
        return Fault(partial) if partial and dice.random() < 0.3 else dice.choice(FAULTS)

    return faults


def run(faulty_job: FaultyJob, clean: dict[str, Any], seed: str, faults: Faults) -> list[str]:
    """Run one schedule until it settles; return what did not hold, as `counter: what`."""
    faulty_job.seed()
    # A retry quota is a client's own: what one schedule used up must not be missing in the next.
    handler_module.use_cases.cache_clear()
    settled = _settle(faulty_job, seed, faulty_job.messages(), faults)
    if settled and migration_failures(faulty_job.state()) > migration_failures(clean):
        # Nothing but an image that could not be moved gives an operator reason to do so.
        faulty_job.replay()
        settled = _settle(faulty_job, seed, faulty_job.messages(), no_faults)
    said = [f"images_nowhere: {image_id}" for image_id in sorted(faulty_job.broken.images_nowhere)]
    said += [f"lost: {what}" for what in sorted(faulty_job.broken.lost)]
    if not settled:
        return [*said, "diverged: it does not settle"]
    return said + _differences(faulty_job.state(), clean) + _undone_edits(faulty_job)


def migration_failures(state: dict[str, Any]) -> int:
    """Return how many images the job of a state says it could not move."""
    [job] = map(from_item, state["tables"][BATCH_JOBS].values())
    return int(job.get("resultStats", {}).get("migrationFailedCount", 0))


def _settle(faulty_job: FaultyJob, seed: str, messages: list[str], faults: Faults) -> bool:
    """Deliver messages, some of them twice, in an order of the seed's own, until all are done and nobody is at work."""
    dice = dice_of(seed, "order")
    waiting = [*messages, *(message for message in messages if dice.random() < 0.3)]
    for _ in range(MAX_DELIVERIES):
        if not waiting:
            break
        message = waiting.pop(dice.randrange(len(waiting)))
        if not faulty_job.deliver(message, faults, dice.choice(WAITS)):
            waiting.append(message)
    faulty_job.outlive_claims()
    return not waiting


def _undone_edits(faulty_job: FaultyJob) -> list[str]:
    """Let a person edit a transaction and every message come once more; return what that undid."""
    faulty_job.edit()
    edited = faulty_job.state()
    for message in faulty_job.messages():
        faulty_job.deliver(message, no_faults)
    return ["doubled: a message that came again undid an edit"] if faulty_job.state() != edited else []


def _differences(state: dict[str, Any], clean: dict[str, Any]) -> list[str]:
    """Return how a state differs from that of a clean run."""
    said: list[str] = []
    for name, items in {**state["tables"], "objects": state["objects"]}.items():
        expected = clean["objects"] if name == "objects" else clean["tables"][name]
        said += [f"lost: {key} of {name}" for key in expected if key not in items]
        said += [f"doubled: {key} of {name}" for key in items if key not in expected]
        said += [f"diverged: {key} of {name}" for key in items if key in expected and items[key] != expected[key]]
    return said


@dataclass(frozen=True)
class CleanRun:
    """A night without faults: the state it ends in, and how many calls it takes."""

    state: dict[str, Any]
    calls: int


def clean_run(faulty_job: FaultyJob) -> CleanRun:
    """Run a night without faults."""
    faulty_job.seed()
    faulty_job.aws.calls.clear()
    for message in faulty_job.messages():
        if not faulty_job.deliver(message, no_faults):
            raise RuntimeError("a night without faults does not settle")
    return CleanRun(faulty_job.state(), faulty_job.aws.calls.total())


def campaign(
    faulty_job: FaultyJob,
    clean: CleanRun,
    schedules: int,
    seed: int,
    *,
    only: str | None = None,
    progress: Callable[[int, int], None] = lambda _, __: None,
) -> Verdict:
    """Run every crash point and meeting, and random schedules up to so many in all; or only the one of a name.

    Raises ValueError where the name is none, or the schedules are fewer
    than the crash points and meetings.
    """
    crashes, meetings = dict(crash_schedules(clean.calls)), dict(meeting_schedules(clean.calls))
    planned = {**crashes, **meetings}
    if only and only not in planned and not re.fullmatch(r"\d+-\d+", only):
        raise ValueError(
            f"no schedule is named {only!r}: a name is one of {', '.join(sorted({_kind(name) for name in planned}))}, "
            "with a number as its end, or SEED-NUMBER"
        )
    if schedules < len(planned):
        raise ValueError(f"{schedules} schedules are too few: crash points and meetings alone are {len(planned)}")
    rolled = (f"{seed}-{number}" for number in range(schedules - len(planned)))
    names = [only] if only else [*planned, *rolled]
    verdict = Verdict(seed)
    for name in names:
        verdict.schedules += 1
        verdict.crash_points += name in crashes
        verdict.meetings += name in meetings
        if said := run(faulty_job, clean.state, name, planned.get(name) or random_faults(name)):
            verdict.failures[name] = said
            verdict.found.update({what.partition(":")[0] for what in said})
        progress(verdict.schedules, len(names))
    return verdict
