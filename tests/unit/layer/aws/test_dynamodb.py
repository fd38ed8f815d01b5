"""Chunked writes and reads, and the retries of unprocessed items and keys."""

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

Chunk = list[dict[str, Any]]
THROTTLED = ClientError({"Error": {"Code": "ThrottlingException", "Message": "slow down"}}, "BatchWriteItem")


@dataclass
class Table:
    """A table with the name "t". `leaves` has the number of requests at the end of each chunk that stay unprocessed."""

    leaves: Iterator[int]
    stored: dict[str, Item] = field(default_factory=dict[str, Item])
    calls: list[Chunk] = field(default_factory=list[Chunk])

    def batch_write_item(self, **request: dict[str, Chunk]) -> dict[str, Any]:
        processed, unprocessed = self._process(request["RequestItems"]["t"])
        self.stored |= {put["PutRequest"]["Item"]["id"]["S"]: put["PutRequest"]["Item"] for put in processed}
        return {"UnprocessedItems": {"t": unprocessed} if unprocessed else {}}

    def batch_get_item(self, **request: dict[str, dict[str, Chunk]]) -> dict[str, Any]:
        processed, unprocessed = self._process(request["RequestItems"]["t"]["Keys"])
        found = [self.stored[key["id"]["S"]] for key in processed if key["id"]["S"] in self.stored]
        return {"Responses": {"t": found}, "UnprocessedKeys": {"t": {"Keys": unprocessed}} if unprocessed else {}}

    def _process(self, chunk: Chunk) -> tuple[Chunk, Chunk]:
        self.calls.append(chunk)
        unprocessed = next(self.leaves, 0)
        return chunk[: len(chunk) - unprocessed], chunk[len(chunk) - unprocessed :]


class Refusing:
    """A client with calls that DynamoDB refuses."""

    def batch_write_item(self, **_request: object) -> dict[str, Any]:
        raise THROTTLED

    def batch_get_item(self, **_request: object) -> dict[str, Any]:
        raise THROTTLED


@dataclass
class Setup:
    """A chunked client of a table, its logs, and the attempts after which it waited."""

    table: Table
    logs: Logs = field(default_factory=Logs)
    waited: list[int] = field(default_factory=list[int])

    @property
    def client(self) -> ChunkedClient:
        return ChunkedClient(cast("DynamoDBClient", self.table), CallPool(), self.logs.logger, self.waited.append)


def make_setup(*leaves: int, stored: Iterable[Item] = ()) -> Setup:
    """Return a setup with a table that leaves these numbers of requests unprocessed in its first calls."""
    return Setup(Table(iter(leaves), {item["id"]["S"]: item for item in stored}))


def items(count: int) -> list[Item]:
    """Return items with the ids "0", "1", …"""
    return [{"id": {"S": str(number)}, "n": {"N": str(number)}} for number in range(count)]


def puts(some: Sequence[Item]) -> Chunk:
    """Return the requests that put these items."""
    return [{"PutRequest": {"Item": item}} for item in some]


def keys(*numbers: int) -> Chunk:
    """Return the keys of the items with these ids."""
    return [{"id": {"S": str(number)}} for number in numbers]


def test_item_conversion_is_reversible() -> None:
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
def test_chunks_contain_each_item_once(count: int, sizes: list[int]) -> None:
    cut = list(chunks(range(count), 25))

    assert [len(chunk) for chunk in cut] == sizes
    assert [number for chunk in cut for number in chunk] == list(range(count))


def test_put_writes_25_items_per_call() -> None:
    setup = make_setup()
    written = items(60)

    setup.client.put("t", written)

    assert setup.table.calls == [puts(written[:25]), puts(written[25:50]), puts(written[50:])]
    assert (setup.waited, setup.logs.entries("event")) == ([], [])


def test_empty_put_and_get_make_zero_calls() -> None:
    setup = make_setup()

    setup.client.put("t", [])

    assert (setup.client.get("t", []), setup.table.calls) == ([], [])


