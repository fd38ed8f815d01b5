"""A queue of the stage, looked through message by message.

Nothing is taken out of a queue by looking: what was received comes back, at once where it is released, else after
`HIDDEN_SECONDS`. So a queue is looked through within that time, or not to its end: afterwards what is received is what
was seen before.

Source: Amazon SQS developer guide, "Amazon SQS short and long polling" (a long poll asks all servers, so that an empty
answer means an empty queue), "Quotas related to messages" (ten a batch, 1 MiB together; 120,000 received at once).
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

from yorutsuke_common.aws.calls import CallPool, chunks

from .errors import StageError, UnfinishedError

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

BATCH = 10
BATCH_BYTES = 256 * 1024
"""A fourth of what SQS takes now, and all that it took before August 2025."""
POLL_SECONDS = 1
HIDDEN_SECONDS = 600
"""How long a message that was looked at stays hidden where it is not released."""
LOOKING_SECONDS = 540
"""How long a queue is looked through: the rest of that time is for releasing what was looked at."""
CALLS_AT_ONCE = 16
"""A batch takes a quarter of a second from another continent: 50,000 messages, one by one, twenty minutes."""


@dataclass(frozen=True)
class Message:
    """A message as it was received. `sent` is in epoch seconds."""

    message_id: str
    receipt: str
    body: str
    sent: float
    receives: int


@dataclass(frozen=True)
class Depth:
    """How many messages a queue has, as far as SQS knows: visible ones, and those that somebody has received."""

    waiting: int
    in_flight: int


@dataclass(frozen=True)
class Queue:
    """A queue of the stage."""

    sqs: "SQSClient"
    name: str

    @cached_property
    def url(self) -> str:
        """The queue's URL. Raises StageError where there is no such queue."""
        try:
            return self.sqs.get_queue_url(QueueName=self.name)["QueueUrl"]
        except self.sqs.exceptions.QueueDoesNotExist as exc:
            raise StageError(f"there is no queue {self.name!r}: deploy the stage again.") from exc

    def attributes(self) -> Mapping[Any, str]:
        """Return what SQS says of the queue."""
        return self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["All"])["Attributes"]

    def depth(self) -> Depth:
        """Return how many messages the queue has."""
        attributes = self.attributes()
        return Depth(
            int(attributes["ApproximateNumberOfMessages"]), int(attributes["ApproximateNumberOfMessagesNotVisible"])
        )

    @cached_property
    def pool(self) -> CallPool:
        """The pool of concurrent calls."""
        return CallPool()

    def look(self, see: Callable[[Message], None], seen: Callable[[int], object]) -> int:
        """Show each message once, and leave the queue as it is.

        Return how many more SQS knows of: somebody else has received them, or they are new. Visible ones and received
        ones are counted together, since what was released counts as received for a while.

        Raises UnfinishedError where looking takes longer than what was looked at stays hidden.
        """
        receipts: dict[str, str] = {}
        try:
            for batch in self.received():
                for message in batch:
                    if message.message_id not in receipts:
                        see(message)
                    receipts[message.message_id] = message.receipt
                seen(len(batch))
        finally:
            self.release([*receipts.values()])
        depth = self.depth()
        return max(0, depth.waiting + depth.in_flight - len(receipts))

    def received(self, at_once: int = CALLS_AT_ONCE) -> Iterator[list[Message]]:
        """Yield the queue's messages, up to ten for each call under way at once, until no new ones are to be had.

        Each is hidden from others until it is released.

        Raises UnfinishedError before those that came first are to be had again.
        """
        seen: set[str] = set()
        until = time.monotonic() + LOOKING_SECONDS
        while batch := self._receive(min(at_once, 1 + self.depth().waiting // BATCH)):
            yield batch
            known = len(seen)
            seen.update(message.message_id for message in batch)
            if len(seen) == known:
                return
            if time.monotonic() > until:
                raise UnfinishedError(
                    f"{len(seen)} messages of {self.name} were looked at, and more are there, but the first "
                    f"come back by now ({HIDDEN_SECONDS} s): run this again, from nearer to the stage's Region."
                )

    def _receive(self, calls: int) -> list[Message]:
        return [*chain.from_iterable(self.pool.map(self._receive_batch, range(calls)))]

    def _receive_batch(self, _: int) -> list[Message]:
        answer = self.sqs.receive_message(
            QueueUrl=self.url,
            MaxNumberOfMessages=BATCH,
            VisibilityTimeout=HIDDEN_SECONDS,
            WaitTimeSeconds=POLL_SECONDS,
            MessageSystemAttributeNames=["SentTimestamp", "ApproximateReceiveCount"],
        )
        return [_message(message) for message in answer.get("Messages", [])]

    def release(self, receipts: Sequence[str]) -> None:
        """Let others see messages again at once. What that fails for comes back after `HIDDEN_SECONDS`."""
        self.pool.map(self._release_batch, chunks(receipts, BATCH), CALLS_AT_ONCE)

    def _release_batch(self, receipts: Sequence[str]) -> None:
        self.sqs.change_message_visibility_batch(
            QueueUrl=self.url,
            Entries=[
                {"Id": str(number), "ReceiptHandle": receipt, "VisibilityTimeout": 0}
                for number, receipt in enumerate(receipts)
            ],
        )

    def send(self, bodies: Sequence[str]) -> None:
        """Send messages. Raises UnfinishedError where SQS did not take all of them."""
        for batch in _sendable(bodies):
            answer = self.sqs.send_message_batch(
                QueueUrl=self.url,
                Entries=[{"Id": str(number), "MessageBody": body} for number, body in enumerate(batch)],
            )
            self._require_none_failed("taken by", answer.get("Failed", []))

    def delete(self, receipts: Sequence[str]) -> None:
        """Delete received messages. Raises UnfinishedError where some of them are still there."""
        for batch in chunks(receipts, BATCH):
            answer = self.sqs.delete_message_batch(
                QueueUrl=self.url,
                Entries=[{"Id": str(number), "ReceiptHandle": receipt} for number, receipt in enumerate(batch)],
            )
            self._require_none_failed("deleted from", answer.get("Failed", []))

    def _require_none_failed(self, what: str, failed: Sequence[Any]) -> None:
        if failed:
            codes = sorted({entry["Code"] for entry in failed})
            raise UnfinishedError(
                f"{len(failed)} messages were not {what} queue {self.name!r} ({', '.join(codes)}): run this again, the "
                "function takes repeats for what they are."
            )


def hidden_messages(queue: str, count: int) -> str:
    """Return what to say of messages that could not be looked at; nothing where there are none."""
    if not count:
        return ""
    return (
        f" {count} more in {queue} could not be looked at: somebody has received them, or they came meanwhile. What a "
        f"command left behind comes back {HIDDEN_SECONDS // 60} minutes later: look again then."
    )


def _message(message: Any) -> Message:
    attributes = message["Attributes"]
    return Message(
        message_id=message["MessageId"],
        receipt=message["ReceiptHandle"],
        body=message["Body"],
        sent=int(attributes["SentTimestamp"]) / 1000,
        receives=int(attributes["ApproximateReceiveCount"]),
    )


def _sendable(bodies: Sequence[str]) -> Iterator[list[str]]:
    """Yield bodies in batches that one call takes."""
    batch: list[str] = []
    room = BATCH_BYTES
    for body in bodies:
        size = len(body.encode())
        if batch and (len(batch) == BATCH or size > room):
            yield batch
            batch, room = [], BATCH_BYTES
        batch.append(body)
        room -= size
    if batch:
        yield batch
