"""A linter of policies that knows AWS's own catalogue of actions, resources and condition keys.

The catalogue is policy-sentry's copy of the service authorization reference. parliament, a linter with rules of its
own, was looked at: its copy is from April 2025, and it imports pkg_resources, which setuptools has dropped.
"""

import fnmatch
import re
from collections.abc import Iterator
from typing import Any

from policy_sentry.querying.actions import get_action_data, get_actions_for_service

from .policy_grants import listed

GLOBAL_KEYS = {"aws:securetransport", "aws:sourceaccount", "aws:sourcearn"}
"""Of every action. Source: IAM user guide, "AWS global condition context keys"."""
NOT_LISTED = {
    "bedrock:CreateModelInvocationJob": {
        "arn:${Partition}:bedrock:${Region}:${Account}:inference-profile/${ResourceId}"
    }
}
"""What an action may be about, the catalogue aside. Source: AWS Machine Learning blog, "Getting started with
cross-region inference in Amazon Bedrock", whose policies have it so."""
PARTS = {"Sid", "Effect", "Principal", "Action", "Resource", "Condition"}
"""Of a statement. What is said by exception (NotAction, NotResource, NotPrincipal) grants what nobody thought of."""
NAMES_WITH_SLASHES = {"ObjectName", "LogGroupName"}
NAMES_WITH_COLONS = {"ResourceId"}
"""Of a model: amazon.nova-lite-v1:0."""


def problems(statement: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with a statement; all of its actions are of one service."""
    yield from (f"{part} is not for a statement here" for part in statement if part not in PARTS)
    # A trust policy is about the role that it belongs to, and names none.
    resources = listed(statement.get("Resource", []))
    yield from (f"{resource} may be anybody's" for resource in resources if "*" in _place(resource))
    for action in listed(statement.get("Action", [])):
        if "*" in action and statement["Effect"] == "Allow":
            yield f"{action} allows more than one action"
        entries = list(_entries(action))
        if not entries:
            yield f"{action} is no action of AWS's"
            continue
        # With the formats an action may have, the catalogue lists that it may be granted on everything.
        formats = {entry["resource_arn_format"] for entry in entries} - {"*"} | NOT_LISTED.get(action, set())
        yield from (f"{action} is not about {resource}" for resource in resources if not _fits(resource, formats))
        known = {key.lower() for entry in entries for key in entry["condition_keys"]} | GLOBAL_KEYS
        keys = [key for operands in statement.get("Condition", {}).values() for key in operands]
        yield from (f"{action} has no condition key {key}" for key in keys if key.lower() not in known)


def _entries(action: str) -> Iterator[dict[str, Any]]:
    """Yield what the catalogue says of an action, or of all that fit one with a wildcard."""
    service, _, name = action.partition(":")
    for known in fnmatch.filter((full.partition(":")[2] for full in get_actions_for_service(service)), name):
        yield from get_action_data(service, known).get(service, [])


def _place(resource: str) -> str:
    """Return what of an ARN says whose and where it is: all but a bucket's path, a log group's stream, and a job.

    A foundation model is AWS's, wherever it runs.
    """
    if "::foundation-model/" in resource:
        return resource.rpartition("::")[2]
    head, _, tail = resource.partition(":::")
    return (
        f"{head}:::{tail.partition('/')[0]}" if tail else re.split(":log-stream:|:model-invocation-job/", resource)[0]
    )


def _fits(resource: str, formats: set[str]) -> bool:
    """Tell whether an ARN has one of the formats of the catalogue: arn:${Partition}:sqs:${Region}:…"""
    return not formats or any(re.fullmatch(_pattern(arn_format), resource) for arn_format in formats)


def _pattern(arn_format: str) -> str:
    parts = re.split(r"\$\{(\w+)\}", arn_format)
    names = [_name_pattern(name) for name in parts[1::2]]
    return "".join(re.escape(text) + name for text, name in zip(parts[::2], [*names, ""], strict=True))


def _name_pattern(name: str) -> str:
    if name in NAMES_WITH_COLONS:
        return "[^/]+"
    return "[^:]+" if name in NAMES_WITH_SLASHES else "[^/:]+"
