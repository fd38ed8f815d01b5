"""In-memory AWS returns the same responses and errors as moto for the calls of the functions."""

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
COMPARED_KEYS = {
    "Attributes",
    "Item",
    "Items",
    "Responses",
    "UnprocessedKeys",
    "UnprocessedItems",
    "ETag",
    "Body",
    "Errors",
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
        self.responses.append({name: value for name, value in response.items() if name in COMPARED_KEYS})
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
    recorder(db.batch_write_item, RequestItems={JOBS: [{"PutRequest": {"Item": job}}]})
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
    recorder(db.batch_write_item, RequestItems={JOBS: [{"PutRequest": {"Item": {**KEY, "jobId": {"S": "job-1"}}}}]})
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
    for chunk in (items[:25], items[25:], [items[0], items[0]]):
        recorder(db.batch_write_item, RequestItems={JOBS: [{"PutRequest": {"Item": item}} for item in chunk]})
    for chunk in (keys[24:26], [keys[0], keys[0]], keys[:3]):
        response = recorder(db.batch_get_item, RequestItems={JOBS: {"Keys": chunk, "ConsistentRead": True}})
        # DynamoDB returns the items in any order.
        response.get("Responses", {}).get(JOBS, []).sort(key=repr)


def _objects(recorder: ResponseRecorder) -> None:
    """Write, read, copy and delete objects with keys that require encoding."""
    s3 = recorder.s3
    key = "uploads/user 1/喫茶+&<1>.png"
    recorder(s3.put_object, Bucket=BUCKET, Key=key, Body=b"image")
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


def _responses_in_memory(scenario: Callable[[ResponseRecorder], None]) -> list[object]:
    session = boto3.Session("x", "x", region_name=REGION)
    InMemoryAws({JOBS: Table(("intentId",))}).serve(session)
    recorder = ResponseRecorder(session.client("s3"), session.client("dynamodb"))
    scenario(recorder)
    return recorder.responses


def test_oversized_requests_raise_validation_exception() -> None:
    """moto accepts these requests, so a scenario cannot compare them."""
    items = [{"intentId": {"S": f"intent-{number}"}} for number in range(101)]
    session = boto3.Session("x", "x", region_name=REGION)
    InMemoryAws({JOBS: Table(("intentId",))}).serve(session)
    dynamodb = session.client("dynamodb")

    for call in (
        lambda: dynamodb.batch_write_item(RequestItems={JOBS: [{"PutRequest": {"Item": item}} for item in items[:26]]}),
        lambda: dynamodb.batch_get_item(RequestItems={JOBS: {"Keys": items}}),
    ):
        with pytest.raises(ClientError, match="ValidationException"):
            call()


def test_calls_wait_for_configured_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(in_memory.time, "sleep", waits.append)
    session = boto3.Session("x", "x", region_name=REGION)
    InMemoryAws({JOBS: Table(("intentId",))}, latencies={"GetItem": 0.008}).serve(session)
    dynamodb = session.client("dynamodb")

    dynamodb.get_item(TableName=JOBS, Key=KEY)
    dynamodb.put_item(TableName=JOBS, Item=KEY)

    assert waits == [0.008]


@pytest.mark.parametrize("scenario", [_jobs, _claims, _submissions, _batches, _objects, _multipart])
def test_in_memory_aws_responds_like_moto(scenario: Callable[[ResponseRecorder], None]) -> None:
    assert _responses_in_memory(scenario) == _responses_of_moto(scenario)
