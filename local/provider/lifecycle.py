"""The life of each resource type after its creation: its current inputs, its update and its deletion.

`local/resources.py` has the creators. Source of the inputs that replace a resource, and of the effect of a
deletion: the Pulumi AWS provider's reference of each resource.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from local.aws import Aws
from local.inputs import Inputs, camel_case
from local.resources import QUEUE_ATTRIBUTES, archive, log_group_arn, queue_attributes, schedule_request

Read = Callable[[Aws, str], dict[str, Any]]
Delete = Callable[[Aws, str, dict[str, Any]], object]
Update = Callable[[Aws, str, Inputs], object]

MISSING = {
    "404",
    "NoSuchBucket",
    "NoSuchEntity",
    "NoSuchLifecycleConfiguration",
    "NoSuchPublicAccessBlockConfiguration",
    "NotFound",
    "NotFoundException",
    "QueueDoesNotExist",
    "ResourceNotFound",
    "ResourceNotFoundException",
    "ServerSideEncryptionConfigurationNotFoundError",
    "AWS.SimpleQueueService.NonExistentQueue",
}
"""Error codes of AWS for a resource that does not exist."""


FIXED_TABLE_INPUTS = (
    "name",
    "billingMode",
    "attributes",
    "hashKey",
    "rangeKey",
    "globalSecondaryIndexes",
    "ttl",
    "pointInTimeRecovery",
)
"""Inputs of a table that the stand-in cannot change."""


class GoneError(Exception):
    """The resource does not exist in AWS."""


@dataclass(frozen=True)
class Lifecycle:
    """The life of one resource type.

    Attributes:
        read: Returns the inputs that the resource with an id has in AWS, as far as the stand-in reads them.
        delete: Deletes the resource with an id and these inputs.
        replaced_by: Inputs that AWS cannot change. A change of them replaces the resource.
        update: Changes the resource. By default, the creator runs again, because its calls overwrite.
        outputs: Returns the other outputs of an imported resource.
    """

    read: Read
    delete: Delete
    replaced_by: frozenset[str] = field(default_factory=frozenset[str])
    update: Update | None = None
    outputs: Read | None = None


def is_missing(error: ClientError) -> bool:
    """Return whether AWS's error is that a resource does not exist."""
    return error.response.get("Error", {}).get("Code") in MISSING


def _tags(entries: Any) -> dict[str, str]:
    return {entry["Key"]: entry["Value"] for entry in entries}


def _read_bucket(aws: Aws, name: str) -> dict[str, Any]:
    aws.s3.head_bucket(Bucket=name)
    return {"bucket": name, "tags": _tags(aws.s3.get_bucket_tagging(Bucket=name)["TagSet"])}


def _update_bucket(aws: Aws, name: str, inputs: Inputs) -> None:
    inputs.take("bucket")
    inputs.take_optional("forceDestroy")
    aws.s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": inputs.take_tags()})


def _delete_bucket(aws: Aws, name: str, inputs: dict[str, Any]) -> None:
    if inputs.get("forceDestroy"):
        for page in aws.s3.get_paginator("list_object_versions").paginate(Bucket=name):
            for version in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]:
                aws.s3.delete_object(Bucket=name, Key=version.get("Key", ""), VersionId=version.get("VersionId", ""))
    aws.s3.delete_bucket(Bucket=name)


def _read_public_access_block(aws: Aws, name: str) -> dict[str, Any]:
    block = aws.s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"]
    return {"bucket": name, **camel_case(block)}


def _read_encryption(aws: Aws, name: str) -> dict[str, Any]:
    rules = aws.s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"]
    algorithms = [rule.get("ApplyServerSideEncryptionByDefault", {}).get("SSEAlgorithm") for rule in rules]
    encryption = [{"applyServerSideEncryptionByDefault": {"sseAlgorithm": name}} for name in algorithms]
    return {"bucket": name, "rules": encryption}


def _read_lifecycle(aws: Aws, name: str) -> dict[str, Any]:
    rules: Any = aws.s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
    converted = [{**camel_case({key: rule[key] for key in rule if key != "ID"}), "id": rule["ID"]} for rule in rules]
    return {"bucket": name, "rules": converted}


