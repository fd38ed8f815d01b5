"""Campaign of nights: several scheduled runs, requests, jobs and deliveries at once, with faults at any call.

The planned schedules have one crash, or one other invocation, at each call of a simple night. A seed determines the
events, the faults and the interleaving of the others. Each schedule ends with days without faults, until nothing
changes any more.
"""

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from local.in_memory import Fault
from yorutsuke_common.schema import instant

from .faulty_job import seeded_random
from .invocations import Invocation
from .nights import COUNTERS, MAX_ATTEMPTS, MIN_RECORDS, JobPlan, NightChange, Nights

USERS = ("user-1", "user-2", "user-3")
EVENTS = 30
"""Number of events in the disturbed part of a schedule."""
MAX_INVOCATIONS = 3
"""Maximum number of invocations at once."""
MAX_DAYS = 14
"""Maximum number of days without faults. A schedule that still changes then has failed."""
MAX_DELIVERIES = 6
"""Maximum number of deliveries of a message on a day without faults. Later ones are on the next day."""
REMEDY_SECONDS = 900
"""The age of an intent at which an operator may delete its item."""
FAULTS = (
    *(Fault("die", after=after) for after in (False, True)),
    *(Fault("reset", after=after) for after in (False, True)),
    *(Fault("error", code="InternalServerError", after=after) for after in (False, True)),
    Fault("error", code="ThrottlingException", status=400),
    Fault("error", code="AccessDenied", status=403),
    Fault("error", code="SlowDown", status=503),
)
OPERATION_FAULTS = {
    "BatchExecuteStatement": Fault("unprocessed"),
    "BatchGetItem": Fault("unprocessed"),
    "DeleteObjects": Fault("refused"),
    "GetObject": Fault("cut"),
    "Query": Fault("stale"),
    "CreateModelInvocationJob": Fault("error", code="ServiceQuotaExceededException", status=400),
}
"""The faults that an operation has more often than the others."""
EMPTY_UPLOAD = 6
"""The number of the upload of a planned night that is empty, counted from 0."""


@dataclass
class NightsResult:
    """The counts of a campaign. `failures` contains the violations of each failed schedule, by its name."""

    schedules: int = 0
    images: int = 0
    jobs: int = 0
    violations: Counter[str] = field(default_factory=Counter[str])
    failures: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    def add(self, name: str, nights: Nights) -> None:
        """Add a schedule that has ended."""
        self.schedules += 1
        self.images += len(nights.images)
        self.jobs += len(nights.jobs)
        if nights.violations:
            self.failures[name] = sorted(nights.violations)
            self.violations.update({violation.partition(":")[0] for violation in nights.violations})

    def summary(self) -> dict[str, int]:
        """Return the counts for the report."""
        counts = {"schedules": self.schedules, "images": self.images, "jobs": self.jobs}
        return {**counts, **{name: self.violations[name] for name in COUNTERS}}


