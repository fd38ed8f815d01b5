"""Tests of the handler's role, with enforced policies. test_pipeline.py covers the calls that the role must allow."""

from typing import Any

import pytest

from local.job_run import JobRun

from .probe_function import Probe, deploy_probe

DENIED = {"AccessDenied", "AccessDeniedException", "AuthorizationError"}
"""The error codes for a denied call: of S3, of most services, and of SNS."""
KEY = {"intentId": {"S": "intent"}}
# The bucket sends no notification for these keys, so the tests leave no failing message in the queue.
KEYS = (
    "batch-input/intent/manifest.jsonl",
    "processed/2026-11-23/u/i.png",
    "batch-output/job/o.txt",
    "uploads/u/i.png",
    "dead-letters/job.jsonl",
)
BUCKET, TRANSACTIONS, BATCH_JOBS, PENDING_IMAGES = (
    "imagesBucket",
    "transactionsTable",
    "batchJobsTable",
    "pendingImagesTable",
)


@pytest.fixture(scope="module")
def probe(stage: JobRun) -> Probe:
    """A function in the handler's role, with objects in the bucket that it may or may not read."""
    for key in KEYS:
        stage.aws.s3.put_object(Bucket=stage.outputs[BUCKET], Key=key, Body=b"probe")
    return deploy_probe(stage)


@pytest.mark.parametrize("key", KEYS[2:])
def test_role_may_read_its_inputs(probe: Probe, key: str) -> None:
    assert probe("s3", "get_object", {"Bucket": BUCKET, "Key": key}) == "allowed"


@pytest.mark.parametrize("table", [TRANSACTIONS, BATCH_JOBS, PENDING_IMAGES])
def test_role_may_not_scan(probe: Probe, table: str) -> None:
    assert probe("dynamodb", "scan", {"TableName": table}) == "AccessDeniedException"


@pytest.mark.parametrize("key", [*KEYS[:2], "elsewhere"])
def test_role_may_not_read_outside_its_prefixes(probe: Probe, key: str) -> None:
    assert probe("s3", "get_object", {"Bucket": BUCKET, "Key": key}) == "AccessDenied"


@pytest.mark.parametrize("key", ["uploads/u/new.png", "batch-output/job/o.txt", "batch-input/m.jsonl", "elsewhere"])
def test_role_may_not_write_outside_its_prefixes(probe: Probe, key: str) -> None:
    assert probe("s3", "put_object", {"Bucket": BUCKET, "Key": key, "Body": "x"}) == "AccessDenied"


@pytest.mark.parametrize("key", ["processed/2026-11-23/u/i.png", "batch-output/job/o.txt", "dead-letters/j.jsonl"])
def test_role_may_delete_uploads_only(probe: Probe, key: str) -> None:
    assert probe("s3", "delete_object", {"Bucket": BUCKET, "Key": key}) == "AccessDenied"


@pytest.mark.parametrize("prefix", ["", "uploads/u/", "batch-output/job/"])
def test_role_may_not_list_the_bucket(probe: Probe, prefix: str) -> None:
    assert probe("s3", "list_objects_v2", {"Bucket": BUCKET, "Prefix": prefix}) == "AccessDenied"


FORBIDDEN: list[tuple[str, str, dict[str, Any]]] = [
    ("s3", "delete_bucket", {"Bucket": BUCKET}),
    ("s3", "put_bucket_policy", {"Bucket": BUCKET, "Policy": "{}"}),
    ("s3", "put_bucket_versioning", {"Bucket": BUCKET, "VersioningConfiguration": {"Status": "Suspended"}}),
    ("s3", "delete_object", {"Bucket": BUCKET, "Key": KEYS[3], "VersionId": "null"}),
    ("dynamodb", "delete_table", {"TableName": TRANSACTIONS}),
    ("dynamodb", "batch_get_item", {"RequestItems": {"yorutsuke-batch-jobs-local": {"Keys": [KEY]}}}),
    (
        "dynamodb",
        "batch_write_item",
        {"RequestItems": {"yorutsuke-batch-jobs-local": [{"DeleteRequest": {"Key": KEY}}]}},
    ),
    ("sqs", "send_message", {"QueueUrl": "queueUrl", "MessageBody": "{}"}),
    ("sqs", "receive_message", {"QueueUrl": "deadLetterQueueUrl"}),
    ("sqs", "purge_queue", {"QueueUrl": "queueUrl"}),
    ("s3", "delete_bucket_lifecycle", {"Bucket": BUCKET}),
    ("s3", "put_bucket_notification_configuration", {"Bucket": BUCKET, "NotificationConfiguration": {}}),
    ("dynamodb", "update_item", {"TableName": PENDING_IMAGES, "Key": {"imageId": {"S": "i"}}}),
    ("lambda", "remove_permission", {"FunctionName": "functionName", "StatementId": "BucketInvokes"}),
    ("logs", "put_retention_policy", {"logGroupName": "logGroup", "retentionInDays": 1}),
    ("sns", "publish", {"TopicArn": "outputTopicArn", "Message": "{}"}),
    ("sns", "publish", {"TopicArn": "alarmTopicArn", "Message": "{}"}),
    ("events", "put_events", {"Entries": [{"Source": "s", "DetailType": "d", "Detail": "{}"}]}),
    ("lambda", "invoke", {"FunctionName": "functionName"}),
    ("lambda", "update_function_configuration", {"FunctionName": "functionName", "Timeout": 1}),
    ("iam", "put_role_policy", {"RoleName": "r", "PolicyName": "p", "PolicyDocument": "{}"}),
    ("logs", "filter_log_events", {"logGroupName": "logGroup"}),
    ("logs", "delete_log_group", {"logGroupName": "logGroup"}),
    ("sts", "assume_role", {"RoleArn": "functionRoleArn", "RoleSessionName": "again"}),
    ("bedrock", "stop_model_invocation_job", {"jobIdentifier": "abcdefgh1234"}),
]


@pytest.mark.parametrize(("service", "operation", "params"), FORBIDDEN)
def test_role_may_not_make_other_calls(probe: Probe, service: str, operation: str, params: dict[str, Any]) -> None:
    assert probe(service, operation, params) in DENIED


def test_role_may_not_access_single_items(probe: Probe) -> None:
    key = {"userId": {"S": "u"}, "transactionId": {"S": "t"}}
    assert probe("dynamodb", "put_item", {"TableName": TRANSACTIONS, "Item": key}) == "AccessDeniedException"
    assert probe("dynamodb", "get_item", {"TableName": TRANSACTIONS, "Key": key}) == "AccessDeniedException"
    assert probe("dynamodb", "delete_item", {"TableName": TRANSACTIONS, "Key": key}) == "AccessDeniedException"


def test_role_may_query_only_the_job_index(probe: Probe) -> None:
    query = {
        "TableName": BATCH_JOBS,
        "KeyConditionExpression": "jobId = :id",
        "ExpressionAttributeValues": {":id": {"S": "j"}},
    }
    assert probe("dynamodb", "query", {**query, "IndexName": "jobIdIndex"}) == "allowed"
    by_intent = {**query, "KeyConditionExpression": "intentId = :id"}
    assert probe("dynamodb", "query", by_intent) == "AccessDeniedException"