def _read_notification(aws: Aws, name: str) -> dict[str, Any]:
    stored = aws.s3.get_bucket_notification_configuration(Bucket=name)
    topics = [_notified(entry, "topicArn") for entry in stored.get("TopicConfigurations", [])]
    functions = [_notified(entry, "lambdaFunctionArn") for entry in stored.get("LambdaFunctionConfigurations", [])]
    return {
        "bucket": name,
        **({"topics": topics} if topics else {}),
        **({"lambdaFunctions": functions} if functions else {}),
    }


def _notified(entry: Any, target_arn: str) -> dict[str, Any]:
    filters = {rule["Name"].lower(): rule["Value"] for rule in entry["Filter"]["Key"]["FilterRules"]}
    return {
        "id": entry["Id"],
        target_arn: entry[target_arn[0].upper() + target_arn[1:]],
        "events": entry["Events"],
        "filterPrefix": filters["prefix"],
        "filterSuffix": filters["suffix"],
    }


def _read_table(aws: Aws, name: str) -> dict[str, Any]:
    table: Any = aws.dynamodb.describe_table(TableName=name)["Table"]
    ttl = aws.dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    backups: Any = aws.dynamodb.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
    recovery = backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"]
    keys = {schema["KeyType"]: schema["AttributeName"] for schema in table["KeySchema"]}
    indexes = [
        {
            "name": stored["IndexName"],
            "keySchemas": camel_case(stored["KeySchema"]),
            **camel_case(stored["Projection"]),
        }
        for stored in table.get("GlobalSecondaryIndexes", [])
    ]
    return {
        "name": name,
        "billingMode": table["BillingModeSummary"]["BillingMode"],
        "attributes": [
            {"name": attribute["AttributeName"], "type": attribute["AttributeType"]}
            for attribute in table["AttributeDefinitions"]
        ],
        "hashKey": keys["HASH"],
        **({"rangeKey": keys["RANGE"]} if "RANGE" in keys else {}),
        "globalSecondaryIndexes": indexes,
        **({"ttl": {"attributeName": ttl["AttributeName"], "enabled": True}} if "AttributeName" in ttl else {}),
        "pointInTimeRecovery": {"enabled": recovery == "ENABLED"},
        "deletionProtectionEnabled": table["DeletionProtectionEnabled"],
        "tags": _tags(aws.dynamodb.list_tags_of_resource(ResourceArn=table["TableArn"]).get("Tags", [])),
    }


def _update_table(aws: Aws, name: str, inputs: Inputs) -> None:
    """Change a table's deletion protection and tags. Raises NotImplementedError for another change."""
    current = _read_table(aws, name)
    protection, tags = inputs.take("deletionProtectionEnabled"), inputs.take_tags()
    for key in FIXED_TABLE_INPUTS:
        if inputs.take_optional(key) != current.get(key):
            raise NotImplementedError(f"the stand-in for the AWS provider cannot change {key!r} of table {name!r}")
    table: Any = aws.dynamodb.update_table(TableName=name, DeletionProtectionEnabled=protection)
    aws.dynamodb.tag_resource(ResourceArn=table["TableDescription"]["TableArn"], Tags=tags)


def _read_topic(aws: Aws, arn: str) -> dict[str, Any]:
    aws.sns.get_topic_attributes(TopicArn=arn)
    tags = _tags(aws.sns.list_tags_for_resource(ResourceArn=arn).get("Tags", []))
    return {"name": arn.rpartition(":")[2], "tags": tags}


def _update_topic(aws: Aws, arn: str, inputs: Inputs) -> None:
    inputs.take("name")
    aws.sns.tag_resource(ResourceArn=arn, Tags=inputs.take_tags())


def _delete_topic_policy(aws: Aws, arn: str, _: dict[str, Any]) -> None:
    """Restore a policy that lets only the topic's owner publish. A topic always has a policy."""
    account = arn.split(":")[4]
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{account}:root"},
        "Action": "sns:Publish",
        "Resource": arn,
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    aws.sns.set_topic_attributes(TopicArn=arn, AttributeName="Policy", AttributeValue=policy)


