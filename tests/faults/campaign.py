"""Fault campaign: runs one job under many schedules of faults, and compares each result with a clean run.

The schedules are every crash point, every meeting of two invocations, every moment of a user's change, and random
schedules that a seed determines.
"""

import copy
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from batch_result_handler import handler as handler_module
from local.in_memory import Call, Fault
from tests.integration.stage import BATCH_JOBS, PENDING_IMAGES, TRANSACTIONS
from yorutsuke_common.aws.dynamodb import from_item

from .faulty_job import (
    REDELIVERY_DELAYS,
    ChangeByUser,
    ConcurrentDelivery,
    Faults,
    FaultyJob,
    UserChange,
    seeded_random,
)

FAULTY_DELIVERIES = 8
"""Number of deliveries with random faults. Later deliveries have none, so that a schedule can end."""
MAX_DELIVERIES = 40
"""Maximum number of deliveries of a schedule. A schedule that needs more has failed."""
MESSAGES = 3
"""Number of messages about the job: its output file, its output manifest and its end."""
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
    Fault("error", code="ProvisionedThroughputExceededException", status=400),
    *(ConcurrentDelivery(message=number) for number in range(MESSAGES)),
    *(ChangeByUser(change=change, image=image) for change in UserChange for image in (0, 3)),
)
PARTIAL_FAULT_KINDS = {
    "BatchExecuteStatement": "unprocessed",
    "BatchGetItem": "unprocessed",
    "DeleteObjects": "refused",
    "GetObject": "cut",
    "Query": "stale",
}
"""The kind of fault in which each operation succeeds in part, or returns an old item."""


@dataclass
class CampaignResult:
    """The counts of a campaign. `failures` contains the violations of each failed schedule, by its name."""

    seed: int
    schedules: int = 0
    crash_points: int = 0
    meetings: int = 0
    changes: int = 0
    violations: Counter[str] = field(default_factory=Counter[str])
    failures: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    def summary(self) -> dict[str, int]:
        """Return the counts for the report."""
        names = ("lost", "doubled", "diverged", "images_nowhere", "edits_lost")
        return {
            "seed": self.seed,
            "schedules": self.schedules,
            "crash_points": self.crash_points,
            "meetings": self.meetings,
            "changes": self.changes,
            **{name: self.violations[name] for name in names},
        }


def _name_pattern(name: str) -> str:
    return name.rpartition("-")[0] + "-…"


def no_faults(_: int, __: Call) -> Fault | None:
    """Let every call succeed."""
    return None


def crash_schedules(calls: int) -> Iterator[tuple[str, Faults]]:
    """Yield the schedules in which the function crashes once, before or after each call of a clean run."""
    for after in (False, True):
        for number in range(1, calls + 1):
            yield f"crash-{'after' if after else 'before'}-{number}", _fault_at(number, Fault("die", after=after))


def meeting_schedules(calls: int) -> Iterator[tuple[str, Faults]]:
    """Yield the schedules in which a second function handles a message before one call of a clean run."""
    for message in range(MESSAGES):
        for number in range(1, calls + 1):
            yield f"meeting-{message}-before-{number}", _fault_at(number, ConcurrentDelivery(message=message))


def change_schedules(calls: int) -> Iterator[tuple[str, Faults]]:
    """Yield the schedules in which a user changes data before one call of a clean run, and the output is replayed."""
    for change in UserChange:
        for number in range(1, calls + 1):
            yield f"change-{change}-before-{number}", _fault_at(number, ChangeByUser(change=change))


def _fault_at(number: int, fault: Fault) -> Faults:
    calls = 0

    def faults(_: int, __: Call) -> Fault | None:
        nonlocal calls
        calls += 1
        return fault if calls == number else None

    return faults


def random_faults(seed: str) -> Faults:
    """Return the faults that a seed determines. The order of the calls does not affect them."""
    rate = seeded_random(seed).choice((0.02, 0.05, 0.1, 0.3, 0.6))
    attempts: Counter[object] = Counter()

    def faults(delivery: int, call: Call) -> Fault | None:
        if delivery > FAULTY_DELIVERIES:
            return None
        attempts[delivery, call] += 1
        generator = seeded_random(seed, delivery, call, attempts[delivery, call])
        if generator.random() >= rate:
            return None
        kind = PARTIAL_FAULT_KINDS.get(call.operation)
        return Fault(kind) if kind and generator.random() < 0.3 else generator.choice(FAULTS)

    return faults


