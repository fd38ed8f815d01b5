"""The policies of a deployed stage, split into grants of one action on one resource."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from local.job_run import JobRun
from yorutsuke_common.names import LOCAL_STAGE, SCHEDULE, physical_name

Document = dict[str, Any]


@dataclass(frozen=True)
class Policy:
    """An attached policy, with a function to read it and, if it can be replaced, a function to write it."""

    read: Callable[[], Document]
    write: Callable[[Document], object] | None = None


@dataclass(frozen=True)
class Grant:
    """One action on one resource in a policy's statement. `resource` is an ARN, or `*` if the statement has none."""

    policy: str
    sid: str
    action: str
    resource: str

    def __str__(self) -> str:
        # Omits partition, service, region and account.
        name = ":".join(self.resource.split(":")[5:]) or self.resource
        return " ".join(filter(None, (f"{self.policy}:", self.sid, self.action, name)))


def policies_of(stage: JobRun) -> dict[str, Policy]:
    """Return every policy of a stage with a schedule by a unique name."""
    aws, outputs = stage.aws, stage.outputs
    roles = {
        "role": outputs["functionRoleArn"],
        "orchestrator": outputs["orchestratorRoleArn"],
        "bedrock": outputs["bedrockRoleArn"],
        # The name of a role is the last part of its ARN.
        "schedule": physical_name(SCHEDULE, LOCAL_STAGE),
    }
    topics = {"output topic": outputs["outputTopicArn"], "alarm topic": outputs["alarmTopicArn"]}
    queues = {"queue": outputs["queueUrl"], "dead-letter queue": outputs["deadLetterQueueUrl"]}
    return {
        **{name: policy for role, arn in roles.items() for name, policy in _role_policies(stage, role, arn).items()},
        **{name: _topic_policy(stage, arn) for name, arn in topics.items() if arn},
        **{name: _queue_policy(stage, url) for name, url in queues.items()},
        "bucket": Policy(
            lambda: json.loads(aws.s3.get_bucket_policy(Bucket=outputs["imagesBucket"])["Policy"]),
            lambda document: aws.s3.put_bucket_policy(Bucket=outputs["imagesBucket"], Policy=json.dumps(document)),
        ),
        **_function_policy(stage),
    }


def grants_of(policies: Mapping[str, Policy]) -> Iterator[Grant]:
    """Yield the policies' allowed or denied actions, one action on one resource at a time."""
    for name, policy in policies.items():
        for statement in _single_grants(policy.read()):
            yield Grant(name, statement.get("Sid", ""), statement["Action"], statement["Resource"])


def without_grant(document: Document, grant: Grant) -> Document:
    """Return a policy document without one grant."""
    kept = [
        statement
        for statement in _single_grants(document)
        if (statement.get("Sid", ""), statement["Action"], statement["Resource"])
        != (grant.sid, grant.action, grant.resource)
    ]
    return {**document, "Statement": kept}


def _single_grants(document: Document) -> Iterator[Document]:
    """Yield the statements with one action and one resource each."""
    for statement in document["Statement"]:
        for action in as_list(statement["Action"]):
            for resource in as_list(statement.get("Resource", "*")):
                yield {**statement, "Action": action, "Resource": resource}


def as_list(value: str | list[str]) -> list[str]:
    """Return a policy's value as a list. A policy may contain a single string instead of a list."""
    return [value] if isinstance(value, str) else value


def _document(response: Mapping[str, Any], name: str) -> Document:
    """Return a policy document of an IAM response. boto3 decodes it only in some responses."""
    document = response[name]
    return json.loads(document) if isinstance(document, str) else document


def _role_policies(stage: JobRun, role: str, arn: str) -> dict[str, Policy]:
    """Return a role's inline policies, named `<role> <policy>`, and its trust policy."""
    iam, name = stage.aws.iam, arn.rsplit("/", 1)[-1]
    inline = iam.list_role_policies(RoleName=name)["PolicyNames"]
    return {
        **{f"{role} {policy}": _role_policy(stage, name, policy) for policy in inline},
        f"trust of {role}": Policy(lambda: _document(iam.get_role(RoleName=name)["Role"], "AssumeRolePolicyDocument")),
    }


def _role_policy(stage: JobRun, role: str, name: str) -> Policy:
    iam = stage.aws.iam

    def write(document: Document) -> None:
        # A policy document must have at least one statement.
        if document["Statement"]:
            iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(document))
        else:
            iam.delete_role_policy(RoleName=role, PolicyName=name)

    return Policy(lambda: _document(iam.get_role_policy(RoleName=role, PolicyName=name), "PolicyDocument"), write)


def _topic_policy(stage: JobRun, arn: str) -> Policy:
    sns = stage.aws.sns
    return Policy(
        lambda: json.loads(sns.get_topic_attributes(TopicArn=arn)["Attributes"]["Policy"]),
        lambda document: sns.set_topic_attributes(
            TopicArn=arn, AttributeName="Policy", AttributeValue=json.dumps(document)
        ),
    )


def _queue_policy(stage: JobRun, url: str) -> Policy:
    sqs = stage.aws.sqs
    return Policy(
        lambda: json.loads(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])["Attributes"]["Policy"]),
        lambda document: sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(document)}),
    )


def _function_policy(stage: JobRun) -> dict[str, Policy]:
    """Return the function's resource policy, which exists only if S3 invokes the function directly."""
    if stage.outputs["outputTopicArn"]:
        return {}
    name = stage.outputs["functionName"]
    return {"function": Policy(lambda: json.loads(stage.aws.lambda_.get_policy(FunctionName=name)["Policy"]))}