def _read_subscription(aws: Aws, arn: str) -> dict[str, Any]:
    stored = aws.sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]
    policy = stored.get("RedrivePolicy")
    return {
        "topic": stored["TopicArn"],
        "protocol": stored["Protocol"],
        "endpoint": stored["Endpoint"],
        **({"redrivePolicy": policy} if policy else {}),
    }


def _queue_attributes(aws: Aws, url: str) -> dict[str, str]:
    return {**aws.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]}


def _read_queue(aws: Aws, url: str) -> dict[str, Any]:
    attributes = _queue_attributes(aws, url)
    numbers = {key: int(attributes[name]) for key, name in QUEUE_ATTRIBUTES.items() if name != "RedrivePolicy"}
    defaults = {"visibilityTimeoutSeconds": 30, "messageRetentionSeconds": 345_600, "maxMessageSize": 1_048_576}
    redrive = attributes.get("RedrivePolicy")
    return {
        "name": attributes["QueueArn"].rpartition(":")[2],
        **{key: number for key, number in numbers.items() if number != defaults[key]},
        **({"redrivePolicy": redrive} if redrive else {}),
        "sqsManagedSseEnabled": attributes["SqsManagedSseEnabled"] == "true",
        "tags": aws.sqs.list_queue_tags(QueueUrl=url).get("Tags", {}),
    }


def _update_queue(aws: Aws, url: str, inputs: Inputs) -> None:
    inputs.take("name")
    aws.sqs.set_queue_attributes(QueueUrl=url, Attributes=queue_attributes(inputs))
    aws.sqs.tag_queue(QueueUrl=url, Tags=inputs.take("tags"))


def _queue_attribute(attribute: str, key: str) -> Lifecycle:
    """Return the life of a resource that is one attribute of a queue."""

    def read(aws: Aws, url: str) -> dict[str, Any]:
        if attribute not in (attributes := _queue_attributes(aws, url)):
            raise GoneError
        return {"queueUrl": url, key: attributes[attribute]}

    def delete(aws: Aws, url: str, _: dict[str, Any]) -> None:
        # An empty value removes the attribute. Source: Amazon SQS API reference, SetQueueAttributes.
        cleared: Any = {attribute: ""}
        aws.sqs.set_queue_attributes(QueueUrl=url, Attributes=cleared)

    return Lifecycle(read, delete, frozenset({"queueUrl"}))


def _read_role(aws: Aws, name: str) -> dict[str, Any]:
    role: Any = aws.iam.get_role(RoleName=name)["Role"]
    trust = role["AssumeRolePolicyDocument"]
    return {
        "name": name,
        "assumeRolePolicy": trust if isinstance(trust, str) else json.dumps(trust),
        "tags": _tags(aws.iam.list_role_tags(RoleName=name)["Tags"]),
    }


def _update_role(aws: Aws, name: str, inputs: Inputs) -> None:
    inputs.take("name")
    aws.iam.update_assume_role_policy(RoleName=name, PolicyDocument=inputs.take("assumeRolePolicy"))
    aws.iam.tag_role(RoleName=name, Tags=inputs.take_tags())


def _read_role_policy(aws: Aws, identifier: str) -> dict[str, Any]:
    role, name = identifier.split(":")
    document: Any = aws.iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
    return {"role": role, "name": name, "policy": document if isinstance(document, str) else json.dumps(document)}


def _delete_role_policy(aws: Aws, identifier: str, _: dict[str, Any]) -> None:
    role, name = identifier.split(":")
    aws.iam.delete_role_policy(RoleName=role, PolicyName=name)


def _read_log_group(aws: Aws, name: str) -> dict[str, Any]:
    groups = aws.logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"]
    found = next((group for group in groups if group.get("logGroupName") == name), None)
    if found is None:
        raise GoneError
    tags = aws.logs.list_tags_log_group(logGroupName=name)["tags"]
    return {"name": name, "retentionInDays": found.get("retentionInDays"), "tags": tags}