class Night:
    """One schedule: its events, and the invocations that run at the same time."""

    def __init__(self, nights: Nights, generator: random.Random) -> None:
        self.nights = nights
        self.random = generator
        self.active: list[tuple[Invocation, dict[str, Any] | str]] = []
        self.runs: list[dict[str, Any]] = []
        """The events of the schedule that Lambda still has to retry."""
        self.requests: list[dict[str, Any]] = []

    # Events

    def upload(self) -> None:
        """Upload images of several users. Some can never be read."""
        for _ in range(self.random.randint(3, 7)):
            kind = self.random.random()
            extension = "txt" if kind < 0.04 else "jpg"
            self.nights.upload(self.random.choice(USERS), extension, body=b"" if 0.04 <= kind < 0.15 else None)

    def run(self, *, again: bool = False) -> None:
        """Start a scheduled run: of a new time, or of a time that had one."""
        if not (again and self.runs):
            self.runs.append({"scheduledTime": self.nights.now("seconds")})
        event = self.random.choice(self.runs[-2:]) if again else self.runs[-1]
        self.start(self.nights.invoke_orchestrator(event), event)

    def request(self) -> None:
        """Start a request for images of one user or of several, or repeat an earlier one."""
        if not self.requests or self.random.random() < 0.7:
            user_id = self.random.choice((None, *USERS))
            images = [each for each, image in self.nights.images.items() if user_id in (None, image.user_id)]
            if len(images) < MIN_RECORDS:
                return
            failed = [each for each in images if self.nights.status_of(each) == "failed"]
            if len(failed) >= MIN_RECORDS and self.random.random() < 0.5:
                images = failed
            chosen = self.random.sample(images, self.random.randint(MIN_RECORDS, min(len(images), 6)))
            event: dict[str, Any] = {"intentId": f"request-{len(self.requests)}", "pendingImageIds": chosen}
            self.requests.append({**event, "userId": user_id} if user_id else event)
        event = self.random.choice(self.requests)
        self.start(self.nights.invoke_orchestrator(event), event)

    def delivery(self) -> None:
        """Start the delivery of a message."""
        if self.nights.messages:
            message = self.random.choice(self.nights.messages)
            self.start(self.nights.invoke_handler(message), message)

    def end_job(self) -> None:
        """Let Bedrock end a job."""
        if live := self.nights.live_jobs():
            plan = self.random.choice([*JobPlan])
            self.nights.messages += self.nights.end_job(self.random.choice(live), plan)

    def change(self, change: NightChange | None = None) -> None:
        """Let a user change an image or a transaction."""
        image_ids = [each for each in self.nights.images if each not in self.nights.deleted_images]
        if image_ids:
            self.nights.change(change or self.random.choice([*NightChange]), self.random.choice(image_ids))

    def operate(self) -> None:
        """Let an operator delete the item of a submission that does not continue, or stop a job and delete its item."""
        submitting = any(isinstance(work, dict) for _, work in self.active)
        for item in self.nights.intents():
            began = instant(item["submitTime"])
            is_old = began is not None and self.nights.clock - began.timestamp() > REMEDY_SECONDS
            is_lost = item["status"] == "SUBMITTING" and not item.get("manifestPublished")
            has_job = any(job.intent_id == item["intentId"] for job in self.nights.jobs.values())
            is_refused = item["status"] == "SUBMITTING" and not submitting and not has_job
            is_live = any(self.nights.jobs[job_id].is_live for job_id in [item.get("jobId")] if job_id)
            if (is_old and (is_lost or is_refused)) or (is_live and not submitting and self.random.random() < 0.3):
                self.nights.delete_intent(item["intentId"])
                return

    def pass_time(self) -> None:
        """Let time pass."""
        self.nights.clock += self.random.choice((1, 30, 120, 600, 1000, 4000, 40000))

    # Invocations

    def start(self, invocation: Invocation, work: dict[str, Any] | str) -> None:
        """Add an invocation to those that run."""
        self.active.append((invocation, work))
        self.collect()

    def collect(self) -> None:
        """Remove the invocations that have ended, and the messages that they processed."""
        for invocation, work in [each for each in self.active if each[0].is_done]:
            self.active.remove((invocation, work))
            # Some messages arrive twice.
            is_message = isinstance(work, str)
            if is_message and invocation.result and work in self.nights.messages and self.random.random() < 0.85:
                self.nights.messages.remove(work)

    def fault(self, invocation: Invocation, rate: float) -> Fault | None:
        """Return the fault of an invocation's next call."""
        if invocation.call is None or self.random.random() >= rate:
            return None
        special = OPERATION_FAULTS.get(invocation.call.operation)
        return special if special and self.random.random() < 0.4 else self.random.choice(FAULTS)

    # Schedules

    def disturb(self) -> None:
        """Run random events, faults and interleavings."""
        rate = self.random.choice((0, 0.02, 0.05, 0.15))
        events: list[tuple[Callable[[], object], int]] = [
            (self.run, 4),
            (lambda: self.run(again=True), 3),
            (self.request, 2),
            (self.delivery, 8),
            (self.end_job, 4),
            (self.change, 2),
            (self.operate, 1),
            (self.pass_time, 3),
            (self.upload, 1),
        ]
        choices, weights = zip(*events, strict=True)
        self.nights.delivery = self.random.choice(("inline", "s3"))
        self.nights.limit_manifests(self.random.choice((50, 50, 4, 3)))
        self.upload()
        self.nights.unmovable |= {image_id for image_id in self.nights.images if self.random.random() < 0.1}
        left = EVENTS
        while left or self.active:
            busy = len(self.active) >= MAX_INVOCATIONS or not left
            if self.active and (busy or self.random.random() < 0.9):
                invocation, _ = self.random.choice(self.active)
                # One invocation often makes several calls before another continues.
                for _ in range(self.random.choice((1, 1, 2, 5, 12))):
                    if not invocation.is_done:
                        self.nights.step(invocation, self.fault(invocation, rate))
                self.collect()
            else:
                left -= 1
                [event] = self.random.choices(choices, weights)
                event()

    def rest(self) -> None:
        """Run days without faults until nothing changes, and check the invariants of the end."""
        self.nights.seconds_per_call = 0
        before = ""
        for _ in range(MAX_DAYS):
            self._run_day()
            now = self.nights.fingerprint()
            if now == before and not self.nights.messages and not self.nights.live_jobs():
                self.nights.check_end()
                return
            before = now
        self.nights.violations.add(f"restless: {len(self.nights.messages)} messages are left")

    def _run_day(self) -> None:
        # At night, after the invocations of the day before have ended.
        self.nights.clock += 7200
        self.nights.finish(self.nights.invoke_orchestrator({"scheduledTime": self.nights.now("seconds")}))
        for job_id in self.nights.live_jobs():
            plan = self.random.choice((JobPlan.COMPLETE, JobPlan.COMPLETE, JobPlan.BAD, JobPlan.PARTIAL))
            self.nights.messages += self.nights.end_job(job_id, plan)
        for _ in range(MAX_DELIVERIES):
            for message in [*self.nights.messages]:
                self.nights.clock += 400
                if self.nights.finish(self.nights.invoke_handler(message)).result:
                    self.nights.messages.remove(message)


