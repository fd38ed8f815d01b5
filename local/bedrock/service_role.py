"""A job's service role: whether Bedrock may assume it, and what it may then do.

The emulator assumes a role for no service. So its trust policy is read here, and its rights are tried as they are
enforced: by calls in a twin, a role with the same policies that trusts the account instead.
"""

import fnmatch
import json
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import ClientError

from local.aws import Aws

if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_s3 import S3Client

PRINCIPAL = "bedrock.amazonaws.com"
EXACT = {"StringEquals"}
WITH_WILDCARDS = {"StringLike", "ArnEquals", "ArnLike"}
"""The operators of conditions that are read here. Source: IAM user guide, "Condition operators"."""


def trust_policy(iam: "IAMClient", role_arn: str) -> dict[str, Any] | None:
    """Return the trust policy of a role, or None where there is no such role."""
    try:
        role = iam.get_role(RoleName=_name(role_arn))["Role"]
    except iam.exceptions.NoSuchEntityException:
        return None
    document: Any = role.get("AssumeRolePolicyDocument", {})
    # boto3 has decoded it, or not.
    decoded = json.loads(document) if isinstance(document, str) else document
    return decoded if role["Arn"] == role_arn else None


def may_assume(trust: Mapping[str, Any], context: Mapping[str, str]) -> bool:
    """Tell whether a trust policy lets Bedrock assume its role. `context` has the condition keys, in lower case.

    A condition with an operator or a key that is not known here is not met.
    """
    effects = {
        statement["Effect"]
        for statement in _listed(trust["Statement"])
        if PRINCIPAL in _listed(_mapping(statement.get("Principal")).get("Service", []))
        and any(fnmatch.fnmatchcase("sts:assumerole", action.lower()) for action in _listed(statement["Action"]))
        and _is_met(statement.get("Condition", {}), context)
    }
    return effects == {"Allow"}


@contextmanager
def acting_as(aws: Aws, role_arn: str, job_id: str) -> Generator["S3Client"]:
    """Give a client of S3 with the rights that the role has now."""
    iam, role, twin = aws.iam, _name(role_arn), f"bedrock-{job_id}"
    account = role_arn.split(":")[4]
    trust = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{account}:root"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    with ExitStack() as clean_up:
        twin_arn = iam.create_role(RoleName=twin, AssumeRolePolicyDocument=document)["Role"]["Arn"]
        clean_up.callback(iam.delete_role, RoleName=twin)
        for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
            policy: Any = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
            text = policy if isinstance(policy, str) else json.dumps(policy)
            iam.put_role_policy(RoleName=twin, PolicyName=name, PolicyDocument=text)
            clean_up.callback(iam.delete_role_policy, RoleName=twin, PolicyName=name)
        for attached in iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]:
            arn = attached.get("PolicyArn", "")
            iam.attach_role_policy(RoleName=twin, PolicyArn=arn)
            clean_up.callback(iam.detach_role_policy, RoleName=twin, PolicyArn=arn)
        yield aws.s3_in_role(twin_arn, twin)


def said(error: ClientError) -> str:
    """Return what AWS said of a call that failed, with the name of the operation."""
    answer = error.response.get("Error", {})
    return f"{error.operation_name}: {answer.get('Code')}: {answer.get('Message')}"


def _name(role_arn: str) -> str:
    return role_arn.rpartition("/")[2]


def _is_met(condition: Mapping[str, Mapping[str, Any]], context: Mapping[str, str]) -> bool:
    return all(
        any(_matches(operator, wanted, context.get(key.lower())) for wanted in _listed(values))
        for operator, keys in condition.items()
        for key, values in keys.items()
    )


def _matches(operator: str, wanted: str, actual: str | None) -> bool:
    if actual is None:
        return False
    return (operator in EXACT and wanted == actual) or (
        operator in WITH_WILDCARDS and fnmatch.fnmatchcase(actual, wanted)
    )


def _mapping(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _listed(value: Any) -> list[Any]:
    """Return what a policy may have as one or as several."""
    return cast("list[Any]", value) if isinstance(value, list) else [value]