def _update_log_group(aws: Aws, name: str, inputs: Inputs) -> None:
    inputs.take("name")
    aws.logs.put_retention_policy(logGroupName=name, retentionInDays=inputs.take("retentionInDays"))
    aws.logs.tag_log_group(logGroupName=name, tags=inputs.take("tags"))


def _read_rule(aws: Aws, name: str) -> dict[str, Any]:
    return camel_case(
        {key: aws.events.describe_rule(Name=name)[key] for key in ("Name", "Description", "EventPattern")}
    )


def _read_target(aws: Aws, identifier: str) -> dict[str, Any]:
    rule, _, target_id = identifier.rpartition("-")
    for target in aws.events.list_targets_by_rule(Rule=rule)["Targets"]:
        if target["Id"] == target_id:
            letters = camel_case(target.get("DeadLetterConfig", {}))
            return {"rule": rule, "targetId": target_id, "arn": target["Arn"], "deadLetterConfig": letters}
    raise GoneError


def _named_schedule(identifier: str) -> dict[str, str]:
    group, name = identifier.split("/")
    return {"GroupName": group, "Name": name}


def _read_schedule(aws: Aws, identifier: str) -> dict[str, Any]:
    stored = aws.scheduler.get_schedule(**_named_schedule(identifier))
    keys = ("Name", "GroupName", "Description", "ScheduleExpression", "ScheduleExpressionTimezone")
    return camel_case({key: stored[key] for key in (*keys, "FlexibleTimeWindow", "Target")})


def _read_alarm(aws: Aws, name: str) -> dict[str, Any]:
    alarms = aws.cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    if not alarms:
        raise GoneError
    # The emulator does not store the alarm's queries.
    keys = ("AlarmDescription", "ComparisonOperator", "Threshold", "EvaluationPeriods", "TreatMissingData")
    stored: Any = alarms[0]
    return {"name": name, **camel_case({key: stored[key] for key in keys}), "alarmActions": stored["AlarmActions"]}


def _read_dashboard(aws: Aws, name: str) -> dict[str, Any]:
    stored: Any = aws.cloudwatch.get_dashboard(DashboardName=name)
    return {"dashboardName": name, "dashboardBody": stored["DashboardBody"]}


def _read_layer(aws: Aws, arn: str) -> dict[str, Any]:
    name, _, version = arn.rpartition(":")
    stored: Any = aws.lambda_.get_layer_version(LayerName=name, VersionNumber=int(version))
    return camel_case({key: stored[key] for key in ("CompatibleRuntimes", "CompatibleArchitectures")})


def _delete_layer(aws: Aws, arn: str, _: dict[str, Any]) -> None:
    name, version = arn.rsplit(":", 1)
    aws.lambda_.delete_layer_version(LayerName=name, VersionNumber=int(version))


def _read_function(aws: Aws, name: str) -> dict[str, Any]:
    function: Any = aws.lambda_.get_function(FunctionName=name)
    stored = function["Configuration"]
    same = ("Role", "Runtime", "Architectures", "Handler", "Timeout", "MemorySize")
    return {
        "name": name,
        **camel_case({key: stored[key] for key in same}),
        "layers": [layer["Arn"] for layer in stored["Layers"]],
        "environment": stored["Environment"] and {"variables": stored["Environment"]["Variables"]},
        "tags": function["Tags"],
    }


def _update_function(aws: Aws, name: str, inputs: Inputs) -> None:
    aws.lambda_.update_function_code(
        FunctionName=name, ZipFile=archive(inputs), Architectures=inputs.take("architectures")
    )
    arn = aws.lambda_.update_function_configuration(
        FunctionName=inputs.take("name"),
        **inputs.take_pascal_case("role", "runtime", "handler", "layers", "timeout", "memorySize"),
        Environment={"Variables": inputs.take_nested("environment").take("variables")},
    )["FunctionArn"]
    aws.lambda_.tag_resource(Resource=arn, Tags=inputs.take("tags"))


def _read_permission(aws: Aws, statement: str) -> dict[str, Any]:
    # The id does not name the function, which the state has.
    del aws
    return {"statementId": statement}