class Beginning(StrEnum):
    """The state of the images at the beginning of a planned night."""

    SIMPLE = "simple"
    """All images wait."""
    RESUMED = "resumed"
    """A scheduled run of the same time has crashed before it published its first manifest."""
    ORPHANED = "orphaned"
    """A request has crashed there, and an operator has deleted the item of its intent."""
    EXHAUSTED = "exhausted"
    """Two images have failed after their last attempt. A request for them is refused, because a third one is empty."""
    UNMOVABLE = "unmovable"
    """All images wait, and S3 does not copy the first one."""
    LATE = "late"
    """As `UNMOVABLE`, and the messages arrive in reverse order: the output after the end of the job."""
    COPIED = "copied"
    """All images wait, and the manifests name copies of them."""
    FULL = "full"
    """All images wait, and a manifest has room for three. The fourth image has one attempt left."""


PLANNED_EVENTS = {
    Beginning.SIMPLE: (
        "run",
        "same-run",
        "outrun",
        "request",
        "delivery",
        "operator",
        "replace",
        "upload-again",
        "delete",
    ),
    Beginning.RESUMED: ("run", "same-run", "overtaken", "outrun", "begun-again"),
    Beginning.ORPHANED: ("run", "request"),
    Beginning.EXHAUSTED: ("request",),
    Beginning.UNMOVABLE: ("delivery",),
    Beginning.LATE: ("run",),
    Beginning.COPIED: ("outrun", "replace", "upload-again"),
    Beginning.FULL: ("run", "same-run", "request"),
}
"""The events that meet each call of a planned night, by its beginning."""


def begin(night: Night, beginning: Beginning) -> dict[str, Any]:
    """Upload seven images, let the beginning of a planned night happen, and return the event of its run."""
    nights = night.nights
    for index in range(7):
        nights.upload(USERS[index % 2], body=b"" if index == EMPTY_UPLOAD else None)
    if beginning == Beginning.COPIED:
        nights.delivery = "s3"
    if beginning == Beginning.FULL:
        nights.limit_manifests(MIN_RECORDS)
        nights.set_attributes("img-04", attempts=MAX_ATTEMPTS - 1)
    run = {"scheduledTime": nights.now("seconds")}
    night.runs.append(run)
    night.requests.append({"intentId": "request-1", "pendingImageIds": [*nights.images][:4]})
    if beginning == Beginning.EXHAUSTED:
        for image_id in ("img-01", "img-02"):
            nights.set_attributes(image_id, status="failed", attempts=MAX_ATTEMPTS, failureReason="NO_RECORD")
        night.requests[0]["pendingImageIds"] = ["img-01", "img-02", "img-07"]
    if beginning in (Beginning.UNMOVABLE, Beginning.LATE):
        nights.unmovable.add("img-01")
    if beginning in (Beginning.RESUMED, Beginning.ORPHANED):
        crashed = nights.invoke_orchestrator(run if beginning == Beginning.RESUMED else night.requests[0])
        while crashed.call and crashed.call.operation != "PutObject":
            nights.step(crashed, None)
        nights.step(crashed, Fault("die"))
    if beginning == Beginning.ORPHANED:
        nights.delete_intent("request-1")
    return run


def planned_night(night: Night, beginning: Beginning, number: int, disturb: Callable[[Invocation], object]) -> int:
    """Run a night of two jobs, disturb the call with this number, and return the number of calls.

    Bedrock completes one job partially, and the complete output of the other has no record of some images.
    """
    nights, calls = night.nights, 0

    def finish(invocation: Invocation) -> None:
        nonlocal calls
        while not invocation.is_done:
            calls += 1
            if calls == number:
                disturb(invocation)
            if not invocation.is_done:
                nights.step(invocation, None)

    run = begin(night, beginning)
    finish(nights.invoke_orchestrator(run))
    for job_id, plan in zip(nights.live_jobs(), (JobPlan.PARTIAL, JobPlan.MISSING), strict=False):
        nights.messages += nights.end_job(job_id, plan)
    if beginning == Beginning.LATE:
        nights.messages.reverse()
    for message in [*nights.messages]:
        invocation = nights.invoke_handler(message)
        finish(invocation)
        if invocation.result:
            nights.messages.remove(message)
    return calls


