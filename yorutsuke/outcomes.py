"""The outcomes of messages that were moved from the dead-letter queue to the queue.

SQS does not report the state of a single message. The job's item shows if the function has processed an event, and the
dead-letter queue holds the messages that failed five times again. Any other message is delivered, or waits for its next
delivery. If the queue is empty, the function has consumed the message without an effect on the job. It skips an output
manifest that Bedrock wrote before it had processed a model request, for example.

Source: Amazon SQS API reference, GetQueueAttributes (the approximate numbers are consistent a minute after the last
message was sent).
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from math import inf

from yorutsuke_common.aws.calls import CallPool
from yorutsuke_common.aws.output_files import read_output_manifest
from yorutsuke_common.errors import InvalidOutputManifestError
from yorutsuke_common.events import JobEnd, JobEvent, OutputManifestObject, OutputObject
from yorutsuke_common.records.output_manifest import parse_counts

from .errors import NotFoundError
from .outputs import OutputState, job_outputs
from .redrive import Kind, MessageContent, dead_events
from .screen import Advance
from .stage import Stage
from .stored_jobs import StoredJob, find_job

CONCURRENT_CALLS = 16
EMPTY_SECONDS = 90
"""Time without a message after which the queue counts as empty, in seconds. Exceeds the lag of SQS's numbers."""


class Outcome(StrEnum):
    """The outcomes of a moved message. The function ignores S3's test events."""

    PROCESSED = "processed"
    IGNORED = "ignored by the function"
    SKIPPED = "consumed without an effect on the job"
    DEAD = "in the dead-letter queue again"
    WAITING = "not processed yet"


@dataclass(frozen=True)
class OutcomeGroup:
    """Moved messages of one kind about one job with the same outcome, as in the JSON answer."""

    kind: Kind
    jobId: str | None
    outcome: Outcome
    messages: int


@dataclass
class Outcomes:
    """The outcomes of moved messages, as far as they are known."""

    stage: Stage
    sent: Sequence[MessageContent]
    _known: dict[JobEvent, Outcome] = field(default_factory=dict[JobEvent, Outcome])
    _depth: int = 0
    """The number of messages in the dead-letter queue when it was last read, or 0."""
    _empty_since: float = inf
    """The time since when the queue did not have messages, as `time.monotonic()` counts, or infinite if it has some."""

    @property
    def events(self) -> set[JobEvent]:
        """The events in the messages."""
        return {event for message in self.sent for event in message.events}

    @property
    def groups(self) -> list[OutcomeGroup]:
        """The messages by kind, job and outcome, those that were not processed first."""
        counts = Counter((message.kind, message.job_id, self._outcome(message)) for message in self.sent)
        groups = [OutcomeGroup(*content, count) for content, count in counts.items()]
        worst_first = [*Outcome][::-1]
        return sorted(groups, key=lambda group: (worst_first.index(group.outcome), group.jobId or "", group.kind))

    def count(self, outcome: Outcome) -> int:
        """Return the number of messages with an outcome."""
        return sum(self._outcome(message) is outcome for message in self.sent)

    def update(self, advance: Advance) -> bool:
        """Look up the outcomes that are not known, and return whether all are known now.

        Raises botocore's errors, and UnfinishedError as `Queue.look`.
        """
        left = [event for event in self.events if event not in self._known]
        if not left:
            return True
        # First, so that the look-ups find every effect of the messages that have left the queue.
        is_queue_empty = self._is_queue_empty()
        processed = CallPool().map(partial(is_processed, self.stage), left, CONCURRENT_CALLS)
        found = {event: Outcome.PROCESSED for event, is_done in zip(left, processed, strict=True) if is_done}
        depth = self.stage.dead_letter_queue.depth().waiting
        # Reading the queue raises the receive counts of its messages, so an unchanged queue is read again only before
        # messages are taken for consumed.
        if len(found) < len(left) and (is_queue_empty or depth != self._depth):
            self._depth = depth
            dead = dead_events(self.stage)
            found |= {event: Outcome.DEAD for event in left if event in dead and event not in found}
        if is_queue_empty:
            found = dict.fromkeys(left, Outcome.SKIPPED) | found
        self._known |= found
        advance(len(found))
        return len(found) == len(left)

    def _is_queue_empty(self) -> bool:
        """Return whether the queue has been without messages for EMPTY_SECONDS."""
        has_messages = self.stage.queue.depth().total
        self._empty_since = inf if has_messages else min(self._empty_since, time.monotonic())
        return time.monotonic() - self._empty_since >= EMPTY_SECONDS

    def _outcome(self, message: MessageContent) -> Outcome:
        outcomes = {self._known.get(event, Outcome.WAITING) for event in message.events}
        for outcome in (Outcome.DEAD, Outcome.WAITING, Outcome.SKIPPED, Outcome.PROCESSED):
            if outcome in outcomes:
                return outcome
        return Outcome.IGNORED


def is_processed(stage: Stage, event: JobEvent) -> bool:
    """Return whether the function has processed an event, by the job's item. Raises botocore's errors."""
    try:
        job = find_job(stage, event.job_id)
    except NotFoundError:
        return False
    match event:
        case OutputObject():
            return _is_output_processed(stage, job, event)
        case OutputManifestObject():
            return _is_compared(stage, job, event)
        case JobEnd():
            return job.bedrockStatus == event.status


def _is_output_processed(stage: Stage, job: StoredJob, event: OutputObject) -> bool:
    """Return whether the content that the event or the bucket has was processed. An earlier content does not count."""
    etag = job.processedOutputs.get(event.key)
    if etag is None or etag == event.etag:
        return etag is not None
    return any(output.key == event.key and output.state is OutputState.PROCESSED for output in job_outputs(stage, job))


def _is_compared(stage: Stage, job: StoredJob, event: OutputManifestObject) -> bool:
    """Return whether the job's item has the counts of the output manifest."""
    if job.bedrockCounts is None:
        return False
    try:
        _, content = read_output_manifest(stage.clients.s3, event.bucket, event.key)
        return job.bedrockCounts == parse_counts(content, event.key)
    except (InvalidOutputManifestError, stage.clients.s3.exceptions.NoSuchKey):
        return False
