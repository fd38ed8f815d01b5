"""Chunked statements and reads, and the retries of those that DynamoDB throttles."""

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

import pytest
from botocore.exceptions import ClientError

from tests.unit.logs import Logs
from yorutsuke_common.aws.calls import CallPool, TimeLimit, chunks
from yorutsuke_common.aws.dynamodb import ChunkedClient, Item, Statement, from_item, insert, to_item, update
from yorutsuke_common.errors import ThrottledError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Chunk = list[dict[str, Any]]


def client_error(code: str) -> ClientError:
    """Return the error of a call that DynamoDB refuses."""
    return ClientError({"Error": {"Code": code, "Message": code}}, "BatchExecuteStatement")


@dataclass
class Table:
    """A table with the name "t".

    `leaves` has the number of statements or keys at the end of each call that are throttled. `codes` are the error
    codes of statements by their first parameter. `refusals` are raised by the first calls.
    """

    leaves: Iterator[int]
    stored: dict[str, Item] = field(default_factory=dict[str, Item])
    codes: dict[str, str] = field(default_factory=dict[str, str])
    refusals: list[ClientError] = field(default_factory=list[ClientError])
    calls: list[Chunk] = field(default_factory=list[Chunk])
    requests: list[Any] = field(default_factory=list[Any])

    def batch_execute_statement(self, **request: Chunk) -> dict[str, Any]:
        processed, throttled = self._process(request["Statements"])
        codes = [self.codes.get(statement["Parameters"][0]["S"]) for statement in processed]
        codes += ["ProvisionedThroughputExceeded"] * len(throttled)
        return {"Responses": [{"Error": {"Code": code}} if code else {} for code in codes]}

    def batch_get_item(self, **request: Any) -> dict[str, Any]:
        self.requests.append(request["RequestItems"]["t"])
        processed, unprocessed = self._process(request["RequestItems"]["t"]["Keys"])
        found = [self.stored[key["id"]["S"]] for key in processed if key["id"]["S"] in self.stored]
        return {"Responses": {"t": found}, "UnprocessedKeys": {"t": {"Keys": unprocessed}} if unprocessed else {}}

    def _process(self, chunk: Chunk) -> tuple[Chunk, Chunk]:
        self.calls.append(chunk)
        if self.refusals:
            raise self.refusals.pop(0)
        throttled = next(self.leaves, 0)
        return chunk[: len(chunk) - throttled], chunk[len(chunk) - throttled :]


