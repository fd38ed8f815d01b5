"""The creators of each resource type of the Pulumi program on the emulator, through boto3.

A creator takes every input of its resource, and returns the resource's id and the outputs that the provider would add.
Source of ids and outputs: the Pulumi AWS provider's reference of each resource.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .aws import Aws
from .emulator import REGION
from .errors import RefusedResourceError
from .inputs import Inputs, pascal_case

Created = tuple[str, dict[str, Any]]
Creator = Callable[[Aws, Inputs], Created]

CREATORS: dict[str, Creator] = {}
"""The creator of each known resource type."""


def creates(resource_type: str) -> Callable[[Creator], Creator]:
    """Register a function as the creator of a resource type."""

    def register(creator: Creator) -> Creator:
        CREATORS[resource_type] = creator
        return creator

    return register


QUEUE_ATTRIBUTES = {
    "visibilityTimeoutSeconds": "VisibilityTimeout",
    "messageRetentionSeconds": "MessageRetentionPeriod",
    "maxMessageSize": "MaximumMessageSize",
    "redrivePolicy": "RedrivePolicy",
}
"""The optional attributes of a queue in SQS's API, by the names of the provider's inputs."""


@creates("aws:s3/bucket:Bucket")
def bucket(aws: Aws, inputs: Inputs) -> Created:
    """Create a bucket; its id is its name."""
    name = inputs.take("bucket")
    # The input concerns the destruction of the bucket. The local stage ends with its emulator instead.
    inputs.take_optional("forceDestroy")
    aws.s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    aws.s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": inputs.take_tags()})
    return name, {"arn": f"arn:aws:s3:::{name}"}


@creates("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock")
def bucket_public_access_block(aws: Aws, inputs: Inputs) -> Created:
    """Block a bucket's public access."""
    name = inputs.take("bucket")
    aws.s3.put_public_access_block(
        Bucket=name,
        PublicAccessBlockConfiguration=inputs.take_pascal_case(
            "blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"
        ),
    )
    return name, {}


@creates("aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration")
def bucket_server_side_encryption_configuration(aws: Aws, inputs: Inputs) -> Created:
    """Set the encryption of a bucket's objects."""
    name = inputs.take("bucket")
    rules: list[Any] = [
        {
            "ApplyServerSideEncryptionByDefault": {
                "SSEAlgorithm": rule.take_nested("applyServerSideEncryptionByDefault").take("sseAlgorithm")
            }
        }
        for rule in inputs.take_each("rules")
    ]
    aws.s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": rules})
    return name, {}


@creates("aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration")
def bucket_lifecycle_configuration(aws: Aws, inputs: Inputs) -> Created:
    """Set a bucket's lifecycle rules."""
    name = inputs.take("bucket")
    rules: list[Any] = [_lifecycle_rule(rule) for rule in inputs.take("rules")]
    aws.s3.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": rules})
    return name, {}


def _lifecycle_rule(rule: dict[str, Any]) -> Any:
    return {**pascal_case({key: value for key, value in rule.items() if key != "id"}), "ID": rule["id"]}


@creates("aws:s3/bucketNotification:BucketNotification")
def bucket_notification(aws: Aws, inputs: Inputs) -> Created:
    """Connect a bucket to topics and functions."""
    name = inputs.take("bucket")
    topics = [_notified(topic, "topicArn") for topic in inputs.take_each("topics")]
    functions = [_notified(function, "lambdaFunctionArn") for function in inputs.take_each("lambdaFunctions")]
    aws.s3.put_bucket_notification_configuration(
        Bucket=name,
        NotificationConfiguration={"TopicConfigurations": topics, "LambdaFunctionConfigurations": functions},
    )
    return name, {}


def _notified(target: Inputs, target_arn: str) -> Any:
    """Return one entry of a bucket's notification; `target_arn` is the input that names its target."""
    return {
        "Id": target.take("id"),
        target_arn[0].upper() + target_arn[1:]: target.take(target_arn),
        "Events": target.take("events"),
        "Filter": {
            "Key": {
                "FilterRules": [
                    {"Name": "prefix", "Value": target.take("filterPrefix")},
                    {"Name": "suffix", "Value": target.take("filterSuffix")},
                ]
            }
        },
    }


@creates("aws:s3/bucketPolicy:BucketPolicy")
def bucket_policy(aws: Aws, inputs: Inputs) -> Created:
    """Set a bucket's policy."""
    name = inputs.take("bucket")
    aws.s3.put_bucket_policy(Bucket=name, Policy=inputs.take("policy"))
    return name, {}