def run_schedule(faulty_job: FaultyJob, clean: dict[str, Any], seed: str, faults: Faults) -> list[str]:
    """Run one schedule until every message is processed, and return its violations.

    Args:
        faulty_job: The job, which is reset first.
        clean: The state after a clean run.
        seed: The seed for the order and the delays of the deliveries.
        faults: The faults of the schedule.

    Returns:
        The violations, each in the form `counter: description`.
    """
    faulty_job.seed(units_per_call=seeded_random(seed, "partition").choice((None, None, 2)))
    # Each client has its own retry quota. Without this reset, a schedule could start with an exhausted quota.
    handler_module.use_cases.cache_clear()
    settled = _deliver_all(faulty_job, seed, faulty_job.messages(), faults)
    if settled and (faulty_job.expected or migration_failures(faulty_job.state()) > migration_failures(clean)):
        # An operator replays the output because of failed migrations. A replay must also keep the changes of users.
        faulty_job.replay()
        settled = _deliver_all(faulty_job, seed, faulty_job.messages(), no_faults)
    violations = [f"images_nowhere: {image_id}" for image_id in sorted(faulty_job.violations.images_nowhere)]
    violations += [f"lost: {description}" for description in sorted(faulty_job.violations.lost)]
    if not settled:
        return [*violations, f"diverged: messages still fail after {MAX_DELIVERIES} deliveries"]
    violations += [f"edits_lost: {description}" for description in sorted(faulty_job.lost_changes())]
    differences = _differences(faulty_job.state(), with_changes(clean, faulty_job))
    return violations + differences + _reverted_edits(faulty_job)


def migration_failures(state: dict[str, Any]) -> int:
    """Return the number of failed migrations in the item of a state's job."""
    [job] = map(from_item, state["tables"][BATCH_JOBS].values())
    return int(job.get("resultStats", {}).get("migrationFailedCount", 0))


def with_changes(clean: dict[str, Any], faulty_job: FaultyJob) -> dict[str, Any]:
    """Return the state of a clean run with the changes of users.

    A user may have replaced or deleted an image. The items and objects of such an image are as they are now, and so is
    the count of unmoved images. `lost_changes` has checked them.
    """
    state, now = copy.deepcopy(clean), faulty_job.state()
    for (name, key), attributes in faulty_job.expected.items():
        if attributes and key in state["tables"][name]:
            state["tables"][name][key] |= attributes
    if not faulty_job.changed_images:
        return state
    for name in (TRANSACTIONS, PENDING_IMAGES):
        for key, item in now["tables"][name].items():
            if item["imageId"]["S"] in faulty_job.changed_images and (
                name == PENDING_IMAGES or key in state["tables"][name]
            ):
                state["tables"][name][key] = item
    for image_id in faulty_job.changed_images:
        if (image_id,) not in now["tables"][PENDING_IMAGES]:
            state["tables"][PENDING_IMAGES].pop((image_id,), None)
    state["objects"] = {key: body for key, body in state["objects"].items() if not _is_of(faulty_job, key)}
    state["objects"] |= {key: body for key, body in now["objects"].items() if _is_of(faulty_job, key)}
    [job], [job_now] = state["tables"][BATCH_JOBS].values(), now["tables"][BATCH_JOBS].values()
    job["resultStats"]["M"]["migrationFailedCount"] = job_now["resultStats"]["M"]["migrationFailedCount"]
    for key, stats in job["outputStats"]["M"].items():
        stats["M"]["migrationFailedCount"] = job_now["outputStats"]["M"][key]["M"]["migrationFailedCount"]
    return state


def _is_of(faulty_job: FaultyJob, key: str) -> bool:
    """Return whether an object is a photograph of an image that a user changed."""
    folders = key.startswith(("uploads/", "processed/"))
    return folders and any(re.search(rf"{image_id}[-.]", key) for image_id in faulty_job.changed_images)