def _read_invoke_config(aws: Aws, name: str) -> dict[str, Any]:
    stored: Any = aws.lambda_.get_function_event_invoke_config(FunctionName=name)
    destination = stored["DestinationConfig"]["OnFailure"]["Destination"]
    return {
        "functionName": name,
        "maximumRetryAttempts": stored["MaximumRetryAttempts"],
        "destinationConfig": {"onFailure": {"destination": destination}},
    }


def _read_mapping(aws: Aws, uuid: str) -> dict[str, Any]:
    stored: Any = aws.lambda_.get_event_source_mapping(UUID=uuid)
    return {
        "eventSourceArn": stored["EventSourceArn"],
        "functionName": stored["FunctionArn"],
        "batchSize": stored["BatchSize"],
        "functionResponseTypes": stored["FunctionResponseTypes"],
    }


def _update_mapping(aws: Aws, uuid: str, inputs: Inputs) -> None:
    inputs.take("eventSourceArn")
    inputs.take("tags")
    scaling = inputs.take_nested("scalingConfig")
    aws.lambda_.update_event_source_mapping(
        UUID=uuid,
        **inputs.take_pascal_case("functionName", "batchSize", "functionResponseTypes"),
        ScalingConfig={"MaximumConcurrency": scaling.take("maximumConcurrency")},
    )


_OF_BUCKET = frozenset({"bucket"})
_NAME = frozenset({"name"})