@creates("aws:s3/bucketVersioning:BucketVersioning")
def bucket_versioning(aws: Aws, inputs: Inputs) -> Created:
    """Set whether a bucket keeps versions."""
    name = inputs.take("bucket")
    aws.s3.put_bucket_versioning(
        Bucket=name, VersioningConfiguration=pascal_case(inputs.take("versioningConfiguration"))
    )
    return name, {}


@creates("aws:dynamodb/table:Table")
def table(aws: Aws, inputs: Inputs) -> Created:
    """Create a table with its indexes and its TTL; its id is its name."""
    name = inputs.take("name")
    keys = {"HASH": inputs.take("hashKey"), "RANGE": inputs.take_optional("rangeKey")}
    request: Any = {
        "TableName": name,
        "BillingMode": inputs.take("billingMode"),
        "AttributeDefinitions": [
            {"AttributeName": attribute.take("name"), "AttributeType": attribute.take("type")}
            for attribute in inputs.take_each("attributes")
        ],
        "KeySchema": [{"AttributeName": key, "KeyType": key_type} for key_type, key in keys.items() if key],
        "DeletionProtectionEnabled": inputs.take("deletionProtectionEnabled"),
        "Tags": inputs.take_tags(),
    }
    request["GlobalSecondaryIndexes"] = [_index(entry) for entry in inputs.take_each("globalSecondaryIndexes")]
    arn = aws.dynamodb.create_table(**request)["TableDescription"].get("TableArn")
    if ttl := inputs.take_optional("ttl"):
        aws.dynamodb.update_time_to_live(TableName=name, TimeToLiveSpecification=pascal_case(ttl))
    aws.dynamodb.update_continuous_backups(
        TableName=name,
        PointInTimeRecoverySpecification={
            "PointInTimeRecoveryEnabled": inputs.take_nested("pointInTimeRecovery").take("enabled")
        },
    )
    return name, {"arn": arn}


def _index(entry: Inputs) -> dict[str, Any]:
    attributes = entry.take_optional("nonKeyAttributes")
    return {
        "IndexName": entry.take("name"),
        "KeySchema": pascal_case(entry.take("keySchemas")),
        "Projection": {
            "ProjectionType": entry.take("projectionType"),
            **({"NonKeyAttributes": attributes} if attributes else {}),
        },
    }


@creates("aws:sns/topic:Topic")
def topic(aws: Aws, inputs: Inputs) -> Created:
    """Create a topic; its id is its ARN."""
    arn = aws.sns.create_topic(Name=inputs.take("name"), Tags=inputs.take_tags())["TopicArn"]
    return arn, {"arn": arn}


@creates("aws:sns/topicPolicy:TopicPolicy")
def topic_policy(aws: Aws, inputs: Inputs) -> Created:
    """Set a topic's policy."""
    arn = inputs.take("arn")
    aws.sns.set_topic_attributes(TopicArn=arn, AttributeName="Policy", AttributeValue=inputs.take("policy"))
    return arn, {}


@creates("aws:sns/topicSubscription:TopicSubscription")
def topic_subscription(aws: Aws, inputs: Inputs) -> Created:
    """Subscribe an endpoint to a topic."""
    arn = aws.sns.subscribe(
        TopicArn=inputs.take("topic"),
        Protocol=inputs.take("protocol"),
        Endpoint=inputs.take("endpoint"),
        Attributes={"RedrivePolicy": redrive} if (redrive := inputs.take_optional("redrivePolicy")) else {},
        ReturnSubscriptionArn=True,
    )["SubscriptionArn"]
    return arn, {"arn": arn}


@creates("aws:sqs/queue:Queue")
def queue(aws: Aws, inputs: Inputs) -> Created:
    """Create a queue; its id is its URL."""
    attributes = queue_attributes(inputs)
    name, tags = inputs.take("name"), inputs.take("tags")
    url = aws.sqs.create_queue(QueueName=name, Attributes=attributes, tags=tags)["QueueUrl"]
    arn = aws.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    return url, {"url": url, "arn": arn}


def queue_attributes(inputs: Inputs) -> Any:
    """Return the attributes of a queue in SQS's API."""
    given = {attribute: inputs.take_optional(key) for key, attribute in QUEUE_ATTRIBUTES.items()}
    attributes = {attribute: str(value) for attribute, value in given.items() if value is not None}
    return {**attributes, "SqsManagedSseEnabled": str(inputs.take("sqsManagedSseEnabled")).lower()}


