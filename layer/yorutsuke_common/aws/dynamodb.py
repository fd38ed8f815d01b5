"""Reads of many items and conditional writes of many items, in chunks, repeated while DynamoDB throttles them.

Writes are PartiQL statements, because each of them has a condition of its own. BatchWriteItem would overwrite an item
that another writer has changed a moment before.

Sources: Amazon DynamoDB API reference, BatchExecuteStatement (at most 25 statements, each with an error of its own) and
BatchGetItem (at most 100 keys per call; UnprocessedKeys); Amazon DynamoDB developer guide, "PartiQL insert statements"
(an existing key is a duplicate) and "PartiQL update statements" (a condition that does not hold changes nothing).
"""

import random
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import ClientError

from yorutsuke_common.error_codes import error_code
from yorutsuke_common.errors import ThrottledError
from yorutsuke_common.names import LogEvent

from .calls import CallPool, TimeLimit, chunks
from .write_rate import WriteRate

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

WRITE_CHUNK = 25
"""Number of statements in one BatchExecuteStatement, its maximum."""
READ_CHUNK = 100
"""Number of keys in one BatchGetItem, its maximum."""
CONCURRENT_CALLS = 8
"""Number of concurrent calls of one kind. Opening a connection takes 20 ms of CPU, more than two calls."""
BASE_DELAY_SECONDS = 0.1
"""Maximum delay before the first retry, in seconds. It doubles with each retry."""
MAX_DELAY_SECONDS = 0.5
"""Maximum delay before any retry, in seconds. A partition accepts 1,000 writes in each second."""

DUPLICATE = "DuplicateItem"
"""Error code of an INSERT whose key exists."""
CONDITION_FAILED = "ConditionalCheckFailed"
"""Error code of an UPDATE whose item does not exist or does not fulfil the condition."""
ITEM_ERRORS = frozenset({DUPLICATE, CONDITION_FAILED, "ValidationError", "ItemCollectionSizeLimitExceeded"})
"""Error codes of a statement that belong to its item. ValidationError is also the code of an item above 400 KB."""
PASSING_ERRORS = frozenset(
    {"ProvisionedThroughputExceeded", "ThrottlingError", "RequestLimitExceeded", "InternalServerError"}
    | {"TransactionConflict"}
)
"""Error codes of a statement that a later attempt may not have. Source: Amazon DynamoDB API reference,
BatchStatementError."""
THROTTLED_CALLS = frozenset({"ProvisionedThroughputExceededException", "RequestLimitExceeded", "ThrottlingException"})
"""Error codes of a complete call that DynamoDB throttles, after the client's own retries."""

Item = dict[str, Any]
"""An item of the low-level client: attribute name to typed value, `{"userId": {"S": "user-1"}}`."""
Statement = dict[str, Any]
"""A PartiQL statement with its parameters, as BatchExecuteStatement takes it."""

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


def insert(table: str, item: Item) -> Statement:
    """Return the statement that writes an item unless the table has its key."""
    attributes = ", ".join(f"'{name}': ?" for name in item)
    return {"Statement": f'INSERT INTO "{table}" VALUE {{{attributes}}}', "Parameters": list(item.values())}


def update(table: str, changes: Item, where: Item, missing: Sequence[str] = ()) -> Statement:
    """Return the statement that changes attributes of an item under a condition.

    Args:
        table: The name of the table.
        changes: The new values.
        where: The item's key, and the values that its other attributes must have.
        missing: The attributes that the item must not have.
    """
    sets = " ".join(f'SET "{name}" = ?' for name in changes)
    conditions = [*(f'"{name}" = ?' for name in where), *(f'"{name}" IS MISSING' for name in missing)]
    return {
        "Statement": f'UPDATE "{table}" {sets} WHERE {" AND ".join(conditions)}',
        "Parameters": [*changes.values(), *where.values()],
    }


