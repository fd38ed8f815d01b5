"""Redrives dead-letter queues: shows their messages, and has them processed again.

SQS's own redrive, StartMessageMoveTask, moves a whole queue and does not show its messages. Receiving, sending and
deleting single messages can select those of one job, leave unreadable ones behind, and works on every stage. Only
bodies are sent: the attributes, in which SNS and EventBridge describe a failure, are not read by the function.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from yorutsuke_common.errors import InvalidEventError
from yorutsuke_common.events import (
    JobEnd,
    JobEvent,
    Origin,
    OutputManifestObject,
    OutputObject,
    is_lambda_failure_record,
    job_events_in_message,
    origin_of,
)

from .failed_requests import FailedRequest, read_failed_request, resubmit
from .queues import Message, Queue
from .screen import Advance
from .stage import Stage


class Kind(StrEnum):
    """The kinds of dead messages. `FAILED_EVENT` is Lambda's record of an event with which S3 invoked the function."""

    OUTPUT = "output"
    OUTPUT_MANIFEST = "output manifest"
    JOB_END = "job's end"
    FAILED_EVENT = "failed event"
    TEST_EVENT = "S3's test event"
    UNKNOWN = "unknown"


KINDS = {OutputObject: Kind.OUTPUT, OutputManifestObject: Kind.OUTPUT_MANIFEST, JobEnd: Kind.JOB_END}


@dataclass(frozen=True)
class MessageContent:
    """The kind of a message, its job and its events. S3's test event has neither a job nor events."""

    kind: Kind
    job_id: str | None
    events: tuple[JobEvent, ...]


@dataclass
class MessageGroup:
    """Dead messages of one kind about one job, as in the JSON answer.

    `problem` is the reason why the function cannot read them, or None.
    """

    kind: Kind
    jobId: str | None
    problem: str | None
    messages: int = 0
    oldestSeconds: int = 0
    mostReceives: int = 0

    def add(self, message: Message) -> None:
        """Count a message."""
        self.messages += 1
        self.oldestSeconds = max(self.oldestSeconds, message.age_seconds)
        self.mostReceives = max(self.mostReceives, message.receives)


@dataclass
class Redrive:
    """The messages of a dead-letter queue, and the outcome of their redrive.

    `readable` holds the ids of those that can be redriven. `hidden` counts those, of any job, that were not received.
    `sent` has the messages that were moved, and `resubmitted` counts the requests that succeeded. `jobs` has their jobs
    by intent. `failures` has the errors of the others, by intent or time of the scheduled run. `left` counts readable
    messages that were not redriven, and `stopped` is the error that stopped the redrive, if any.
    """

    queue: Queue
    rows: Sequence[MessageGroup] | Sequence[FailedRequest] = ()
    count: int = 0
    readable: list[str] = field(default_factory=list[str])
    hidden: int = 0
    sent: list[MessageContent] = field(default_factory=list[MessageContent])
    resubmitted: int = 0
    jobs: dict[str, str] = field(default_factory=dict[str, str])
    failures: dict[str, str] = field(default_factory=dict[str, str])
    left: int = 0
    stopped: str = ""

    def add(self, message: Message, problem: str | None) -> None:
        """Count a message. `problem` is the reason why it cannot be redriven, or None."""
        self.count += 1
        if problem is None:
            self.readable.append(message.message_id)


def find_messages(stage: Stage, job_id: str | None, advance: Advance) -> Redrive:
    """Return the dead messages of a job, or of all jobs. Raises UnfinishedError as `Queue.look`."""
    redrive = Redrive(stage.dead_letter_queue)
    groups: dict[tuple[Kind, str | None, str | None], MessageGroup] = {}
    place = _place(stage)

    def see(message: Message) -> None:
        content, problem = _read(message.body, place)
        if job_id in {None, content.job_id}:
            row = content.kind, content.job_id, problem
            groups.setdefault(row, MessageGroup(*row)).add(message)
            redrive.add(message, problem)

    redrive.hidden = redrive.queue.look(see, advance)
    redrive.rows = sorted(groups.values(), key=lambda group: (-group.messages, group.kind, group.jobId or ""))
    return redrive


def dead_events(stage: Stage) -> set[JobEvent]:
    """Return the events in the dead-letter queue. Raises UnfinishedError as `Queue.look`."""
    events: set[JobEvent] = set()
    place = _place(stage)
    stage.dead_letter_queue.look(lambda message: events.update(_read(message.body, place)[0].events), lambda _: None)
    return events


def _place(stage: Stage) -> Origin:
    return origin_of(stage.function_arn, stage.settings.images_bucket)


def _read(body: str, place: Origin) -> tuple[MessageContent, str | None]:
    """Return the content of a message, parsed as the function parses it, and the reason why it cannot be, or None."""
    try:
        events = job_events_in_message(body, place)
    except InvalidEventError as exc:
        return MessageContent(Kind.UNKNOWN, None, ()), str(exc)
    if not events:
        return MessageContent(Kind.TEST_EVENT, None, ()), None
    # S3 and EventBridge send one event per message.
    kind = Kind.FAILED_EVENT if is_lambda_failure_record(json.loads(body)) else KINDS[type(events[0])]
    return MessageContent(kind, events[0].job_id, tuple(events)), None


def find_requests(stage: Stage, intent_id: str | None, advance: Advance) -> Redrive:
    """Return the failed requests of an intent, or all of them and the scheduled runs.

    Raises UnfinishedError as `Queue.look`.
    """
    redrive = Redrive(stage.submit_dead_letter_queue)
    requests: list[FailedRequest] = []

    def see(message: Message) -> None:
        request = read_failed_request(message)
        if intent_id in {None, request.intentId}:
            requests.append(request)
            redrive.add(message, request.problem)

    redrive.hidden = redrive.queue.look(see, advance)
    redrive.rows = requests
    return redrive


def move_messages(stage: Stage, redrive: Redrive, advance: Advance) -> None:
    """Move the readable messages from the dead-letter queue to the queue."""
    place = _place(stage)

    def move(messages: Sequence[Message]) -> Sequence[Message]:
        # Messages are sent before they are deleted: the function recognizes a message that comes twice.
        stage.queue.send([message.body for message in messages])
        redrive.sent.extend(_read(message.body, place)[0] for message in messages)
        advance(len(messages))
        return messages

    redrive.left, redrive.stopped = redrive.queue.consume(redrive.readable, move)


def resubmit_requests(stage: Stage, redrive: Redrive, advance: Advance) -> None:
    """Send the readable requests to the orchestrator again, one by one, and delete those that succeed."""

    def send(messages: Sequence[Message]) -> Sequence[Message]:
        [message] = messages
        jobs, error = resubmit(stage, message)
        advance()
        if jobs is None:
            redrive.failures[read_failed_request(message).name or ""] = error
            return []
        redrive.resubmitted += 1
        redrive.jobs |= jobs
        return messages

    # An invocation may take minutes. Messages that wait for longer than they stay hidden would come back.
    redrive.left, redrive.stopped = redrive.queue.consume(redrive.readable, send, chunk=1, calls=1)