@creates("aws:sqs/redriveAllowPolicy:RedriveAllowPolicy")
def redrive_allow_policy(aws: Aws, inputs: Inputs) -> Created:
    """Set the queues that may move their messages into a dead-letter queue."""
    url = inputs.take("queueUrl")
    allowed = inputs.take("redriveAllowPolicy")
    aws.sqs.set_queue_attributes(QueueUrl=url, Attributes={"RedriveAllowPolicy": allowed})
    return url, {}


@creates("aws:sqs/queuePolicy:QueuePolicy")
def queue_policy(aws: Aws, inputs: Inputs) -> Created:
    """Set a queue's policy."""
    url = inputs.take("queueUrl")
    aws.sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": inputs.take("policy")})
    return url, {}


@creates("aws:iam/role:Role")
def role(aws: Aws, inputs: Inputs) -> Created:
    """Create a role; its id is its name."""
    name = inputs.take("name")
    trust = inputs.take("assumeRolePolicy")
    created = aws.iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust, Tags=inputs.take_tags())
    return name, {"arn": created["Role"]["Arn"]}


@creates("aws:iam/rolePolicy:RolePolicy")
def role_policy(aws: Aws, inputs: Inputs) -> Created:
    """Add an inline policy to a role."""
    name, role_name = inputs.take("name"), inputs.take("role")
    aws.iam.put_role_policy(RoleName=role_name, PolicyName=name, PolicyDocument=inputs.take("policy"))
    return f"{role_name}:{name}", {}


@creates("aws:cloudwatch/logGroup:LogGroup")
def log_group(aws: Aws, inputs: Inputs) -> Created:
    """Create a log group; its id is its name."""
    name = inputs.take("name")
    aws.logs.create_log_group(logGroupName=name, tags=inputs.take("tags"))
    aws.logs.put_retention_policy(logGroupName=name, retentionInDays=inputs.take("retentionInDays"))
    return name, {"arn": log_group_arn(aws, name)}


def log_group_arn(aws: Aws, name: str) -> str:
    """Return the ARN of a log group, without the :* that the API adds. The provider omits it."""
    groups = aws.logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"]
    return next(group.get("arn", "") for group in groups if group.get("logGroupName") == name).removesuffix(":*")


@creates("aws:cloudwatch/eventRule:EventRule")
def event_rule(aws: Aws, inputs: Inputs) -> Created:
    """Create a rule on the default event bus; its id is its name."""
    name = inputs.take("name")
    arn = aws.events.put_rule(
        Name=name,
        Description=inputs.take("description"),
        EventPattern=inputs.take("eventPattern"),
        Tags=inputs.take_tags(),
    )["RuleArn"]
    return name, {"arn": arn}


@creates("aws:cloudwatch/eventTarget:EventTarget")
def event_target(aws: Aws, inputs: Inputs) -> Created:
    """Add a target to a rule; its id consists of both names."""
    rule, target_id = inputs.take("rule"), inputs.take("targetId")
    dead_letters = pascal_case(inputs.take("deadLetterConfig"))
    aws.events.put_targets(
        Rule=rule, Targets=[{"Id": target_id, "Arn": inputs.take("arn"), "DeadLetterConfig": dead_letters}]
    )
    return f"{rule}-{target_id}", {}


@creates("aws:scheduler/schedule:Schedule")
def schedule(aws: Aws, inputs: Inputs) -> Created:
    """Create a schedule; its id consists of the names of its group and its own."""
    created = aws.scheduler.create_schedule(**schedule_request(inputs))
    arn = created["ScheduleArn"]
    return arn.partition(":schedule/")[2], {"arn": arn}


def schedule_request(inputs: Inputs) -> Any:
    """Return the parameters of a schedule in EventBridge Scheduler's API."""
    return inputs.take_pascal_case(
        *("name", "groupName", "description", "scheduleExpression", "scheduleExpressionTimezone"),
        *("flexibleTimeWindow", "target"),
    )


@creates("aws:cloudwatch/metricAlarm:MetricAlarm")
def metric_alarm(aws: Aws, inputs: Inputs) -> Created:
    """Create an alarm over metric queries; its id is its name."""
    name = inputs.take("name")
    aws.cloudwatch.put_metric_alarm(
        AlarmName=name,
        **inputs.take_pascal_case("alarmDescription", "comparisonOperator", "threshold", "evaluationPeriods"),
        **inputs.take_pascal_case("datapointsToAlarm", "treatMissingData", "alarmActions"),
        OKActions=inputs.take("okActions"),
        Metrics=[_metric_query(query) for query in inputs.take("metricQueries")],
        Tags=inputs.take_tags(),
    )
    [alarm] = aws.cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    return name, {"arn": alarm.get("AlarmArn")}


