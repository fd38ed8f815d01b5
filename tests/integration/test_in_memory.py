"""In-memory AWS returns the same responses and errors as moto for the calls of the functions.

moto does not check ETags and does not throttle writes. Other tests describe these answers of in-memory AWS.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from local import in_memory
from local.emulator import REGION
from local.in_memory import InMemoryAws, Table
from yorutsuke_common.aws.dynamodb import Item, Statement, insert, to_item, update

from .partiql import serve_statements

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CopySourceTypeDef, ObjectIdentifierTypeDef

BUCKET = "images"
JOBS = "batch-jobs"
KEY = {"intentId": {"S": "intent-1"}}
COMPARED_KEYS = {
    "Attributes",
    "Item",
    "Items",
    "Responses",
    "UnprocessedKeys",
    "ETag",
    "ContentLength",
    "Body",
    "Errors",
    "IsTruncated",
    "Contents",
}
"""The keys of a response that the functions read."""


class ResponseRecorder:
    """The responses to a sequence of calls."""

    def __init__(self, s3: "S3Client", dynamodb: "DynamoDBClient") -> None:
        self.s3 = s3
        self.dynamodb = dynamodb
        self.responses: list[object] = []

    def __call__(self, call: Callable[..., Any], **parameters: object) -> Any:
        """Make a call, and store its response or its error."""
        try:
            response = call(**parameters)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code")
            self.responses.append((error.operation_name, code, error.response.get("Item")))
            return {}
        if "Body" in response:
            response["Body"] = response["Body"].read()
        compared = {name: value for name, value in response.items() if name in COMPARED_KEYS}
        if "Contents" in compared:
            compared["Contents"] = [(each["Key"], each["ETag"], each["Size"]) for each in compared["Contents"]]
        self.responses.append(compared)
        return response


def _jobs(recorder: ResponseRecorder) -> None:
    """Find, create and update a job."""
    db = recorder.dynamodb
    query = {
        "TableName": JOBS,
        "IndexName": "jobIdIndex",
        "KeyConditionExpression": "jobId = :jobId",
        "ExpressionAttributeValues": {":jobId": {"S": "job-1"}},
        "Limit": 2,
    }
    update = {
        "TableName": JOBS,
        "Key": KEY,
        "ExpressionAttributeNames": {"#status": "status"},
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
    values = {":jobId": {"S": "job-1"}, ":status": {"S": "COMPLETED"}}
    recorder(db.query, **query)
    recorder(
        db.update_item,
        **update,
        UpdateExpression="SET #status = :status",
        ConditionExpression="jobId = :jobId",
        ExpressionAttributeValues=values,
    )
    job = {**KEY, "jobId": {"S": "job-1"}, "status": {"S": "SUBMITTED"}, "counts": {"M": {"n": {"N": "1"}}}}
    recorder(db.put_item, TableName=JOBS, Item=job)
    for condition in (
        "jobId = :jobId AND attribute_not_exists(processedOutputs)",
        "jobId = :jobId AND #status <> :status",
        "jobId = :jobId AND attribute_exists(processedOutputs)",
        "jobId = :jobId AND counts = :counts",
    ):
        more = {":counts": {"M": {"n": {"N": "2"}}}} if ":counts" in condition else {}
        recorder(
            db.update_item,
            **update,
            UpdateExpression="SET #status = :status REMOVE counts",
            ConditionExpression=condition,
            ExpressionAttributeValues={**values, **more},
        )
        recorder(db.query, **query)


def _claims(recorder: ResponseRecorder) -> None:
    """Claim a job, renew the claim, claim it with other tokens before and after it expires, and release it."""
    db = recorder.dynamodb
    recorder(db.put_item, TableName=JOBS, Item={**KEY, "jobId": {"S": "job-1"}})
    claim = {
        "TableName": JOBS,
        "Key": KEY,
        "UpdateExpression": "SET #by = :by, #ends = :ends",
        "ConditionExpression": "jobId = :jobId AND (attribute_not_exists(ends) OR ends < :now OR claimer = :by)",
        "ExpressionAttributeNames": {"#by": "claimer", "#ends": "ends"},
        "ReturnValues": "ALL_NEW",
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
    for by, now, ends in (("a", 1, 10), ("a", 2, 11), ("b", 11, 20), ("b", 12, 20), ("a", 100, 110)):
        values = {":jobId": {"S": "job-1"}, ":by": {"S": by}, ":now": {"N": str(now)}, ":ends": {"N": str(ends)}}
        recorder(db.update_item, **claim, ExpressionAttributeValues=values)
    recorder(
        db.update_item,
        TableName=JOBS,
        Key=KEY,
        UpdateExpression="REMOVE claimer, ends",
        ConditionExpression="claimer = :by",
        ExpressionAttributeValues={":by": {"S": "b"}},
        ReturnValues="ALL_NEW",
    )


def _submissions(recorder: ResponseRecorder) -> None:
    """Read a missing record, write it, and write it again under a condition that fails."""
    db = recorder.dynamodb
    recorder(db.get_item, TableName=JOBS, Key=KEY, ConsistentRead=True)
    for intent in ("a", "b"):
        recorder(
            db.put_item,
            TableName=JOBS,
            Item={**KEY, "submitTime": {"S": intent}},
            ConditionExpression="attribute_not_exists(intentId)",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    recorder(db.put_item, TableName=JOBS, Item={"intentId": {"S": "intent-2"}})
    recorder(db.get_item, TableName=JOBS, Key=KEY, ConsistentRead=True)


def _batches(recorder: ResponseRecorder) -> None:
    """Write and read batches, including batches that DynamoDB refuses."""
    db = recorder.dynamodb
    items = [{"intentId": {"S": f"intent-{number}"}, "jobId": {"S": f"job-{number}"}} for number in range(30)]
    keys = [{"intentId": item["intentId"]} for item in items]
    for chunk in (items[:25], items[24:]):
        _execute(recorder, *(insert(JOBS, item) for item in chunk))
    for chunk in (keys[24:26], [keys[0], keys[0]], keys[:3]):
        response = recorder(db.batch_get_item, RequestItems={JOBS: {"Keys": chunk, "ConsistentRead": True}})
        # DynamoDB returns the items in any order.
        response.get("Responses", {}).get(JOBS, []).sort(key=repr)


def _statements(recorder: ResponseRecorder) -> None:
    """Insert an item twice, and update it under conditions that hold and that do not."""
    item = {**KEY, "jobId": {"S": "job-1"}, "status": {"S": "pending"}, "note": {"S": "the app's"}}
    _execute(recorder, insert(JOBS, item))
    _execute(recorder, insert(JOBS, {**KEY, "jobId": {"S": "job-2"}}), insert(JOBS, {"intentId": {"S": "intent-2"}}))
    _execute(recorder, insert(JOBS, {"intentId": {"S": "null"}, "note": {"NULL": True}}))
    changes = {"status": {"S": "processed"}, "processedKey": {"S": "it's ?"}}
    conditions: list[tuple[Item, list[str]]] = [
        ({**KEY, "status": {"S": "other"}}, []),
        ({**KEY, "owner": {"S": "user-1"}}, []),
        ({**KEY, "status": {"S": "pending"}}, ["note"]),
        ({"intentId": {"S": "missing"}}, []),
        ({**KEY, "note": {"NULL": True}}, []),
        ({"intentId": {"S": "null"}}, ["note"]),
        ({"intentId": {"S": "null"}, "note": {"NULL": True}}, []),
        ({**KEY, "status": {"S": "pending"}, "jobId": {"S": "job-1"}}, ["processedKey"]),
        ({**KEY, "status": {"S": "pending"}}, []),
    ]
    for where, missing in conditions:
        _execute(recorder, update(JOBS, changes, where, missing))
        for key in (KEY, {"intentId": {"S": "missing"}}, {"intentId": {"S": "null"}}):
            recorder(recorder.dynamodb.get_item, TableName=JOBS, Key=key)


def _execute(recorder: ResponseRecorder, *statements: Statement) -> None:
    """Execute statements. Only the codes of their errors are compared."""
    response = recorder(recorder.dynamodb.batch_execute_statement, Statements=statements)
    for answer in response["Responses"]:
        answer.get("Error", {}).pop("Message", None)


def _objects(recorder: ResponseRecorder) -> None:
    """Write, read, copy and delete objects with keys that require encoding."""
    s3 = recorder.s3
    key = "uploads/user 1/喫茶+&<1>.png"
    recorder(s3.put_object, Bucket=BUCKET, Key=key, Body=b"image")
    recorder(s3.head_object, Bucket=BUCKET, Key=key)
    recorder(s3.head_object, Bucket=BUCKET, Key="missing")
    for prefix, after in (("", ""), (key, ""), (key, key), ("uploads/", key[:-1]), ("missing", "")):
        recorder(s3.list_objects_v2, Bucket=BUCKET, Prefix=prefix, StartAfter=after)
    recorder(s3.copy_object, Bucket=BUCKET, Key="processed/a b+c.png", CopySource={"Bucket": BUCKET, "Key": key})
    recorder(s3.copy_object, Bucket=BUCKET, Key="processed/x.png", CopySource={"Bucket": BUCKET, "Key": "missing"})
    recorder(s3.get_object, Bucket=BUCKET, Key="processed/a b+c.png")
    deleted = [{"Key": key}, {"Key": "missing"}]
    recorder(s3.delete_objects, Bucket=BUCKET, Delete={"Objects": deleted, "Quiet": True})
    recorder(s3.get_object, Bucket=BUCKET, Key=key)
    recorder(s3.delete_object, Bucket=BUCKET, Key="processed/a b+c.png")
    recorder(s3.get_object, Bucket=BUCKET, Key="processed/a b+c.png")


def _multipart(recorder: ResponseRecorder) -> None:
    """Write an object with a multipart upload."""
    s3 = recorder.s3
    upload = {"Bucket": BUCKET, "Key": "dead-letters/a.jsonl"}
    upload_id = recorder(s3.create_multipart_upload, **upload)["UploadId"]
    bodies = (b"x" * 5 * 1024 * 1024, b"rest")
    parts = [
        {
            "PartNumber": number,
            "ETag": recorder(s3.upload_part, **upload, UploadId=upload_id, PartNumber=number, Body=body)["ETag"],
        }
        for number, body in enumerate(bodies, 1)
    ]
    s3.complete_multipart_upload(**upload, UploadId=upload_id, MultipartUpload={"Parts": parts})  # pyright: ignore[reportArgumentType]
    # Only the content is compared. The functions do not depend on the ETag of a multipart upload.
    assert s3.get_object(Bucket=BUCKET, Key=upload["Key"])["Body"].read() == b"".join(bodies)


def _responses_of_moto(scenario: Callable[[ResponseRecorder], None]) -> list[object]:
    with mock_aws():
        session = boto3.Session("x", "x", region_name=REGION)
        serve_statements(session)
        s3, dynamodb = session.client("s3"), session.client("dynamodb")
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        dynamodb.create_table(
            TableName=JOBS,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("intentId", "jobId")],
            KeySchema=[{"AttributeName": "intentId", "KeyType": "HASH"}],
            GlobalSecondaryIndexes=[
                {
                    "IndexName": "jobIdIndex",
                    "KeySchema": [{"AttributeName": "jobId", "KeyType": "HASH"}],
                    "Projection": {"ProjectionType": "ALL"},
                }
            ],
        )
        recorder = ResponseRecorder(s3, dynamodb)
        scenario(recorder)
        return recorder.responses


def _in_memory(table: Table | None = None, latencies: dict[str, float] | None = None) -> boto3.Session:
    """Return a session whose clients reach in-memory AWS with one table."""
    session = boto3.Session("x", "x", region_name=REGION)
    InMemoryAws({JOBS: table or Table(("intentId",))}, latencies=latencies or {}).serve(session)
    return session


def _responses_in_memory(scenario: Callable[[ResponseRecorder], None]) -> list[object]:
    session = _in_memory()
    recorder = ResponseRecorder(session.client("s3"), session.client("dynamodb"))
    scenario(recorder)
    return recorder.responses


def test_oversized_requests_raise_validation_exception() -> None:
    """moto accepts these requests, so a scenario cannot compare them."""
    items = [{"intentId": {"S": f"intent-{number}"}} for number in range(101)]
    inserts: Any = [insert(JOBS, item) for item in items[:26]]
    dynamodb = _in_memory().client("dynamodb")

    for call in (
        lambda: dynamodb.batch_execute_statement(Statements=inserts),
        lambda: dynamodb.batch_get_item(RequestItems={JOBS: {"Keys": items}}),
    ):
        with pytest.raises(ClientError, match="ValidationException"):
            call()


def test_copy_requires_the_etag_of_its_source() -> None:
    s3 = _in_memory().client("s3")
    etag = s3.put_object(Bucket=BUCKET, Key="a", Body=b"first")["ETag"]
    source: CopySourceTypeDef = {"Bucket": BUCKET, "Key": "a"}

    s3.copy_object(Bucket=BUCKET, Key="b", CopySource=source, CopySourceIfMatch=etag)
    s3.put_object(Bucket=BUCKET, Key="a", Body=b"second")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.copy_object(Bucket=BUCKET, Key="b", CopySource=source, CopySourceIfMatch=etag)

    assert s3.get_object(Bucket=BUCKET, Key="b")["Body"].read() == b"first"


def test_deletion_keeps_objects_with_another_etag() -> None:
    s3 = _in_memory().client("s3")
    etags = {key: s3.put_object(Bucket=BUCKET, Key=key, Body=b"first")["ETag"] for key in ("kept", "deleted", "gone")}
    s3.put_object(Bucket=BUCKET, Key="kept", Body=b"second")
    s3.delete_object(Bucket=BUCKET, Key="gone")
    objects: list[ObjectIdentifierTypeDef] = [{"Key": key, "ETag": etag} for key, etag in etags.items()]

    response = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": objects, "Quiet": True})

    # S3 accepts the deletion of an object that does not exist.
    assert [(error.get("Key"), error.get("Code")) for error in response.get("Errors", [])] == [
        ("kept", "PreconditionFailed")
    ]
    assert s3.get_object(Bucket=BUCKET, Key="kept")["Body"].read() == b"second"
    with pytest.raises(ClientError, match="NoSuchKey"):
        s3.get_object(Bucket=BUCKET, Key="deleted")


@dataclass
class LimitedTable:
    """A table whose partitions take two write units a second, on a clock that stands still."""

    partitions: tuple[str, ...] = ("userId",)
    now: float = 0.0
    index_keys: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.table = Table(
            ("intentId",),
            partitions=self.partitions,
            index_keys=self.index_keys,
            units_per_second=2,
            clock=lambda: self.now,
        )
        self.client = _in_memory(self.table).client("dynamodb")

    def execute(self, *statements: Any) -> list[str]:
        """Execute statements, and return their error codes. A statement that succeeds has an empty one."""
        responses = self.client.batch_execute_statement(Statements=statements)["Responses"]
        return [response.get("Error", {}).get("Code", "") for response in responses]


def _entry(number: int, user_id: str = "user-1", **attributes: str) -> Item:
    return to_item({"intentId": f"intent-{number}", "userId": user_id, **attributes})


THROTTLED = "ProvisionedThroughputExceeded"


def test_partition_throttles_writes_above_its_limit() -> None:
    limited = LimitedTable()
    inserts = [insert(JOBS, _entry(number)) for number in range(4)]

    assert limited.execute(*inserts) == ["", "", THROTTLED, THROTTLED]
    assert limited.execute(insert(JOBS, _entry(9, "user-2"))) == [""]

    limited.now = 0.5
    assert limited.execute(*inserts[2:]) == ["", THROTTLED]
    # A partition saves up the units of one second only.
    limited.now = 60
    assert limited.execute(*inserts) == ["DuplicateItem", "DuplicateItem", THROTTLED, THROTTLED]
    assert len(limited.table.items) == 4


def test_update_of_an_index_key_writes_two_entries() -> None:
    limited = LimitedTable(partitions=(), index_keys=("status",))
    for number in range(4):
        limited.table.put(_entry(number, status="pending" if number else "failed"))

    def change(number: int, **changes: str) -> Any:
        return update(JOBS, to_item(changes), to_item({"intentId": f"intent-{number}"}))

    # The entries of both keys take a unit: one of them is deleted, and one is written.
    assert limited.execute(change(0, status="submitted"), change(1, status="submitted")) == ["", ""]
    assert limited.execute(change(2, status="submitted"), change(3, status="processed")) == [THROTTLED, ""]
    assert limited.execute(change(2, status="processed")) == [THROTTLED]
    # Without a change of the key, the index is not written.
    assert limited.execute(change(0, userId="user-2"), change(1, status="submitted")) == ["", ""]


def test_partition_of_an_index_throttles_writes() -> None:
    limited = LimitedTable(partitions=("userId", "jobId"))
    users = ("user-1", "user-2", "user-3")

    assert limited.execute(*(insert(JOBS, _entry(n, user, jobId="j")) for n, user in enumerate(users))) == [
        "",
        "",
        THROTTLED,
    ]
    # An item without the attribute is not in the index.
    assert limited.execute(insert(JOBS, _entry(2, "user-3"))) == [""]


def test_large_item_needs_a_unit_per_kb() -> None:
    limited = LimitedTable()

    assert limited.execute(insert(JOBS, _entry(1, note="x" * 2_000))) == [""]
    assert limited.execute(insert(JOBS, _entry(2))) == [THROTTLED]
    assert limited.execute(insert(JOBS, _entry(3, "user-2", note="x" * 2_048))) == [THROTTLED]


def test_update_under_partition_limits_is_refused() -> None:
    limited = LimitedTable()
    change = {"status": {"S": "processed"}}
    missing = update(JOBS, change, {"intentId": {"S": "missing"}, "userId": {"S": "user-1"}})

    assert limited.execute(missing) == ["ConditionalCheckFailed"]
    assert limited.execute(missing, missing) == ["ConditionalCheckFailed", THROTTLED]


def test_calls_wait_for_configured_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(in_memory.time, "sleep", waits.append)
    dynamodb = _in_memory(latencies={"GetItem": 0.008}).client("dynamodb")

    dynamodb.get_item(TableName=JOBS, Key=KEY)
    dynamodb.put_item(TableName=JOBS, Item=KEY)

    assert waits == [0.008]


@pytest.mark.parametrize("scenario", [_jobs, _claims, _submissions, _batches, _statements, _objects, _multipart])
def test_in_memory_aws_responds_like_moto(scenario: Callable[[ResponseRecorder], None]) -> None:
    assert _responses_in_memory(scenario) == _responses_of_moto(scenario)