def meet(night: Night, event: str) -> None:
    """Let an event happen at once, without faults."""
    nights = night.nights
    match event:
        case "run":
            nights.clock += 300
            nights.finish(nights.invoke_orchestrator({"scheduledTime": nights.now("seconds")}))
        case "same-run":
            nights.finish(nights.invoke_orchestrator(night.runs[0]))
        case "overtaken":
            meet(night, "same-run")
            nights.change(NightChange.DELETE, "img-01")
            nights.change(NightChange.DELETE, "img-02")
        case "outrun":
            nights.change(NightChange.DELETE, "img-01")
            meet(night, "same-run")
        case "begun-again":
            begin_again(nights)
        case "request":
            nights.finish(nights.invoke_orchestrator(night.requests[0]))
        case "delivery":
            for message in nights.messages:
                nights.finish(nights.invoke_handler(message))
        case "operator":
            nights.clock += REMEDY_SECONDS + 1
            night.operate()
        case _:
            nights.change(NightChange(event), "img-01")


def begin_again(nights: Nights) -> None:
    """Let an operator delete the items of submissions without a manifest, and send their requests again."""
    for item in nights.intents():
        if item["status"] == "SUBMITTING" and not item.get("manifestPublished"):
            nights.delete_intent(item["intentId"])
            request = {"intentId": item["intentId"], "pendingImageIds": item["pendingImageIds"]}
            nights.finish(nights.invoke_orchestrator(request))


def planned_schedules(nights: Nights) -> Iterator[tuple[str, Callable[[Night], object]]]:
    """Yield the name and the run of each planned schedule."""

    def crash(beginning: Beginning, number: int, *, after: bool) -> Callable[[Night], object]:
        fault = Fault("die", after=after)
        return lambda night: planned_night(night, beginning, number, lambda each: night.nights.step(each, fault))

    def meeting(beginning: Beginning, number: int, event: str) -> Callable[[Night], object]:
        return lambda night: planned_night(night, beginning, number, lambda _: meet(night, event))

    for beginning, events in PLANNED_EVENTS.items():
        nights.reset()
        calls = planned_night(Night(nights, seeded_random(beginning)), beginning, 0, lambda _: None)
        for number in range(1, calls + 1):
            yield f"{beginning}-crash-before-{number}", crash(beginning, number, after=False)
            yield f"{beginning}-crash-after-{number}", crash(beginning, number, after=True)
            for event in events:
                yield f"{beginning}-{event}-before-{number}", meeting(beginning, number, event)


def is_night(name: str) -> bool:
    """Return whether a schedule with this name belongs to this campaign."""
    return name.startswith(("night-", *(f"{beginning}-" for beginning in Beginning)))


class NightCampaign:
    """The schedules of nights on a stage, which is reset before each. `planned` has the planned ones by name."""

    def __init__(self, nights: Nights) -> None:
        self.nights = nights
        self.planned = dict(planned_schedules(nights))

    def names(self, schedules: int, seed: int) -> list[str]:
        """Return the names of all planned schedules, and of this number of random ones."""
        return [*self.planned, *(f"night-{seed}-{number}" for number in range(schedules))]

    def run(self, names: Sequence[str], progress: Callable[[int, int], None] = lambda _, __: None) -> NightsResult:
        """Run schedules.

        Args:
            names: The names of the schedules.
            progress: Called with the number of finished schedules and their total number.

        Raises:
            ValueError: A schedule does not exist.
        """
        result = NightsResult()
        for name in names:
            self._run(name)
            result.add(name, self.nights)
            progress(result.schedules, len(names))
        return result

    def _run(self, name: str) -> None:
        act = self.planned.get(name)
        if act is None and not re.fullmatch(r"night-[0-9]+-[0-9]+", name):
            raise ValueError(
                f"Schedule {name!r} does not exist. Use a planned one such as {next(iter(self.planned))}, or "
                "night-SEED-NUMBER."
            )
        generator = seeded_random(name)
        self.nights.reset(0 if act else generator.choice((0, 0, 0, 5, 40)))
        night = Night(self.nights, generator)
        (act or Night.disturb)(night)
        night.rest()
