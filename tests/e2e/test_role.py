"""The role under enforcement: it does the whole job (test_pipeline), and no more than that."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local.night import Night

Probe = Callable[[str, str, dict[str, Any]], str]
KEYS = (
    "batch-input/intent/manifest.jsonl",
    "processed/2026-11-23/u/i.png",
    "batch-output/job/o.jsonl",
    "uploads/u/i.png",
)
BUCKET, TRANSACTIONS, BATCH_JOBS, PENDING_IMAGES = (
    "imagesBucket",
    "transactionsTable",
    "batchJobsTable",
    "pendingImagesTable",
)


@pytest.fixture(scope="module")
def probe(stage: Night) -> Probe:
    """Return a function that makes one call in the handler's role; it returns the error code or `allowed`."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as code:
        code.write(Path(__file__).parent / "probe" / "probe.py", "probe.py")
    stage.aws.lambda_.create_function(
        FunctionName="probe",
        Role=stage.outputs["functionRoleArn"],
        Runtime="python3.13",
        Handler="probe.handler",
        Code={"ZipFile": archive.getvalue()},
        Timeout=30,
    )
    for key in KEYS:
        stage.aws.s3.put_object(Bucket=stage.outputs[BUCKET], Key=key, Body=b"probe")

    def call(service: str, operation: str, params: dict[str, Any]) -> str:
        named = {name: stage.outputs.get(str(value), value) for name, value in params.items()}
        payload = json.dumps({"service": service, "operation": operation, "params": named})
        return json.loads(stage.aws.lambda_.invoke(FunctionName="probe", Payload=payload)["Payload"].read())

    return call


@pytest.mark.parametrize("key", KEYS[2:])
def test_the_role_reads_what_it_needs(probe: Probe, key: str) -> None:
    assert probe("s3", "get_object", {"Bucket": BUCKET, "Key": key}) == "allowed"


@pytest.mark.parametrize("table", [TRANSACTIONS, BATCH_JOBS, PENDING_IMAGES])
def test_the_role_may_not_scan(probe: Probe, table: str) -> None:
    assert probe("dynamodb", "scan", {"TableName": table}) == "AccessDeniedException"


@pytest.mark.parametrize("key", [*KEYS[:2], "dead-letters/j.jsonl", "elsewhere"])
def test_the_role_may_not_read_outside_its_prefixes(probe: Probe, key: str) -> None:
    assert probe("s3", "get_object", {"Bucket": BUCKET, "Key": key}) == "AccessDenied"


@pytest.mark.parametrize("key", ["uploads/u/new.png", "batch-output/job/o.jsonl", "batch-input/m.jsonl", "elsewhere"])
def test_the_role_may_not_write_outside_its_prefixes(probe: Probe, key: str) -> None:
    assert probe("s3", "put_object", {"Bucket": BUCKET, "Key": key, "Body": "x"}) == "AccessDenied"


@pytest.mark.parametrize("key", ["processed/2026-11-23/u/i.png", "batch-output/job/o.jsonl", "dead-letters/j.jsonl"])
def test_the_role_may_delete_uploads_only(probe: Probe, key: str) -> None:
    assert probe("s3", "delete_object", {"Bucket": BUCKET, "Key": key}) == "AccessDenied"


def test_the_role_may_not_list_the_whole_bucket(probe: Probe) -> None:
    assert probe("s3", "list_objects_v2", {"Bucket": BUCKET}) == "AccessDenied"
    assert probe("s3", "list_objects_v2", {"Bucket": BUCKET, "Prefix": "uploads/u/"}) == "allowed"


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
