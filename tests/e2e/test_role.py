"""The role under enforcement: it does the whole job (test_pipeline), and no more than that."""

from typing import Any

import pytest

from local.job_run import JobRun

from .probe_function import Probe, deployed_probe

DENIED = {"AccessDenied", "AccessDeniedException", "AuthorizationError"}
"""As S3, the others, and SNS say it."""
KEY = {"intentId": {"S": "intent"}}
# Nothing that is announced: a message about it would fail, and end in the dead-letter queue of whoever comes next.
KEYS = (
    "batch-input/intent/manifest.jsonl",
    "processed/2026-11-23/u/i.png",
    "batch-output/job/o.txt",
    "uploads/u/i.png",
)
BUCKET, TRANSACTIONS, BATCH_JOBS, PENDING_IMAGES = (
    "imagesBucket",
    "transactionsTable",
    "batchJobsTable",
    "pendingImagesTable",
)


@pytest.fixture(scope="module")
def probe(stage: JobRun) -> Probe:
    """A function in the handler's role, and something for it to reach for."""
    for key in KEYS:
        stage.aws.s3.put_object(Bucket=stage.outputs[BUCKET], Key=key, Body=b"probe")
    return deployed_probe(stage)


@pytest.mark.parametrize("key", KEYS[2:])
def test_the_role_reads_what_it_needs(probe: Probe, key: str) -> None:
    assert probe("s3", "get_object", {"Bucket": BUCKET, "Key": key}) == "allowed"


@pytest.mark.parametrize("table", [TRANSACTIONS, BATCH_JOBS, PENDING_IMAGES])
def test_the_role_may_not_scan(probe: Probe, table: str) -> None:
    assert probe("dynamodb", "scan", {"TableName": table}) == "AccessDeniedException"


@pytest.mark.parametrize("key", [*KEYS[:2], "dead-letters/j.jsonl", "elsewhere"])
def test_the_role_may_not_read_outside_its_prefixes(probe: Probe, key: str) -> None:
    assert probe("s3", "get_object", {"Bucket": BUCKET, "Key": key}) == "AccessDenied"


@pytest.mark.parametrize("key", ["uploads/u/new.png", "batch-output/job/o.txt", "batch-input/m.jsonl", "elsewhere"])
def test_the_role_may_not_write_outside_its_prefixes(probe: Probe, key: str) -> None:
    assert probe("s3", "put_object", {"Bucket": BUCKET, "Key": key, "Body": "x"}) == "AccessDenied"


@pytest.mark.parametrize("key", ["processed/2026-11-23/u/i.png", "batch-output/job/o.txt", "dead-letters/j.jsonl"])
def test_the_role_may_delete_uploads_only(probe: Probe, key: str) -> None:
    assert probe("s3", "delete_object", {"Bucket": BUCKET, "Key": key}) == "AccessDenied"


@pytest.mark.parametrize("prefix", ["", "uploads/u/", "batch-output/job/"])
def test_the_role_may_not_list_the_bucket(probe: Probe, prefix: str) -> None:
    assert probe("s3", "list_objects_v2", {"Bucket": BUCKET, "Prefix": prefix}) == "AccessDenied"


FORBIDDEN: list[tuple[str, str, dict[str, Any]]] = [
    ("s3", "delete_bucket", {"Bucket": BUCKET}),
    ("s3", "put_bucket_policy", {"Bucket": BUCKET, "Policy": "{}"}),
    ("s3", "put_bucket_versioning", {"Bucket": BUCKET, "VersioningConfiguration": {"Status": "Suspended"}}),
    ("s3", "delete_object", {"Bucket": BUCKET, "Key": KEYS[3], "VersionId": "null"}),
    ("dynamodb", "delete_table", {"TableName": TRANSACTIONS}),
    ("dynamodb", "batch_get_item", {"RequestItems": {"yorutsuke-transactions-local": {"Keys": [{}]}}}),
    (
        "dynamodb",
        "batch_write_item",
        {"RequestItems": {"yorutsuke-batch-jobs-local": [{"DeleteRequest": {"Key": KEY}}]}},
    ),
    ("sqs", "send_message", {"QueueUrl": "queueUrl", "MessageBody": "{}"}),
    ("sqs", "receive_message", {"QueueUrl": "deadLetterQueueUrl"}),
    ("sqs", "send_message", {"QueueUrl": "deadLetterQueueUrl", "MessageBody": "{}"}),
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
def test_the_role_may_do_nothing_else(probe: Probe, service: str, operation: str, params: dict[str, Any]) -> None:
    assert probe(service, operation, params) in DENIED


def test_the_role_may_not_write_items_one_by_one_or_read_transactions(probe: Probe) -> None:
    key = {"userId": {"S": "u"}, "transactionId": {"S": "t"}}
    assert probe("dynamodb", "put_item", {"TableName": TRANSACTIONS, "Item": key}) == "AccessDeniedException"
    assert probe("dynamodb", "get_item", {"TableName": TRANSACTIONS, "Key": key}) == "AccessDeniedException"
    assert probe("dynamodb", "delete_item", {"TableName": TRANSACTIONS, "Key": key}) == "AccessDeniedException"


def test_the_role_may_query_the_job_index_but_not_the_table(probe: Probe) -> None:
    query = {
        "TableName": BATCH_JOBS,
        "KeyConditionExpression": "jobId = :id",
        "ExpressionAttributeValues": {":id": {"S": "j"}},
    }
    assert probe("dynamodb", "query", {**query, "IndexName": "jobIdIndex"}) == "allowed"
    by_intent = {**query, "KeyConditionExpression": "intentId = :id"}
    assert probe("dynamodb", "query", by_intent) == "AccessDeniedException"
