"""AWS in memory answers the handler's calls as moto does: the same calls, the same answers and the same errors."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from local import in_memory
from local.emulator import REGION
from local.in_memory import InMemoryAws, Table

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

BUCKET = "images"
JOBS = "batch-jobs"
KEY = {"intentId": {"S": "intent-1"}}
READ = {"Attributes", "Item", "Items", "Responses", "UnprocessedKeys", "UnprocessedItems", "ETag", "Body", "Errors"}
"""What the handler reads of an answer."""


class Asked:
    """The answers of one AWS to a conversation."""

    def __init__(self, s3: "S3Client", dynamodb: "DynamoDBClient") -> None:
        self.s3 = s3
        self.dynamodb = dynamodb
        self.answers: list[object] = []

    def __call__(self, call: Callable[..., Any], **parameters: object) -> Any:
        """Make a call and keep its answer, or its error."""
        try:
            answer = call(**parameters)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code")
            self.answers.append((error.operation_name, code, error.response.get("Item")))
            return {}
        if "Body" in answer:
            answer["Body"] = answer["Body"].read()
        self.answers.append({name: value for name, value in answer.items() if name in READ})
        return answer


def _jobs(ask: Asked) -> None:
    """Talk as the handler does about a job."""
    db = ask.dynamodb
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
    ask(db.query, **query)
    ask(
        db.update_item,
        **update,
        UpdateExpression="SET #status = :status",
        ConditionExpression="jobId = :jobId",
        ExpressionAttributeValues=values,
    )
    job = {**KEY, "jobId": {"S": "job-1"}, "status": {"S": "SUBMITTED"}, "counts": {"M": {"n": {"N": "1"}}}}
    ask(db.batch_write_item, RequestItems={JOBS: [{"PutRequest": {"Item": job}}]})
    for condition in (
        "jobId = :jobId AND attribute_not_exists(processedOutputs)",
        "jobId = :jobId AND #status <> :status",
        "jobId = :jobId AND attribute_exists(processedOutputs)",
        "jobId = :jobId AND counts = :counts",
    ):
        more = {":counts": {"M": {"n": {"N": "2"}}}} if ":counts" in condition else {}
        ask(
            db.update_item,
            **update,
            UpdateExpression="SET #status = :status REMOVE counts",
            ConditionExpression=condition,
            ExpressionAttributeValues={**values, **more},
        )
        ask(db.query, **query)


def _claims(ask: Asked) -> None:
    """Claim a job, claim it again, as another, and when the claim has run out; then give it up."""
    db = ask.dynamodb
    ask(db.batch_write_item, RequestItems={JOBS: [{"PutRequest": {"Item": {**KEY, "jobId": {"S": "job-1"}}}}]})
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
        ask(db.update_item, **claim, ExpressionAttributeValues=values)
    ask(
        db.update_item,
        TableName=JOBS,
        Key=KEY,
        UpdateExpression="REMOVE claimer, ends",
        ConditionExpression="claimer = :by",
        ExpressionAttributeValues={":by": {"S": "b"}},
        ReturnValues="ALL_NEW",
    )


def _submissions(ask: Asked) -> None:
    """Look for a record, write it, and refuse to write it again."""
    db = ask.dynamodb
    ask(db.get_item, TableName=JOBS, Key=KEY, ConsistentRead=True)
    for intent in ("a", "b"):
        ask(
            db.put_item,
            TableName=JOBS,
            Item={**KEY, "submitTime": {"S": intent}},
            ConditionExpression="attribute_not_exists(intentId)",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    ask(db.put_item, TableName=JOBS, Item={"intentId": {"S": "intent-2"}})
    ask(db.get_item, TableName=JOBS, Key=KEY, ConsistentRead=True)


def _batches(ask: Asked) -> None:
    """Write and read batches, also such as DynamoDB refuses."""
    db = ask.dynamodb
    items = [{"intentId": {"S": f"intent-{number}"}, "jobId": {"S": f"job-{number}"}} for number in range(30)]
    keys = [{"intentId": item["intentId"]} for item in items]
    for some in (items[:25], items[25:], [items[0], items[0]]):
        ask(db.batch_write_item, RequestItems={JOBS: [{"PutRequest": {"Item": item}} for item in some]})
    for some in (keys[24:26], [keys[0], keys[0]], keys[:3]):
        answer = ask(db.batch_get_item, RequestItems={JOBS: {"Keys": some, "ConsistentRead": True}})
        # DynamoDB gives no order.
        answer.get("Responses", {}).get(JOBS, []).sort(key=repr)


def _objects(ask: Asked) -> None:
    """Put, read, copy and delete objects whose keys need care on the wire."""
    s3 = ask.s3
    key = "uploads/user 1/喫茶+&<1>.png"
    ask(s3.put_object, Bucket=BUCKET, Key=key, Body=b"image")
    ask(s3.copy_object, Bucket=BUCKET, Key="processed/a b+c.png", CopySource={"Bucket": BUCKET, "Key": key})
    ask(s3.copy_object, Bucket=BUCKET, Key="processed/x.png", CopySource={"Bucket": BUCKET, "Key": "nowhere"})
    ask(s3.get_object, Bucket=BUCKET, Key="processed/a b+c.png")
    gone = [{"Key": key}, {"Key": "nowhere"}]
    ask(s3.delete_objects, Bucket=BUCKET, Delete={"Objects": gone, "Quiet": True})
    ask(s3.get_object, Bucket=BUCKET, Key=key)
    ask(s3.delete_object, Bucket=BUCKET, Key="processed/a b+c.png")
    ask(s3.get_object, Bucket=BUCKET, Key="processed/a b+c.png")


def _multipart(ask: Asked) -> None:
    """Write an object in parts."""
    s3 = ask.s3
    upload = {"Bucket": BUCKET, "Key": "dead-letters/a.jsonl"}
    upload_id = ask(s3.create_multipart_upload, **upload)["UploadId"]
    bodies = (b"x" * 5 * 1024 * 1024, b"rest")
    parts = [
        {
            "PartNumber": number,
            "ETag": ask(s3.upload_part, **upload, UploadId=upload_id, PartNumber=number, Body=body)["ETag"],
        }
        for number, body in enumerate(bodies, 1)
    ]
    s3.complete_multipart_upload(**upload, UploadId=upload_id, MultipartUpload={"Parts": parts})  # pyright: ignore[reportArgumentType]
    # How an ETag of several parts is made, the handler does not ask.
    assert s3.get_object(Bucket=BUCKET, Key=upload["Key"])["Body"].read() == b"".join(bodies)


def _of_moto(conversation: Callable[[Asked], None]) -> list[object]:
    with mock_aws():
        session = boto3.Session("x", "x", region_name=REGION)
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
        ask = Asked(s3, dynamodb)
        conversation(ask)
        return ask.answers


def _in_memory(conversation: Callable[[Asked], None]) -> list[object]:
    session = boto3.Session("x", "x", region_name=REGION)
    InMemoryAws({JOBS: Table(("intentId",))}).serve(session)
    ask = Asked(session.client("s3"), session.client("dynamodb"))
    conversation(ask)
    return ask.answers


def test_more_than_a_batch_takes_is_refused_where_moto_is_lenient() -> None:
    items = [{"intentId": {"S": f"intent-{number}"}} for number in range(101)]
    session = boto3.Session("x", "x", region_name=REGION)
    InMemoryAws({JOBS: Table(("intentId",))}).serve(session)
    dynamodb = session.client("dynamodb")

    for refused in (
        lambda: dynamodb.batch_write_item(RequestItems={JOBS: [{"PutRequest": {"Item": item}} for item in items[:26]]}),
        lambda: dynamodb.batch_get_item(RequestItems={JOBS: {"Keys": items}}),
    ):
        with pytest.raises(ClientError, match="ValidationException"):
            refused()


def test_calls_wait_for_their_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(in_memory.time, "sleep", waits.append)
    session = boto3.Session("x", "x", region_name=REGION)
    InMemoryAws({JOBS: Table(("intentId",))}, latencies={"GetItem": 0.008}).serve(session)
    dynamodb = session.client("dynamodb")

    dynamodb.get_item(TableName=JOBS, Key=KEY)
    dynamodb.put_item(TableName=JOBS, Item=KEY)

    assert waits == [0.008]


@pytest.mark.parametrize("conversation", [_jobs, _claims, _submissions, _batches, _objects, _multipart])
def test_aws_in_memory_answers_as_moto_does(conversation: Callable[[Asked], None]) -> None:
    assert _in_memory(conversation) == _of_moto(conversation)
