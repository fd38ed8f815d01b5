"""Reads and writes of many items, in chunks, with retries of the items that DynamoDB returns unprocessed.

Sources: Amazon DynamoDB API reference, BatchWriteItem (at most 25 requests per call; UnprocessedItems must be sent
again with exponential backoff) and BatchGetItem (at most 100 keys per call; UnprocessedKeys).
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

from yorutsuke_common.errors import BatchWriteError, RetryableError
from yorutsuke_common.names import LogEvent

from .calls import CallPool, chunks

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

WRITE_CHUNK = 25
"""Number of items in one BatchWriteItem, its maximum."""
READ_CHUNK = 100
"""Number of keys in one BatchGetItem, its maximum."""
CONCURRENT_CALLS = 8
"""Number of concurrent calls of one kind. Opening a connection takes 20 ms of CPU, more than two calls."""
RETRIES = 3
"""Number of retries for unprocessed items."""
BASE_DELAY_SECONDS = 0.5
"""Maximum delay before the first retry, in seconds. It doubles with each retry."""

Item = dict[str, Any]
"""An item of the low-level client: attribute name to typed value, `{"userId": {"S": "user-1"}}`."""

_serializer = TypeSerializer()
_deserializer = TypeDeserializer()


def to_item(attributes: dict[str, Any]) -> Item:
    """Return attributes (str, int, Decimal, …) as an item."""
    # Most values are strings, for which boto3's serializer runs ten tests each.
    return {
        name: {"S": value} if type(value) is str else _serializer.serialize(value) for name, value in attributes.items()
    }


def from_item(item: Item) -> dict[str, Any]:
    """Return an item's attributes, with numbers as `Decimal`."""
    return {name: _deserializer.deserialize(value) for name, value in item.items()}


def _backoff(attempt: int) -> None:
    """Wait before retry `attempt`, counted from 0: exponential backoff with full jitter."""
    # The random number only spreads retries, and need not be unpredictable.
    time.sleep(random.uniform(0, BASE_DELAY_SECONDS * 2**attempt))  # noqa: S311


@dataclass(frozen=True)
class ChunkedClient:
    """Writes and reads any number of items of a table, in concurrent chunks."""

    client: "DynamoDBClient"
    pool: CallPool
    logger: Logger
    backoff: Callable[[int], None] = _backoff

    def put(self, table: str, items: Sequence[Item]) -> None:
        """Write items, 25 per call. Their keys must be distinct.

        Raises:
            BatchWriteError: Some items stayed unprocessed after 3 retries.
            botocore's errors: A call failed.
        """
        self.pool.map(partial(self._put_chunk, table), chunks(items, WRITE_CHUNK), CONCURRENT_CALLS)

    def get(self, table: str, keys: Sequence[Item]) -> list[Item]:
        """Read the items with these keys, 100 per call, and leave out those that do not exist.

        Reads are consistent, because an invocation must find the items that an earlier, unfinished one wrote.

        Raises:
            RetryableError: Some keys stayed unread after 3 retries.
            botocore's errors: A call failed.
        """
        found = self.pool.map(partial(self._get_chunk, table), chunks(keys, READ_CHUNK), CONCURRENT_CALLS)
        return list(chain.from_iterable(found))

    def _put_chunk(self, table: str, chunk: Sequence[Item]) -> None:
        unprocessed: Any = [{"PutRequest": {"Item": item}} for item in chunk]
        for attempt in range(RETRIES + 1):
            response = self.client.batch_write_item(RequestItems={table: unprocessed})
            unprocessed = response["UnprocessedItems"].get(table, [])
            if not unprocessed:
                return
            if attempt < RETRIES:
                self._log_retry(table, attempt, len(unprocessed))
                self.backoff(attempt)
        self.logger.error(
            "DynamoDB returned items unprocessed after every retry",
            event=LogEvent.BATCH_WRITE_FAILED_FINAL,
            table=table,
            unprocessed=len(unprocessed),
        )
        raise BatchWriteError(
            f"DynamoDB returned {len(unprocessed)} of {len(chunk)} items for table {table!r} unprocessed after "
            f"{RETRIES} retries. A later attempt may succeed. If it fails too, check the table's throttling."
        )

    def _get_chunk(self, table: str, keys: Sequence[Item]) -> list[Item]:
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
            f"DynamoDB returned {len(unread)} of {len(keys)} keys of table {table!r} unprocessed after {RETRIES} "
            "retries. A later attempt may succeed. If it fails too, check the table's throttling."
        )

    def _log_retry(self, table: str, attempt: int, unprocessed: int) -> None:
        self.logger.warning(
            "DynamoDB returned unprocessed items",
            event=LogEvent.BATCH_WRITE_RETRIED,
            table=table,
            attempt=attempt + 1,
            unprocessed=unprocessed,
        )
