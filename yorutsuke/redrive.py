"""From the dead-letter queue back to the queue: looked through first, then moved, message by message.

SQS's own way, StartMessageMoveTask, moves a whole queue and says of no message what it is: it can neither take one
job's nor leave what the function will never read. A loop of receive, send and delete can, and is the same on every
stage. A message that was sent and not deleted comes twice, which the function takes for what it is. Of a
message its body is sent: what SNS and EventBridge noted of the failure in its attributes is not for the function.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from yorutsuke_common.aws.calls import chunks

from .dead_messages import DeadMessage, Kind, read_message
from .errors import UnfinishedError
from .queues import BATCH, CALLS_AT_ONCE, Message
from .stage import Stage


@dataclass
class Group:
    """Messages of one kind about one job. `oldest_sent` is in epoch seconds."""

    about: DeadMessage
    count: int = 0
    oldest_sent: float = field(default_factory=time.time)
    most_receives: int = 0

    def add(self, message: Message) -> None:
        """Count a message."""
        self.count += 1
        self.oldest_sent = min(self.oldest_sent, message.sent)
        self.most_receives = max(self.most_receives, message.receives)


@dataclass
class Survey:
    """What is in a dead-letter queue; `wanted` are the ids of the messages to be moved: those that can be read.

    `hidden` counts messages, of any job, that could not be looked at.
    """

    groups: dict[DeadMessage, Group] = field(default_factory=dict[DeadMessage, Group])
    wanted: set[str] = field(default_factory=set[str])
    hidden: int = 0

    def add(self, message: Message, about: DeadMessage, *, wanted: bool) -> None:
        """Count a message."""
        self.groups.setdefault(about, Group(about)).add(message)
        if wanted:
            self.wanted.add(message.message_id)

    @property
    def count(self) -> int:
        """How many messages there are."""
        return sum(group.count for group in self.groups.values())

    def ordered(self) -> Sequence[Group]:
        """Return the groups, the largest first."""
        return sorted(
            self.groups.values(), key=lambda group: (-group.count, group.about.kind, group.about.job_id or "")
        )


def survey(stage: Stage, job_id: str | None, seen: Callable[[int], object]) -> Survey:
    """Look a dead-letter queue through, for one job's messages where one is named, and leave it as it is.

    Raises UnfinishedError where that takes too long.
    """
    survey = Survey()

    def see(message: Message) -> None:
        about = read_message(message.body, stage.settings.images_bucket)
        if job_id in {None, about.job_id}:
            survey.add(message, about, wanted=about.kind is not Kind.UNKNOWN)

    survey.hidden = stage.dead_letter_queue.look(see, seen)
    return survey


def redrive(stage: Stage, wanted: set[str], moved: Callable[[int], object]) -> int:
    """Move these messages, and no others, to the queue; return how many were moved.

    Raises UnfinishedError where SQS did not do all of it: what was not moved is there to be moved again.
    """
    source, target = stage.dead_letter_queue, stage.queue
    left = set(wanted)
    kept: dict[str, str] = {}

    def move(messages: Sequence[Message]) -> None:
        # Sent first: what is in both comes twice, what is in neither is lost.
        target.send([message.body for message in messages])
        source.delete([message.receipt for message in messages])
        left.difference_update(message.message_id for message in messages)
        moved(len(messages))

    received = source.received()
    try:
        # The queue is not asked for more once all have been found.
        while left and (batch := next(received, None)):
            kept.update((message.message_id, message.receipt) for message in batch)
            found = [message for message in batch if message.message_id in left]
            source.pool.map(move, chunks(found, BATCH), CALLS_AT_ONCE)
            for message in found:
                del kept[message.message_id]
    except UnfinishedError as exc:
        raise UnfinishedError(f"{len(wanted) - len(left)} of {len(wanted)} messages were moved: {exc}") from exc
    finally:
        # A receipt of what is deleted by now says nothing to SQS.
        source.release([*kept.values()])
    return len(wanted) - len(left)