def _deliver_all(faulty_job: FaultyJob, seed: str, messages: list[str], faults: Faults) -> bool:
    """Deliver messages in the seed's order, some of them twice, and return whether all of them succeed."""
    generator = seeded_random(seed, "order")
    waiting = [*messages, *(message for message in messages if generator.random() < 0.3)]
    for _ in range(MAX_DELIVERIES):
        if not waiting:
            break
        message = waiting.pop(generator.randrange(len(waiting)))
        if not faulty_job.deliver(message, faults, generator.choice(REDELIVERY_DELAYS)):
            waiting.append(message)
    faulty_job.expire_claims()
    return not waiting


def _reverted_edits(faulty_job: FaultyJob) -> list[str]:
    """Edit the transactions, deliver every message again, and return a violation if this changes anything."""
    faulty_job.edit_transactions()
    edited = faulty_job.state()
    for message in faulty_job.messages():
        faulty_job.deliver(message, no_faults)
    return ["doubled: a redelivered message reverted an edit"] if faulty_job.state() != edited else []


def _differences(state: dict[str, Any], clean: dict[str, Any]) -> list[str]:
    """Return the differences between a state and that of a clean run."""
    violations: list[str] = []
    for name, items in {**state["tables"], "objects": state["objects"]}.items():
        expected = clean["objects"] if name == "objects" else clean["tables"][name]
        violations += [f"lost: {key} in {name}" for key in expected if key not in items]
        violations += [f"doubled: {key} in {name}" for key in items if key not in expected]
        changed = [key for key in items if key in expected and items[key] != expected[key]]
        violations += [f"diverged: {key} in {name}" for key in changed]
    return violations


@dataclass(frozen=True)
class CleanRun:
    """A run without faults: the final state, and the number of calls."""

    state: dict[str, Any]
    calls: int


def run_without_faults(faulty_job: FaultyJob) -> CleanRun:
    """Deliver each message once without faults.

    Raises:
        RuntimeError: A delivery failed.
    """
    faulty_job.seed()
    faulty_job.aws.calls.clear()
    for message in faulty_job.messages():
        if not faulty_job.deliver(message, no_faults):
            raise RuntimeError("A delivery failed in the run without faults.")
    return CleanRun(faulty_job.state(), faulty_job.aws.calls.total())


def run_campaign(
    faulty_job: FaultyJob,
    clean: CleanRun,
    schedules: int,
    seed: int,
    *,
    only: str | None = None,
    progress: Callable[[int, int], None] = lambda _, __: None,
) -> CampaignResult:
    """Run every crash point, meeting and change, and random schedules, or run one schedule.

    Args:
        faulty_job: The job under test.
        clean: The run with which each schedule is compared.
        schedules: The total number of schedules.
        seed: The seed of the random schedules.
        only: The name of the only schedule to run, or None to run all.
        progress: Called after each schedule with the number of finished schedules and the total.

    Raises:
        ValueError: A schedule named `only` does not exist, or `schedules` is smaller than the number of crash points,
            meetings and changes.
    """
    crashes, meetings = dict(crash_schedules(clean.calls)), dict(meeting_schedules(clean.calls))
    changes = dict(change_schedules(clean.calls))
    planned = {**crashes, **meetings, **changes}
    if only and only not in planned and not re.fullmatch(r"\d+-\d+", only):
        patterns = ", ".join(sorted({_name_pattern(name) for name in planned}))
        raise ValueError(
            f"Schedule {only!r} does not exist. Use one of {patterns} with a number at the end, or SEED-NUMBER."
        )
    if schedules < len(planned):
        raise ValueError(
            f"{schedules} schedules are too few. Use at least {len(planned)}, the number of crash points, meetings and "
            "changes."
        )
    randoms = (f"{seed}-{number}" for number in range(schedules - len(planned)))
    names = [only] if only else [*planned, *randoms]
    result = CampaignResult(seed)
    for name in names:
        result.schedules += 1
        result.crash_points += name in crashes
        result.meetings += name in meetings
        result.changes += name in changes
        faults = planned.get(name) or random_faults(name)
        if violations := run_schedule(faulty_job, clean.state, name, faults):
            result.failures[name] = violations
            result.violations.update({violation.partition(":")[0] for violation in violations})
        progress(result.schedules, len(names))
    return result