@dataclass
class Setup:
    """A chunked client of a table, its logs, and its waits in seconds."""

    table: Table
    logs: Logs = field(default_factory=Logs)
    limit: TimeLimit = field(default_factory=TimeLimit)

    @property
    def client(self) -> ChunkedClient:
        return ChunkedClient(cast("DynamoDBClient", self.table), CallPool(), self.limit, self.logs.logger)


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits, none of which takes time. The clock stands still."""
    seconds: list[float] = []
    monkeypatch.setattr(time, "sleep", seconds.append)
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    return seconds


def make_setup(*leaves: int, stored: Iterable[Item] = (), **attributes: Any) -> Setup:
    """Return a setup with a table that throttles these numbers of statements or keys in its first calls."""
    return Setup(Table(iter(leaves), {item["id"]["S"]: item for item in stored}, **attributes))


def items(count: int) -> list[Item]:
    """Return items with the ids "0", "1", …"""
    return [{"id": {"S": str(number)}, "n": {"N": str(number)}} for number in range(count)]


def inserts(some: Sequence[Item]) -> list[Statement]:
    """Return the statements that insert these items."""
    return [insert("t", item) for item in some]


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


def test_insert_passes_values_as_parameters() -> None:
    assert insert("t", {"id": {"S": "it's"}, "n": {"N": "1.50"}}) == {
        "Statement": "INSERT INTO \"t\" VALUE {'id': ?, 'n': ?}",
        "Parameters": [{"S": "it's"}, {"N": "1.50"}],
    }


def test_update_has_conditions_and_missing_attributes() -> None:
    statement = update("t", {"status": {"S": "b"}, "key": {"S": "k"}}, {"id": {"S": "1"}, "status": {"S": "a"}}, ["x"])

    assert statement == {
        "Statement": 'UPDATE "t" SET "status" = ? SET "key" = ? WHERE "id" = ? AND "status" = ? AND "x" IS MISSING',
        "Parameters": [{"S": "b"}, {"S": "k"}, {"S": "1"}, {"S": "a"}],
    }


def test_execute_sends_25_statements_per_call(waits: list[float]) -> None:
    setup = make_setup()
    statements = inserts(items(60))

    assert setup.client.execute(statements) == [None] * 60

    assert setup.table.calls == [statements[:25], statements[25:50], statements[50:]]
    assert (waits, setup.logs.entries("event")) == ([], [])


def test_empty_execute_and_get_make_zero_calls() -> None:
    setup = make_setup()

    assert (setup.client.execute([]), setup.client.get("t", []), setup.table.calls) == ([], [], [])


def test_execute_returns_the_code_of_each_item() -> None:
    setup = make_setup(codes={"1": "DuplicateItem", "3": "ConditionalCheckFailed", "4": "ValidationError"})

    codes = setup.client.execute(inserts(items(5)))

    assert codes == [None, "DuplicateItem", None, "ConditionalCheckFailed", "ValidationError"]
    assert len(setup.table.calls) == 1


@pytest.mark.parametrize("code", ["AccessDenied", "ResourceNotFound"])
def test_execute_raises_other_codes(code: str) -> None:
    with pytest.raises(ClientError) as raised:
        make_setup(codes={"1": code}).client.execute(inserts(items(3)))

    assert raised.value.response.get("Error", {}).get("Code") == code


def test_execute_retries_only_throttled_statements() -> None:
    setup = make_setup(3, 2, 1, codes={"2": "DuplicateItem"})
    statements = inserts(items(4))

    assert setup.client.execute(statements) == [None, None, "DuplicateItem", None]

    assert setup.table.calls == [statements, statements[1:], statements[2:], statements[3:]]
    retry = {"level": "WARNING", "event": "DYNAMODB_THROTTLED", "kind": "statements"}
    assert setup.logs.entries("level", "event", "kind", "attempt", "throttled") == [
        {**retry, "attempt": 1, "throttled": 3},
        {**retry, "attempt": 2, "throttled": 2},
        {**retry, "attempt": 3, "throttled": 1},
    ]


def test_execute_retries_a_throttled_call() -> None:
    setup = make_setup(refusals=[client_error("ThrottlingException")] * 2)

    assert setup.client.execute(inserts(items(2))) == [None, None]
    assert len(setup.table.calls) == 3


def test_execute_raises_when_time_is_used_up() -> None:
    setup = make_setup(*[2] * 9)
    setup.limit.start(0)

    with pytest.raises(ThrottledError) as raised:
        setup.client.execute([insert("t", {"id": {"S": "1"}, "merchant": {"S": "Kissa"}}), *inserts(items(3))])

    assert str(raised.value) == (
        "DynamoDB throttled statements until the time of the function was used up. After 1 attempts, 2 of a call were "
        "left. A later attempt continues where this one stopped. If it fails too, check the table's throttling."
    )
    [entry] = setup.logs.entries("level", "event", "attempts", "throttled")
    assert entry == {"level": "ERROR", "event": "DYNAMODB_THROTTLED_FINAL", "attempts": 1, "throttled": 2}
    assert "Kissa" not in f"{entry} {raised.value}"


def test_execute_does_not_wait_beyond_its_time() -> None:
    setup = make_setup()
    setup.limit.start(1)
    client = setup.client
    client.rate.adjust(accepted=0, throttled=25)
    client.rate.reserve(5_000)

    with pytest.raises(ThrottledError):
        client.execute(inserts(items(1)))
    assert setup.table.calls == []


def test_execute_retries_while_time_is_left() -> None:
    setup = make_setup(*[1] * 50)
    setup.limit.start(3)

    assert setup.client.execute(inserts(items(1))) == [None]
    assert len(setup.table.calls) == 51


def test_execute_stops_after_a_failed_chunk() -> None:
    setup = make_setup(1)
    setup.limit.start(0)

    with pytest.raises(ThrottledError):
        setup.client.execute(inserts(items(26)))

    assert len(setup.table.calls) <= 2


def test_get_reads_100_keys_per_call() -> None:
    stored = items(250)
    setup = make_setup(stored=[item for item in stored if item["id"]["S"] != "7"])

    read = setup.client.get("t", keys(*range(250)))

    assert read == stored[:7] + stored[8:]
    assert setup.table.calls == [keys(*range(100)), keys(*range(100, 200)), keys(*range(200, 250))]


def test_get_reads_named_attributes_consistently() -> None:
    setup = make_setup(stored=items(1))

    setup.client.get("t", keys(0), ("id", "status"))

    assert setup.table.requests == [
        {
            "Keys": keys(0),
            "ConsistentRead": True,
            "ProjectionExpression": "#0, #1",
            "ExpressionAttributeNames": {"#0": "id", "#1": "status"},
        }
    ]


def test_get_retries_unprocessed_keys_and_throttled_calls() -> None:
    stored = items(4)
    setup = make_setup(3, 2, 1, stored=stored, refusals=[client_error("ProvisionedThroughputExceededException")])

    assert setup.client.get("t", keys(0, 1, 2, 3)) == stored
    assert setup.table.calls == [keys(0, 1, 2, 3), keys(0, 1, 2, 3), keys(1, 2, 3), keys(2, 3), keys(3)]


def test_get_raises_when_time_is_used_up() -> None:
    setup = make_setup(1, stored=items(2))
    setup.limit.start(0)

    with pytest.raises(ThrottledError, match=r"throttled keys .* After 1 attempts, 1 of a call were left"):
        setup.client.get("t", keys(0, 1))


def test_other_client_errors_are_raised_unchanged() -> None:
    denied = client_error("AccessDeniedException")

    with pytest.raises(ClientError) as written:
        make_setup(refusals=[denied]).client.execute(inserts(items(1)))
    with pytest.raises(ClientError) as read:
        make_setup(refusals=[denied]).client.get("t", keys(0))

    assert [written.value, read.value] == [denied, denied]


def test_retry_waits_have_jitter_and_double(waits: list[float]) -> None:
    for _ in range(200):
        make_setup(*[1] * 5).client.get("t", keys(0))

    by_attempt = [waits[attempt::5] for attempt in range(5)]
    for bound, drawn in zip((0.1, 0.2, 0.4, 0.5, 0.5), by_attempt, strict=True):
        assert 0 <= min(drawn) < bound / 4
        assert bound * 3 / 4 < max(drawn) <= bound


def test_rate_limits_statements_after_throttling(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(100.0, 0.01)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    slept: list[float] = []
    monkeypatch.setattr("yorutsuke_common.aws.write_rate.time.sleep", slept.append)
    setup = make_setup(1)
    client = setup.client

    client.execute(inserts(items(25)))
    assert slept[1:] == []
    for _ in range(4):
        client.execute(inserts(items(25)))

    # The clock advances by less than the 25 ms that 25 statements take at 1,000 per second.
    assert len(slept) > 2
    assert max(slept) < 0.2
