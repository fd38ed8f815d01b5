"""Reads, consumes and sends the messages of a queue of the stage.

Reading a queue does not remove messages. A received message becomes visible again when it is released, or
`HIDDEN_SECONDS` after it was received. A queue must therefore be read within that time. After it, SQS returns the same
messages again.

Source: Amazon SQS developer guide, "Amazon SQS short and long polling" (an empty answer to a long poll means that the
queue is empty) and "Quotas related to messages" (10 messages per call, 1 MiB together; at most 120,000 in flight).
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

from yorutsuke_common.aws.calls import CallPool, chunks

from .errors import StageError, UnfinishedError

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

CHUNK = 10
"""Maximum number of messages in one call."""
SMALL_BYTES = 25 * 1024
"""Maximum size of a body that is sent together with others, in bytes. Ten of them are below SQS's former 256 KB."""
POLL_SECONDS = 1
HIDDEN_SECONDS = 600
"""Seconds for which a received message stays hidden unless it is released."""
READING_SECONDS = 540
"""Seconds for which a queue is read. The rest of `HIDDEN_SECONDS` remains for releasing the messages."""
CONCURRENT_CALLS = 16
"""Number of concurrent calls. One call takes 0.25 s from another continent: 20 minutes for 50,000 messages."""
POOL = CallPool()


@dataclass(frozen=True)
class Message:
    """A received message. `age_seconds` counts from when it was sent."""

    message_id: str
    receipt: str
    body: str
    age_seconds: int
    receives: int


@dataclass(frozen=True)
class Depth:
    """The approximate number of visible messages in a queue, and of received ones that were not deleted."""

    waiting: int
    inFlight: int

    @property
    def total(self) -> int:
        """The number of all messages. A released message counts as received for a while."""
        return self.waiting + self.inFlight


