"""Batched reads and writes that never lose what DynamoDB hands back unprocessed.

Sources: Amazon DynamoDB API reference, BatchWriteItem (at most 25 requests a call, UnprocessedItems to be sent again
with exponential backoff) and BatchGetItem (at most 100 keys a call, UnprocessedKeys).
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from aws_lambda_powertools import Logger
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

from .errors import BatchWriteError, RetryableError
from .logger import Event
from .overlap import Overlap

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

WRITE_BATCH = 25
READ_BATCH = 100
CALLS_AT_ONCE = 8
"""Of one kind. A new connection takes a client some 20 ms of CPU, more than two batches do."""
RETRIES = 3
BASE_DELAY_SECONDS = 0.5

Item = dict[str, Any]
"""An item as the low-level client has it: attribute name to typed value, `{"userId": {"S": "user-1"}}`."""

_serializer = TypeSerializer()
_deserializer = TypeDeserializer()
_T = TypeVar("_T")


def to_item(attributes: dict[str, Any]) -> Item:
    """Return attributes (str, int, Decimal, …) as an item."""
    # Most are strings, which boto3 takes through ten tests each.
    return {
        name: {"S": value} if type(value) is str else _serializer.serialize(value) for name, value in attributes.items()
    }


def from_item(item: Item) -> dict[str, Any]:
    """Return an item's attributes; its numbers are `Decimal`."""
    return {name: _deserializer.deserialize(value) for name, value in item.items()}


def _backoff(attempt: int) -> None:
    """Wait before retry `attempt` (from 0): exponential, with full jitter."""
    # Jitter spreads retries; it guards no secret.
    time.sleep(random.uniform(0, BASE_DELAY_SECONDS * 2**attempt))  # noqa: S311


@dataclass(frozen=True)
class BatchClient:
    """BatchWriteItem and BatchGetItem on one table at a time, for any number of items, several calls at a time."""

    client: "DynamoDBClient"
    overlap: Overlap
    logger: Logger
    backoff: Callable[[int], None] = _backoff

    def put(self, table: str, items: Sequence[Item]) -> None:
        """Write every item, 25 a call. Keys must not repeat within `items`.

        Raises BatchWriteError where some stay unprocessed after 3 retries, botocore's errors as they come.
        """
        self.overlap.each(partial(self._put_batch, table), batches(items, WRITE_BATCH), CALLS_AT_ONCE)

    def get(self, table: str, key_name: str, values: Sequence[str]) -> list[Item]:
        """Read the items with these values of a partition key of type S, 100 a call; absent ones are left out.

        Consistently: a run that follows one that died must see what that one wrote.

        Raises RetryableError where some stay unread after 3 retries, botocore's errors as they come.
        """
        return self.get_items(table, [{key_name: {"S": value}} for value in values])

    def get_items(self, table: str, keys: Sequence[Item]) -> list[Item]:
        """Read the items with these keys, as `get` does."""
        found = self.overlap.each(partial(self._get_batch, table), batches(keys, READ_BATCH), CALLS_AT_ONCE)
        return list(chain.from_iterable(found))

    def _put_batch(self, table: str, batch: Sequence[Item]) -> None:
        unprocessed: Any = [{"PutRequest": {"Item": item}} for item in batch]
        for attempt in range(RETRIES + 1):
            response = self.client.batch_write_item(RequestItems={table: unprocessed})
            unprocessed = response["UnprocessedItems"].get(table, [])
            if not unprocessed:
                return
            if attempt < RETRIES:
                self._log_retry(table, attempt, len(unprocessed))
                self.backoff(attempt)
        self.logger.error(
            "items stayed unprocessed after every retry",
            event=Event.BATCH_WRITE_FAILED_FINAL,
            table=table,
            unprocessed=len(unprocessed),
        )
        raise BatchWriteError(
            f"{len(unprocessed)} of {len(batch)} items for table {table!r} stayed unprocessed after {RETRIES} retries: "
            "trying again later may succeed; if it keeps failing, check the table's throttling."
        )

    def _get_batch(self, table: str, keys: Sequence[Item]) -> list[Item]:
        found: list[Item] = []
        unread: Any = list(keys)
        for attempt in range(RETRIES + 1):
            response = self.client.batch_get_item(RequestItems={table: {"Keys": unread, "ConsistentRead": True}})
            found += response["Responses"].get(table, [])
            unread = response["UnprocessedKeys"].get(table, {"Keys": []})["Keys"]
            if not unread:
                return found
            if attempt < RETRIES:
                self.backoff(attempt)
        raise RetryableError(
            f"{len(unread)} of {len(keys)} keys of table {table!r} stayed unread after {RETRIES} retries: "
            "trying again later may succeed; if it keeps failing, check the table's throttling."
        )

    def _log_retry(self, table: str, attempt: int, unprocessed: int) -> None:
        self.logger.warning(
            "DynamoDB returned unprocessed items",
            event=Event.BATCH_WRITE_RETRIED,
            table=table,
            attempt=attempt + 1,
            unprocessed=unprocessed,
        )


def batches(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    """Yield `items` in slices of `size`, the last one shorter."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
