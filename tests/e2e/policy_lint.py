"""A policy linter that uses AWS's catalogue of actions, resources and condition keys.

The catalogue is policy-sentry's copy of the service authorization reference. parliament, a linter with rules of its
own, was not chosen: its copy is from April 2025, and it imports pkg_resources, which setuptools has removed.
"""

import fnmatch
import re
from collections.abc import Iterator
from typing import Any

from policy_sentry.querying.actions import get_action_data, get_actions_for_service

from yorutsuke_common.names import PROJECT

from .policy_grants import as_list

GLOBAL_KEYS = {"aws:securetransport", "aws:sourceaccount", "aws:sourcearn"}
"""Condition keys that every action supports. Source: IAM user guide, "AWS global condition context keys"."""
UNLISTED_FORMATS = {
    "bedrock:CreateModelInvocationJob": {
        "arn:${Partition}:bedrock:${Region}:${Account}:inference-profile/${ResourceId}",
        "arn:${Partition}:bedrock:${Region}:${Account}:application-inference-profile/${ResourceId}",
    },
    **{
        f"logs:{name}": {"arn:${Partition}:logs:${Region}:${Account}:log-group:${LogGroupName}:*"}
        for name in ("CreateLogGroup", "DeleteLogGroup", "PutRetentionPolicy")
    },
}
"""Resource formats that an action supports and the catalogue lacks. Sources: the policies in AWS Machine Learning blog,
"Getting started with cross-region inference in Amazon Bedrock", which predates application inference profiles; Amazon
CloudWatch Logs API reference, LogGroup (`arn`)."""
STATEMENT_KEYS = {"Sid", "Effect", "Principal", "Action", "Resource", "Condition"}
"""Keys that a statement may have. NotAction, NotResource and NotPrincipal grant more than intended."""
ACCOUNT_WIDE = {"cloudwatch:DescribeAlarms"}
"""Read actions that may be allowed on `*`, although the catalogue lists a resource format. Source: Amazon CloudWatch
API reference, DescribeAlarms, which requires the scope `*` for some of its results."""
NAMES_WITH_SLASHES = {"ObjectName", "LogGroupName"}
"""Placeholders for names that may contain a slash."""
NAMES_WITH_COLONS = {"ResourceId"}
"""Placeholders for names that may contain a colon, such as the model id amazon.nova-lite-v1:0."""


def problems(statement: dict[str, Any]) -> Iterator[str]:
    """Yield the problems of a statement. All of its actions must belong to one service."""
    yield from (f"{key} is not allowed in a statement" for key in statement if key not in STATEMENT_KEYS)
    # A trust policy has no Resource: it applies to its role.
    resources, actions = as_list(statement.get("Resource", [])), as_list(statement.get("Action", []))
    if not all(map(_is_account_wide, actions)) or resources != ["*"]:
        yield from (f"{resource} matches other owners" for resource in resources if "*" in _owner_part(resource))
    for action in actions:
        if "*" in action and statement["Effect"] == "Allow":
            yield f"{action} allows more than one action"
        entries = list(_entries(action))
        if not entries:
            yield f"{action} is not an AWS action"
            continue
        # The catalogue lists `*` beside the resource formats of an action.
        formats = {entry["resource_arn_format"] for entry in entries} - {"*"} | UNLISTED_FORMATS.get(action, set())
        yield from (f"{action} does not apply to {resource}" for resource in resources if not _fits(resource, formats))
        known = {key.lower() for entry in entries for key in entry["condition_keys"]} | GLOBAL_KEYS
        keys = [key for operands in statement.get("Condition", {}).values() for key in operands]
        yield from (f"{action} has no condition key {key}" for key in keys if key.lower() not in known)


def _entries(action: str) -> Iterator[dict[str, Any]]:
    """Yield the catalogue's entries for an action, which may contain a wildcard."""
    service, _, name = action.partition(":")
    for known in fnmatch.filter((full.partition(":")[2] for full in get_actions_for_service(service)), name):
        yield from get_action_data(service, known).get(service, [])


def _is_account_wide(action: str) -> bool:
    """Return whether `*` is the only resource that an action supports, or one of ACCOUNT_WIDE."""
    formats = {entry["resource_arn_format"] for entry in _entries(action)}
    return formats == {"*"} or action in ACCOUNT_WIDE


def _owner_part(resource: str) -> str:
    """Return the part of an ARN that identifies its owner and its region.

    The result excludes an object's key, a log stream, and the end of a name that begins with the project's name. It
    also excludes the ids that AWS assigns to jobs and event source mappings. It is empty for foundation models, which
    belong to AWS in every region.
    """
    if "::foundation-model/" in resource:
        return ""
    head, _, tail = resource.partition(":::")
    if tail:
        return f"{head}:::{tail.partition('/')[0]}"
    return re.split(f":log-stream:|:model-invocation-job/|:event-source-mapping:|[:/]{PROJECT}-", resource)[0]


def _fits(resource: str, formats: set[str]) -> bool:
    """Return whether an ARN has one of the catalogue's formats, such as `arn:${Partition}:sqs:${Region}:…`."""
    return not formats or resource == "*" or any(re.fullmatch(_pattern(arn_format), resource) for arn_format in formats)


def _pattern(arn_format: str) -> str:
    parts = re.split(r"\$\{(\w+)\}", arn_format)
    names = [_name_pattern(name) for name in parts[1::2]]
    return "".join(re.escape(text) + name for text, name in zip(parts[::2], [*names, ""], strict=True))


def _name_pattern(name: str) -> str:
    if name in NAMES_WITH_COLONS:
        return "[^/]+"
    return "[^:]+" if name in NAMES_WITH_SLASHES else "[^/:]+"