@dataclass(frozen=True)
class Queue:
    """A queue of the stage. Every method raises botocore's errors as well."""

    sqs: "SQSClient"
    name: str

    @cached_property
    def url(self) -> str:
        """The queue's URL. Raises StageError if the queue does not exist."""
        try:
            return self.sqs.get_queue_url(QueueName=self.name)["QueueUrl"]
        except self.sqs.exceptions.QueueDoesNotExist as exc:
            raise StageError(f"queue {self.name!r} does not exist.", "Deploy the stage again.") from exc

    def attributes(self) -> Mapping[Any, str]:
        """Return the queue's attributes."""
        return self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["All"])["Attributes"]

    def depth(self) -> Depth:
        """Return how many messages the queue has."""
        counts = self.attributes()
        return Depth(int(counts["ApproximateNumberOfMessages"]), int(counts["ApproximateNumberOfMessagesNotVisible"]))

    def look(self, see: Callable[[Message], object], advance: Callable[[int], object]) -> int:
        """Pass each message to `see` once, leave the queue unchanged, and return the number of hidden messages.

        Hidden messages could not be received: another program has received them, or they are new. `advance` receives
        the number of messages of each round of calls. Raises UnfinishedError if reading takes too long.
        """
        receipts: dict[str, str] = {}
        try:
            for messages in self._receive_all(receipts, CONCURRENT_CALLS):
                for message in messages:
                    see(message)
                advance(len(messages))
        finally:
            self._release(receipts.values())
        return max(0, self.depth().total - len(receipts))

    def consume(
        self,
        message_ids: Iterable[str],
        handle: Callable[[Sequence[Message]], Sequence[Message]],
        chunk: int = CHUNK,
        calls: int = CONCURRENT_CALLS,
    ) -> tuple[int, str]:
        """Receive the messages with these ids, handle them in concurrent chunks, and leave all others in the queue.

        `handle` returns the messages that are to be deleted. Return the number of messages that were not handled, and
        the text of the UnfinishedError that stopped it, if one did.
        """
        left = {*message_ids}
        receipts: dict[str, str] = {}

        def handle_chunk(messages: Sequence[Message]) -> None:
            done = handle(messages)
            left.difference_update(message.message_id for message in messages)
            self._delete(done)
            for message in done:
                receipts.pop(message.message_id, None)

        received = self._receive_all(receipts, calls)
        try:
            # Once all messages were found, the queue is not read any further.
            while left and (messages := next(received, None)):
                wanted = [message for message in messages if message.message_id in left]
                if calls == 1:
                    # A pool would wait for the running call, also after Ctrl-C.
                    for part in chunks(wanted, chunk):
                        handle_chunk(part)
                else:
                    POOL.map(handle_chunk, chunks(wanted, chunk), calls)
        except UnfinishedError as exc:
            return len(left), str(exc)
        finally:
            self._release(receipts.values())
        return len(left), ""

    def _receive_all(self, receipts: dict[str, str], calls: int) -> Iterator[list[Message]]:
        """Yield each message once, up to ten for each concurrent call, and store its last receipt in `receipts`.

        Messages stay hidden until they are released. Raises UnfinishedError before the first become visible again.
        """
        seen: set[str] = set()
        deadline = time.monotonic() + READING_SECONDS
        while True:
            rounds = range(min(calls, 1 + self.depth().waiting // CHUNK))
            received = [*chain.from_iterable(POOL.map(self._receive_chunk, rounds))]
            receipts.update((message.message_id, message.receipt) for message in received)
            new = {message.message_id: message for message in received if message.message_id not in seen}
            if not new:
                return
            seen |= new.keys()
            yield [*new.values()]
            if time.monotonic() > deadline:
                raise UnfinishedError(
                    f"{len(seen)} messages of {self.name} were received, and more remain. Received messages become "
                    f"visible again after {HIDDEN_SECONDS} s.",
                    "Run the command again, closer to the stage's Region.",
                )

    def _receive_chunk(self, _: int) -> list[Message]:
        answer = self.sqs.receive_message(
            QueueUrl=self.url,
            MaxNumberOfMessages=CHUNK,
            VisibilityTimeout=HIDDEN_SECONDS,
            WaitTimeSeconds=POLL_SECONDS,
            MessageSystemAttributeNames=["SentTimestamp", "ApproximateReceiveCount"],
        )
        received: Any = answer.get("Messages", [])
        return [
            Message(
                message_id=message["MessageId"],
                receipt=message["ReceiptHandle"],
                body=message["Body"],
                age_seconds=round(time.time() - int(message["Attributes"]["SentTimestamp"]) / 1000),
                receives=int(message["Attributes"]["ApproximateReceiveCount"]),
            )
            for message in received
        ]

    def send(self, bodies: Sequence[str]) -> None:
        """Send messages. Raises UnfinishedError if SQS did not accept all of them."""
        small = [body for body in bodies if len(body.encode()) <= SMALL_BYTES]
        large = [body for body in bodies if len(body.encode()) > SMALL_BYTES]
        for chunk in chain(chunks(small, CHUNK), chunks(large, 1)):
            self._call("sent to", self.sqs.send_message_batch, ({"MessageBody": body} for body in chunk))

    def _delete(self, messages: Sequence[Message]) -> None:
        for chunk in chunks(messages, CHUNK):
            entries = ({"ReceiptHandle": message.receipt} for message in chunk)
            self._call("deleted from", self.sqs.delete_message_batch, entries)

    def _release(self, receipts: Iterable[str]) -> None:
        """Make messages visible again. SQS ignores receipts of messages that were deleted."""

        def release(chunk: Sequence[str]) -> None:
            entries = ({"ReceiptHandle": receipt, "VisibilityTimeout": 0} for receipt in chunk)
            self._call(None, self.sqs.change_message_visibility_batch, entries)

        POOL.map(release, chunks([*receipts], CHUNK), CONCURRENT_CALLS)

    def _call(self, action: str | None, call: Callable[..., Any], entries: Iterable[dict[str, Any]]) -> None:
        """Make a call for several messages. Raises UnfinishedError if an action failed for some."""
        answer = call(QueueUrl=self.url, Entries=[{"Id": str(number), **entry} for number, entry in enumerate(entries)])
        if action and (failed := answer.get("Failed")):
            codes = ", ".join(sorted({entry["Code"] for entry in failed}))
            raise UnfinishedError(
                f"messages that were not {action} queue {self.name!r}: {len(failed)} ({codes}).",
                "Run the command again. The function recognizes repeated messages.",
            )