LIFECYCLES: dict[str, Lifecycle] = {
    "aws:s3/bucket:Bucket": Lifecycle(
        _read_bucket,
        _delete_bucket,
        _OF_BUCKET,
        _update_bucket,
        lambda _, name: {"arn": f"arn:aws:s3:::{name}"},
    ),
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": Lifecycle(
        _read_public_access_block, lambda aws, name, _: aws.s3.delete_public_access_block(Bucket=name), _OF_BUCKET
    ),
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": Lifecycle(
        _read_encryption, lambda aws, name, _: aws.s3.delete_bucket_encryption(Bucket=name), _OF_BUCKET
    ),
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": Lifecycle(
        _read_lifecycle, lambda aws, name, _: aws.s3.delete_bucket_lifecycle(Bucket=name), _OF_BUCKET
    ),
    "aws:s3/bucketNotification:BucketNotification": Lifecycle(
        _read_notification,
        lambda aws, name, _: aws.s3.put_bucket_notification_configuration(Bucket=name, NotificationConfiguration={}),
        _OF_BUCKET,
    ),
    "aws:s3/bucketPolicy:BucketPolicy": Lifecycle(
        lambda aws, name: {"bucket": name, "policy": aws.s3.get_bucket_policy(Bucket=name)["Policy"]},
        lambda aws, name, _: aws.s3.delete_bucket_policy(Bucket=name),
        _OF_BUCKET,
    ),
    "aws:s3/bucketVersioning:BucketVersioning": Lifecycle(
        lambda aws, name: {
            "bucket": name,
            "versioningConfiguration": {"status": aws.s3.get_bucket_versioning(Bucket=name).get("Status")},
        },
        lambda aws, name, _: aws.s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Suspended"}),
        _OF_BUCKET,
    ),
    "aws:dynamodb/table:Table": Lifecycle(
        _read_table,
        lambda aws, name, _: aws.dynamodb.delete_table(TableName=name),
        frozenset({"name", "hashKey", "rangeKey"}),
        _update_table,
        lambda aws, name: {"arn": aws.dynamodb.describe_table(TableName=name)["Table"].get("TableArn")},
    ),
    "aws:sns/topic:Topic": Lifecycle(
        _read_topic, lambda aws, arn, _: aws.sns.delete_topic(TopicArn=arn), _NAME, _update_topic
    ),
    "aws:sns/topicPolicy:TopicPolicy": Lifecycle(
        lambda aws, arn: {"arn": arn, "policy": aws.sns.get_topic_attributes(TopicArn=arn)["Attributes"]["Policy"]},
        _delete_topic_policy,
        frozenset({"arn"}),
    ),
    "aws:sns/topicSubscription:TopicSubscription": Lifecycle(
        _read_subscription,
        lambda aws, arn, _: aws.sns.unsubscribe(SubscriptionArn=arn),
        frozenset({"topic", "protocol", "endpoint"}),
    ),
    "aws:sqs/queue:Queue": Lifecycle(
        _read_queue,
        lambda aws, url, _: aws.sqs.delete_queue(QueueUrl=url),
        _NAME,
        _update_queue,
        lambda aws, url: {"url": url, "arn": _queue_attributes(aws, url)["QueueArn"]},
    ),
    "aws:sqs/redriveAllowPolicy:RedriveAllowPolicy": _queue_attribute("RedriveAllowPolicy", "redriveAllowPolicy"),
    "aws:sqs/queuePolicy:QueuePolicy": _queue_attribute("Policy", "policy"),
    "aws:iam/role:Role": Lifecycle(
        _read_role, lambda aws, name, _: aws.iam.delete_role(RoleName=name), _NAME, _update_role
    ),
    "aws:iam/rolePolicy:RolePolicy": Lifecycle(_read_role_policy, _delete_role_policy, frozenset({"name", "role"})),
    "aws:cloudwatch/logGroup:LogGroup": Lifecycle(
        _read_log_group,
        lambda aws, name, _: aws.logs.delete_log_group(logGroupName=name),
        _NAME,
        _update_log_group,
        lambda aws, name: {"arn": log_group_arn(aws, name)},
    ),
    "aws:cloudwatch/eventRule:EventRule": Lifecycle(
        _read_rule, lambda aws, name, _: aws.events.delete_rule(Name=name), _NAME
    ),
    "aws:cloudwatch/eventTarget:EventTarget": Lifecycle(
        _read_target,
        lambda aws, _, inputs: aws.events.remove_targets(Rule=inputs["rule"], Ids=[inputs["targetId"]]),
        frozenset({"rule", "targetId"}),
    ),
    "aws:scheduler/schedule:Schedule": Lifecycle(
        _read_schedule,
        lambda aws, identifier, _: aws.scheduler.delete_schedule(**_named_schedule(identifier)),
        frozenset({"name", "groupName"}),
        lambda aws, _, inputs: aws.scheduler.update_schedule(**schedule_request(inputs)),
    ),
    "aws:cloudwatch/metricAlarm:MetricAlarm": Lifecycle(
        _read_alarm, lambda aws, name, _: aws.cloudwatch.delete_alarms(AlarmNames=[name]), _NAME
    ),
    "aws:cloudwatch/dashboard:Dashboard": Lifecycle(
        _read_dashboard,
        lambda aws, name, _: aws.cloudwatch.delete_dashboards(DashboardNames=[name]),
        frozenset({"dashboardName"}),
    ),
    "aws:lambda/layerVersion:LayerVersion": Lifecycle(
        _read_layer,
        _delete_layer,
        frozenset({"code", "layerName", "compatibleRuntimes", "compatibleArchitectures"}),
    ),
    "aws:lambda/function:Function": Lifecycle(
        _read_function, lambda aws, name, _: aws.lambda_.delete_function(FunctionName=name), _NAME, _update_function
    ),
    "aws:lambda/permission:Permission": Lifecycle(
        _read_permission,
        lambda aws, statement, inputs: aws.lambda_.remove_permission(
            FunctionName=inputs["function"], StatementId=statement
        ),
        frozenset({"statementId", "action", "function", "principal", "sourceArn", "sourceAccount"}),
    ),
    "aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig": Lifecycle(
        _read_invoke_config,
        lambda aws, name, _: aws.lambda_.delete_function_event_invoke_config(FunctionName=name),
        frozenset({"functionName"}),
    ),
    "aws:lambda/eventSourceMapping:EventSourceMapping": Lifecycle(
        _read_mapping,
        lambda aws, uuid, _: aws.lambda_.delete_event_source_mapping(UUID=uuid),
        frozenset({"eventSourceArn"}),
        _update_mapping,
    ),
}
"""The life of each resource type that the Pulumi program uses."""
