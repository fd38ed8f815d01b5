"""A job's service role: whether Bedrock may assume it, and S3 with its rights.

The emulator cannot assume roles for a service. So the trust policy is evaluated here, and the rights are enforced by a
twin: a role with the same inline policies that trusts the account instead.
"""

import json
import operator
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, cast

from local.aws import Aws

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PRINCIPAL = "bedrock.amazonaws.com"
OPERATORS = {
    "StringEquals": operator.eq,
    "StringLike": fnmatchcase,
    "ArnEquals": fnmatchcase,
    "ArnLike": fnmatchcase,
}
"""The condition operators that are evaluated here. A condition with another operator does not hold.

Source: IAM user guide, "Condition operators".
"""


def is_assumable(aws: Aws, role_arn: str, job_arn: str) -> bool:
    """Return whether a role exists and trusts Bedrock with a job."""
    try:
        role = aws.iam.get_role(RoleName=role_arn.rpartition("/")[2])["Role"]
    except aws.iam.exceptions.NoSuchEntityException:
        return False
    trust = cast("dict[str, Any]", role.get("AssumeRolePolicyDocument"))
    context = {"aws:sourceaccount": job_arn.split(":")[4], "aws:sourcearn": job_arn}
    effects = {statement["Effect"] for statement in trust["Statement"] if _applies(statement, context)}
    return role["Arn"] == role_arn and effects == {"Allow"}


@contextmanager
def acting_as(aws: Aws, role_arn: str, job_id: str) -> Generator["S3Client"]:
    """Yield a client of S3 with the rights that the role has now."""
    iam, role, twin = aws.iam, role_arn.rpartition("/")[2], f"bedrock-{job_id}"
    account = f"arn:aws:iam::{role_arn.split(':')[4]}:root"
    trust = {"Effect": "Allow", "Principal": {"AWS": account}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    with ExitStack() as clean_up:
        twin_arn = iam.create_role(RoleName=twin, AssumeRolePolicyDocument=document)["Role"]["Arn"]
        clean_up.callback(iam.delete_role, RoleName=twin)
        for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
            policy = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
            iam.put_role_policy(RoleName=twin, PolicyName=name, PolicyDocument=json.dumps(policy))
            clean_up.callback(iam.delete_role_policy, RoleName=twin, PolicyName=name)
        yield aws.s3_in_role(twin_arn, twin)


def _applies(statement: Mapping[str, Any], context: Mapping[str, str]) -> bool:
    """Return whether a statement of a trust policy applies to Bedrock and a job with these condition keys."""
    return (
        PRINCIPAL in _listed(statement["Principal"].get("Service"))
        and "sts:AssumeRole" in _listed(statement["Action"])
        and all(
            name in OPERATORS
            and key.lower() in context
            and any(OPERATORS[name](context[key.lower()], value) for value in _listed(values))
            for name, keys in statement.get("Condition", {}).items()
            for key, values in keys.items()
        )
    )


def _listed(value: Any) -> list[Any]:
    """Return a policy's value as a list: policies may hold one value without a list."""
    return cast("list[Any]", value) if isinstance(value, list) else [value]
