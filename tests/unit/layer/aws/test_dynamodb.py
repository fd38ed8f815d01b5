"""Batches, and what DynamoDB hands back of them unprocessed."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

import pytest
from botocore.exceptions import ClientError

from tests.unit.logs import Logs
from yorutsuke_common.aws.calls import CallPool, chunks
from yorutsuke_common.aws.dynamodb import ChunkedClient, Item, from_item, to_item
from yorutsuke_common.errors import BatchWriteError, RetryableError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Batch = list[dict[str, Any]]
THROTTLED = ClientError({"Error": {"Code": "ThrottlingException", "Message": "slow down"}}, "BatchWriteItem")


@dataclass
class Table:
    """A table of the name "t" that leaves, call by call, so many requests of a batch undone: the last ones."""

    leaves: Iterator[int]
    stored: dict[str, Item] = field(default_factory=dict[str, Item])
    calls: list[Batch] = field(default_factory=list[Batch])

    def batch_write_item(self, **request: dict[str, Batch]) -> dict[str, Any]:
        done, undone = self._take(request["RequestItems"]["t"])
        self.stored |= {put["PutRequest"]["Item"]["id"]["S"]: put["PutRequest"]["Item"] for put in done}
        return {"UnprocessedItems": {"t": undone} if undone else {}}

    def batch_get_item(self, **request: dict[str, dict[str, Batch]]) -> dict[str, Any]:
        done, undone = self._take(request["RequestItems"]["t"]["Keys"])
        found = [self.stored[key["id"]["S"]] for key in done if key["id"]["S"] in self.stored]
        return {"Responses": {"t": found}, "UnprocessedKeys": {"t": {"Keys": undone}} if undone else {}}

    def _take(self, batch: Batch) -> tuple[Batch, Batch]:
        self.calls.append(batch)
        undone = next(self.leaves, 0)
        return batch[: len(batch) - undone], batch[len(batch) - undone :]


class Refusing:
    """A client that DynamoDB refuses."""

    def batch_write_item(self, **_request: object) -> dict[str, Any]:
        raise THROTTLED

    def batch_get_item(self, **_request: object) -> dict[str, Any]:
        raise THROTTLED


@dataclass
class Bench:
    """A batch client on a table, its logs, and the attempts it waited after."""

    table: Table
    logs: Logs = field(default_factory=Logs)
    waited: list[int] = field(default_factory=list[int])

    @property
    def batch(self) -> ChunkedClient:
        return ChunkedClient(cast("DynamoDBClient", self.table), CallPool(), self.logs.logger, self.waited.append)


def bench(*leaves: int, stored: Iterable[Item] = ()) -> Bench:
    """Return a bench whose table leaves so many requests undone in its first calls."""
    return Bench(Table(iter(leaves), {item["id"]["S"]: item for item in stored}))


def items(count: int) -> list[Item]:
    """Return items with the ids "0", "1", …"""
    return [{"id": {"S": str(number)}, "n": {"N": str(number)}} for number in range(count)]


def puts(some: Sequence[Item]) -> Batch:
    """Return the requests that put these items."""
    return [{"PutRequest": {"Item": item}} for item in some]


def keys(*numbers: int) -> Batch:
    """Return the keys of the items with these ids."""
    return [{"id": {"S": str(number)}} for number in numbers]


def test_an_item_is_read_back_as_it_was_written() -> None:
    attributes = {
        "userId": "user-1",
        "amount": Decimal(12345678901234567890123456789012345678),
        "ttl": 1858444927,
        "stats": {"successCount": 3},
        "nothing": None,
        "ids": ["a"],
    }
    item = {
        "userId": {"S": "user-1"},
        "amount": {"N": "12345678901234567890123456789012345678"},
        "ttl": {"N": "1858444927"},
        "stats": {"M": {"successCount": {"N": "3"}}},
        "nothing": {"NULL": True},
        "ids": {"L": [{"S": "a"}]},
    }

    assert to_item(attributes) == item
    assert from_item(item) == attributes


@pytest.mark.parametrize(
    ("count", "sizes"), [(0, []), (1, [1]), (24, [24]), (25, [25]), (26, [25, 1]), (50, [25, 25]), (51, [25, 25, 1])]
)
def test_items_are_cut_into_batches_without_losing_or_adding_one(count: int, sizes: list[int]) -> None:
    cut = list(chunks(range(count), 25))

    assert [len(batch) for batch in cut] == sizes
    assert [number for batch in cut for number in batch] == list(range(count))


def test_items_are_written_25_a_call() -> None:
    on = bench()
    written = items(60)

    on.batch.put("t", written)

    assert on.table.calls == [puts(written[:25]), puts(written[25:50]), puts(written[50:])]
    assert (on.waited, on.logs.entries("event")) == ([], [])


def test_nothing_to_write_or_read_is_no_call() -> None:
    on = bench()

    on.batch.put("t", [])

    assert (on.batch.get("t", []), on.table.calls) == ([], [])


def test_only_the_unprocessed_items_are_written_again_and_each_retry_is_logged() -> None:
    on = bench(3, 2, 1)
    written = items(4)

    on.batch.put("t", written)

    assert on.table.calls == [puts(written), puts(written[1:]), puts(written[2:]), puts(written[3:])]
    assert list(on.table.stored.values()) == written
    assert on.waited == [0, 1, 2]
    retry = {"level": "WARNING", "event": "BATCH_WRITE_RETRIED", "table": "t"}
    assert on.logs.entries("level", "event", "table", "attempt", "unprocessed") == [
        {**retry, "attempt": 1, "unprocessed": 3},
        {**retry, "attempt": 2, "unprocessed": 2},
        {**retry, "attempt": 3, "unprocessed": 1},
    ]


def test_items_still_unprocessed_after_3_retries_are_logged_and_raised_with_their_count_and_table() -> None:
    on = bench(3, 2, 2, 2)

    with pytest.raises(BatchWriteError) as raised:
        on.batch.put("t", items(4))

    assert str(raised.value) == (
        "DynamoDB returned 2 of 4 items for table 't' unprocessed after 3 retries. A later attempt may succeed. "
        "If it fails too, check the table's throttling."
    )
    assert (len(on.table.calls), on.waited) == (4, [0, 1, 2])
    assert on.logs.entries("level", "event", "table", "unprocessed")[3:] == [
        {"level": "ERROR", "event": "BATCH_WRITE_FAILED_FINAL", "table": "t", "unprocessed": 2}
    ]


def test_a_batch_that_fails_stops_those_after_it() -> None:
    on = bench(1, 1, 1, 1)

    with pytest.raises(BatchWriteError):
        on.batch.put("t", items(26))

    assert [len(call) for call in on.table.calls] == [25, 1, 1, 1]


def test_the_log_of_a_retry_holds_no_item() -> None:
    on = bench(1, 1, 1, 1)

    with pytest.raises(BatchWriteError) as raised:
        on.batch.put("t", [{"id": {"S": "1"}, "merchant": {"S": "Kissa"}, "amount": {"N": "1280"}}])

    everything = f"{on.logs.entries('level', 'message', 'event', 'table', 'attempt', 'unprocessed')} {raised.value}"
    assert [word for word in ("Kissa", "1280") if word in everything] == []


def test_items_are_read_100_keys_a_call_and_absent_ones_are_left_out() -> None:
    stored = items(250)
    on = bench(stored=[item for item in stored if item["id"]["S"] != "7"])

    read = on.batch.get("t", keys(*range(250)))

    assert read == stored[:7] + stored[8:]
    assert on.table.calls == [keys(*range(100)), keys(*range(100, 200)), keys(*range(200, 250))]


def test_only_the_unprocessed_keys_are_read_again() -> None:
    stored = items(4)
    on = bench(3, 2, 1, stored=stored)

    assert on.batch.get("t", keys(0, 1, 2, 3)) == stored
    assert on.table.calls == [keys(0, 1, 2, 3), keys(1, 2, 3), keys(2, 3), keys(3)]
    assert on.waited == [0, 1, 2]


def test_keys_still_unread_after_3_retries_are_raised_with_their_count_and_table() -> None:
    on = bench(2, 1, 1, 1, stored=items(2))

    with pytest.raises(RetryableError) as raised:
        on.batch.get("t", keys(0, 1))

    assert str(raised.value) == (
        "DynamoDB returned 1 of 2 keys of table 't' unprocessed after 3 retries. A later attempt may succeed. "
        "If it fails too, check the table's throttling."
    )
    assert on.waited == [0, 1, 2]


def test_what_dynamodb_refuses_is_raised_as_it_comes() -> None:
    batch = ChunkedClient(cast("DynamoDBClient", Refusing()), CallPool(), Logs().logger)

    with pytest.raises(ClientError) as written:
        batch.put("t", items(1))
    with pytest.raises(ClientError) as read:
        batch.get("t", keys(0))

    assert [written.value, read.value] == [THROTTLED, THROTTLED]


def test_the_waits_have_jitter_and_double_their_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)

    for _ in range(200):
        ChunkedClient(cast("DynamoDBClient", Table(iter([1, 1, 1]))), CallPool(), Logs().logger).put("t", items(1))

    by_attempt = [waits[attempt::3] for attempt in range(3)]
    for bound, drawn in zip((0.5, 1.0, 2.0), by_attempt, strict=True):
        assert 0 <= min(drawn) < bound / 4
        assert bound * 3 / 4 < max(drawn) <= bound