@creates("aws:cloudwatch/dashboard:Dashboard")
def dashboard(aws: Aws, inputs: Inputs) -> Created:
    """Create a dashboard; its id is its name. Raises RefusedResourceError if CloudWatch reports a problem with it."""
    name = inputs.take("dashboardName")
    put = aws.cloudwatch.put_dashboard(DashboardName=name, DashboardBody=inputs.take("dashboardBody"))
    # CloudWatch also accepts a body that it cannot show completely, and reports the problems only here.
    if problems := put.get("DashboardValidationMessages"):
        found = "; ".join(f"{problem.get('DataPath')}: {problem.get('Message')}" for problem in problems)
        raise RefusedResourceError(
            f"CloudWatch cannot show dashboard {name!r} completely ({found}). Correct its body in the Pulumi program."
        )
    return name, {}


def _metric_query(query: dict[str, Any]) -> Any:
    metric = query.pop("metric", None)
    # Exactly one query of an alarm must return data. If ReturnData is omitted, the API assumes true and the provider
    # assumes false.
    converted = {**pascal_case(query), "ReturnData": query.get("returnData", False)}
    if metric:
        dimensions = [{"Name": name, "Value": value} for name, value in metric.pop("dimensions").items()]
        names = {key: metric.pop(key) for key in ("stat", "period")}
        converted["MetricStat"] = {**pascal_case(names), "Metric": {**pascal_case(metric), "Dimensions": dimensions}}
    return converted


@creates("aws:lambda/layerVersion:LayerVersion")
def layer_version(aws: Aws, inputs: Inputs) -> Created:
    """Publish a layer version; its id is its ARN, version included."""
    version = aws.lambda_.publish_layer_version(
        LayerName=inputs.take("layerName"),
        Content={"ZipFile": archive(inputs)},
        **inputs.take_pascal_case("compatibleRuntimes", "compatibleArchitectures"),
    )
    return version["LayerVersionArn"], {"arn": version["LayerVersionArn"], "layerArn": version["LayerArn"]}


@creates("aws:lambda/function:Function")
def function(aws: Aws, inputs: Inputs) -> Created:
    """Create a function; its id is its name."""
    name = inputs.take("name")
    created = aws.lambda_.create_function(
        FunctionName=name,
        **inputs.take_pascal_case("role", "runtime", "architectures", "handler", "layers", "timeout", "memorySize"),
        Code={"ZipFile": archive(inputs)},
        Environment={"Variables": inputs.take_nested("environment").take("variables")},
        Tags=inputs.take("tags"),
    )
    return name, {"arn": created["FunctionArn"]}


@creates("aws:lambda/permission:Permission")
def permission(aws: Aws, inputs: Inputs) -> Created:
    """Let a service invoke a function; its id is the statement's."""
    statement = inputs.take("statementId")
    aws.lambda_.add_permission(
        FunctionName=inputs.take("function"),
        StatementId=statement,
        **inputs.take_pascal_case("action", "principal", "sourceArn", "sourceAccount"),
    )
    return statement, {}


@creates("aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig")
def function_event_invoke_config(aws: Aws, inputs: Inputs) -> Created:
    """Set the retries of asynchronous events and their on-failure destination; its id is the function's name."""
    name = inputs.take("functionName")
    aws.lambda_.put_function_event_invoke_config(
        FunctionName=name,
        MaximumRetryAttempts=inputs.take("maximumRetryAttempts"),
        DestinationConfig=pascal_case(inputs.take("destinationConfig")),
    )
    return name, {}


@creates("aws:lambda/eventSourceMapping:EventSourceMapping")
def event_source_mapping(aws: Aws, inputs: Inputs) -> Created:
    """Connect a queue to a function; its id is its UUID."""
    scaling = inputs.take_nested("scalingConfig")
    created = aws.lambda_.create_event_source_mapping(
        **inputs.take_pascal_case("eventSourceArn", "functionName", "batchSize", "functionResponseTypes"),
        ScalingConfig={"MaximumConcurrency": scaling.take("maximumConcurrency")},
        Tags=inputs.take("tags"),
    )
    return created["UUID"], {"uuid": created["UUID"]}


def archive(inputs: Inputs) -> bytes:
    """Return the content of the archive in the input `code`."""
    return Path(inputs.take("code").path).read_bytes()