def test_put_retries_unprocessed_items_and_logs_it() -> None:
    setup = make_setup(3, 2, 1)
    written = items(4)

    setup.client.put("t", written)

    assert setup.table.calls == [puts(written), puts(written[1:]), puts(written[2:]), puts(written[3:])]
    assert list(setup.table.stored.values()) == written
    assert setup.waited == [0, 1, 2]
    retry = {"level": "WARNING", "event": "BATCH_WRITE_RETRIED", "table": "t"}
    assert setup.logs.entries("level", "event", "table", "attempt", "unprocessed") == [
        {**retry, "attempt": 1, "unprocessed": 3},
        {**retry, "attempt": 2, "unprocessed": 2},
        {**retry, "attempt": 3, "unprocessed": 1},
    ]


def test_put_raises_after_3_retries() -> None:
    setup = make_setup(3, 2, 2, 2)

    with pytest.raises(BatchWriteError) as raised:
        setup.client.put("t", items(4))

    assert str(raised.value) == (
        "DynamoDB returned 2 of 4 items for table 't' unprocessed after 3 retries. A later attempt may succeed. "
        "If it fails too, check the table's throttling."
    )
    assert (len(setup.table.calls), setup.waited) == (4, [0, 1, 2])
    assert setup.logs.entries("level", "event", "table", "unprocessed")[3:] == [
        {"level": "ERROR", "event": "BATCH_WRITE_FAILED_FINAL", "table": "t", "unprocessed": 2}
    ]


def test_put_stops_after_a_failed_chunk() -> None:
    setup = make_setup(1, 1, 1, 1)

    with pytest.raises(BatchWriteError):
        setup.client.put("t", items(26))

    assert [len(call) for call in setup.table.calls] == [25, 1, 1, 1]


def test_retry_log_and_error_omit_the_items() -> None:
    setup = make_setup(1, 1, 1, 1)

    with pytest.raises(BatchWriteError) as raised:
        setup.client.put("t", [{"id": {"S": "1"}, "merchant": {"S": "Kissa"}, "amount": {"N": "1280"}}])

    all_texts = f"{setup.logs.entries('level', 'message', 'event', 'table', 'attempt', 'unprocessed')} {raised.value}"
    assert [word for word in ("Kissa", "1280") if word in all_texts] == []


def test_get_reads_100_keys_per_call() -> None:
    stored = items(250)
    setup = make_setup(stored=[item for item in stored if item["id"]["S"] != "7"])

    read = setup.client.get("t", keys(*range(250)))

    assert read == stored[:7] + stored[8:]
    assert setup.table.calls == [keys(*range(100)), keys(*range(100, 200)), keys(*range(200, 250))]


def test_get_retries_unprocessed_keys() -> None:
    stored = items(4)
    setup = make_setup(3, 2, 1, stored=stored)

    assert setup.client.get("t", keys(0, 1, 2, 3)) == stored
    assert setup.table.calls == [keys(0, 1, 2, 3), keys(1, 2, 3), keys(2, 3), keys(3)]
    assert setup.waited == [0, 1, 2]


def test_get_raises_after_3_retries() -> None:
    setup = make_setup(2, 1, 1, 1, stored=items(2))

    with pytest.raises(RetryableError) as raised:
        setup.client.get("t", keys(0, 1))

    assert str(raised.value) == (
        "DynamoDB returned 1 of 2 keys of table 't' unprocessed after 3 retries. A later attempt may succeed. "
        "If it fails too, check the table's throttling."
    )
    assert setup.waited == [0, 1, 2]


def test_client_error_is_raised_unchanged() -> None:
    client = ChunkedClient(cast("DynamoDBClient", Refusing()), CallPool(), Logs().logger)

    with pytest.raises(ClientError) as written:
        client.put("t", items(1))
    with pytest.raises(ClientError) as read:
        client.get("t", keys(0))

    assert [written.value, read.value] == [THROTTLED, THROTTLED]


def test_retry_waits_have_jitter_and_double(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)

    for _ in range(200):
        ChunkedClient(cast("DynamoDBClient", Table(iter([1, 1, 1]))), CallPool(), Logs().logger).put("t", items(1))

    by_attempt = [waits[attempt::3] for attempt in range(3)]
    for bound, drawn in zip((0.5, 1.0, 2.0), by_attempt, strict=True):
        assert 0 <= min(drawn) < bound / 4
        assert bound * 3 / 4 < max(drawn) <= bound