@dataclass(frozen=True)
class ChunkedClient:
    """Reads items and executes statements, any number of them, in concurrent chunks.

    Attempts are repeated while `time_limit` has time left. `rate` limits the statements after DynamoDB has throttled
    some of them.
    """

    client: "DynamoDBClient"
    pool: CallPool
    time_limit: TimeLimit
    logger: Logger
    rate: WriteRate = field(default_factory=WriteRate)

    def execute(self, statements: Sequence[Statement]) -> list[str | None]:
        """Execute statements, 25 per call, and return the error code of each one, or None if it succeeded.

        Only the codes of ITEM_ERRORS are returned. The statements must name distinct items.

        Raises:
            ThrottledError: DynamoDB throttled some statements until the time was used up.
            botocore's errors: A call failed, or a statement with another code.
        """
        codes = self.pool.map(self._execute_chunk, chunks(statements, WRITE_CHUNK), CONCURRENT_CALLS)
        return list(chain.from_iterable(codes))

    def get(self, table: str, keys: Sequence[Item], attributes: Sequence[str] = ()) -> list[Item]:
        """Read the items with these keys, 100 per call, and leave out those that do not exist.

        Reads are consistent, because an invocation must find the items that an earlier, unfinished one wrote.

        Args:
            table: The name of the table.
            keys: The keys of the items, which must be distinct.
            attributes: The attributes to read, or none for all of them.

        Raises:
            ThrottledError: DynamoDB throttled some keys until the time was used up.
            botocore's errors: A call failed.
        """
        read = partial(self._get_chunk, table, _projection(attributes))
        return list(chain.from_iterable(self.pool.map(read, chunks(keys, READ_CHUNK), CONCURRENT_CALLS)))

    def query(self, table: str, index: str, key: str, value: str) -> Generator[Item]:
        """Yield the items that an index has under a partition key, in the order of the index's sort key.

        The index lags behind the table.

        Raises:
            botocore's errors: A call failed, or DynamoDB throttled it longer than the client retries.
        """
        pages = self.client.get_paginator("query").paginate(
            TableName=table,
            IndexName=index,
            KeyConditionExpression="#key = :value",
            ExpressionAttributeNames={"#key": key},
            ExpressionAttributeValues={":value": {"S": value}},
        )
        for page in pages:
            yield from page["Items"]

    def _execute_chunk(self, statements: Sequence[Statement]) -> list[str | None]:
        codes: dict[int, str | None] = {}
        waiting, attempt = [*range(len(statements))], 0
        while True:
            if delay := self.rate.reserve(len(waiting)):
                self._sleep(delay, "statements", attempt, len(waiting))
            codes |= zip(waiting, self._codes([statements[n] for n in waiting]), strict=True)
            throttled = [number for number in waiting if codes[number] in PASSING_ERRORS]
            self.rate.adjust(len(waiting) - len(throttled), len(throttled))
            if not throttled:
                return [codes[number] for number in range(len(statements))]
            self._wait("statements", attempt, len(throttled))
            waiting, attempt = throttled, attempt + 1

    def _codes(self, statements: Sequence[Any]) -> list[str | None]:
        """Execute the statements of one call, and return their error codes."""
        try:
            responses = self.client.batch_execute_statement(Statements=statements)["Responses"]
        except ClientError as exc:
            if error_code(exc) not in THROTTLED_CALLS:
                raise
            return ["ThrottlingError"] * len(statements)
        codes = [response["Error"].get("Code", "") if "Error" in response else None for response in responses]
        for code in codes:
            if code is not None and code not in ITEM_ERRORS | PASSING_ERRORS:
                raise ClientError({"Error": {"Code": code}}, "BatchExecuteStatement")
        return codes

    def _get_chunk(self, table: str, projection: Mapping[str, Any], keys: Sequence[Item]) -> list[Item]:
        found: list[Item] = []
        unread, attempt = list(keys), 0
        while True:
            request: Any = {table: {"Keys": unread, "ConsistentRead": True, **projection}}
            try:
                response = self.client.batch_get_item(RequestItems=request)
            except ClientError as exc:
                if error_code(exc) not in THROTTLED_CALLS:
                    raise
            else:
                found += response["Responses"].get(table, [])
                unread = [*response["UnprocessedKeys"].get(table, {"Keys": []})["Keys"]]
            if not unread:
                return found
            self._wait("keys", attempt, len(unread))
            attempt += 1

    def _wait(self, kind: str, attempt: int, throttled: int) -> None:
        """Wait before retry `attempt`, counted from 0, with full jitter. Raises ThrottledError if the time is over."""
        # The random number only spreads retries, and need not be unpredictable.
        delay = random.uniform(0, min(MAX_DELAY_SECONDS, BASE_DELAY_SECONDS * 2**attempt))  # noqa: S311
        self._sleep(delay, kind, attempt + 1, throttled)
        self.logger.warning(
            "DynamoDB throttled a call",
            event=LogEvent.DYNAMODB_THROTTLED,
            kind=kind,
            attempt=attempt + 1,
            throttled=throttled,
        )

    def _sleep(self, seconds: float, kind: str, attempts: int, throttled: int) -> None:
        """Sleep before the next attempt. Raises ThrottledError if the time is over before that."""
        if self.time_limit.seconds_left() < seconds:
            self.logger.error(
                "DynamoDB throttled a call until the time was used up",
                event=LogEvent.DYNAMODB_THROTTLED_FINAL,
                kind=kind,
                attempts=attempts,
                throttled=throttled,
            )
            raise ThrottledError(
                f"DynamoDB throttled {kind} until the time of the function was used up. After {attempts} attempts, "
                f"{throttled} of a call were left. A later attempt continues where this one stopped. If it fails too, "
                "check the table's throttling."
            )
        time.sleep(seconds)


def _projection(attributes: Sequence[str]) -> dict[str, Any]:
    names = {f"#{number}": name for number, name in enumerate(attributes)}
    return {"ProjectionExpression": ", ".join(names), "ExpressionAttributeNames": names} if names else {}
