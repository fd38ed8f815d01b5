"""The local deployer adds the stage file's default tags to resources, as the AWS provider does."""

import zipfile
from pathlib import Path
from typing import Any, cast

import pytest
from moto import mock_aws

from local.aws import Aws
from local.deployer import deploy, has_tags
from local.resources import CREATORS
from yorutsuke_infra import artifacts
from yorutsuke_infra.artifacts import function_zip, layer_zip, this_machine

TAGGING_OPERATIONS = {
    "aws:cloudwatch/eventRule:EventRule": "PutRule",
    "aws:cloudwatch/logGroup:LogGroup": "CreateLogGroup",
    "aws:cloudwatch/metricAlarm:MetricAlarm": "PutMetricAlarm",
    "aws:dynamodb/table:Table": "CreateTable",
    "aws:iam/role:Role": "CreateRole",
    "aws:lambda/eventSourceMapping:EventSourceMapping": "CreateEventSourceMapping",
    "aws:lambda/function:Function": "CreateFunction",
    "aws:s3/bucket:Bucket": "PutBucketTagging",
    "aws:sns/topic:Topic": "CreateTopic",
    "aws:sqs/queue:Queue": "CreateQueue",
}
"""The operation that tags a resource, by the resource type."""


def test_tagging_operations_cover_every_taggable_type() -> None:
    assert {resource_type for resource_type in CREATORS if has_tags(resource_type)} == set(TAGGING_OPERATIONS)


def test_deploy_tags_every_resource(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "DIST", tmp_path)
    for path in (layer_zip(this_machine()), function_zip("batch_orchestrator"), function_zip("batch_result_handler")):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("package.py", "")
    tagged: list[tuple[str, dict[str, str]]] = []

    def record_tags(params: dict[str, Any], model: Any, **_: object) -> None:
        if model.name in TAGGING_OPERATIONS.values():
            tagged.append((model.name, _tags(params)))

    # S3 sends a test event when the notification is created. By default, moto would start the function in Docker.
    with mock_aws(config={"lambda": {"use_docker": False}}):
        aws = Aws(endpoint=None)
        clients = (aws.cloudwatch, aws.dynamodb, aws.events, aws.iam, aws.lambda_, aws.logs, aws.s3, aws.sns, aws.sqs)
        for client in clients:
            client.meta.events.register("before-parameter-build", record_tags)
        deploy(aws)

    assert {operation for operation, _ in tagged} == set(TAGGING_OPERATIONS.values())
    stage_tags = {"project": "yorutsuke", "stage": "local", "managed-by": "pulumi"}
    assert [operation for operation, tags in tagged if tags != stage_tags] == []


def _tags(params: dict[str, Any]) -> dict[str, str]:
    """Return the tags of a request. Their format depends on the service."""
    tags: Any = params["Tagging"]["TagSet"] if "Tagging" in params else params.get("Tags", params.get("tags"))
    if isinstance(tags, list):
        return {tag["Key"]: tag["Value"] for tag in cast("list[dict[str, str]]", tags)}
    return tags
