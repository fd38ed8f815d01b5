"""A linter of policies that knows AWS's own catalogue of actions, resources and condition keys.

The catalogue is policy-sentry's copy of the service authorization reference. parliament, a linter with rules of its
own, was looked at: its copy is from April 2025, and it imports pkg_resources, which setuptools has dropped.
"""

import re
from collections.abc import Iterator
from typing import Any

from policy_sentry.querying.actions import get_action_data

GLOBAL_KEYS = {"aws:securetransport", "aws:sourceaccount", "aws:sourcearn"}
"""Of every action. Source: IAM user guide, "AWS global condition context keys"."""
NAMES_WITH_SLASHES = {"ObjectName", "LogGroupName"}


def problems(statement: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with a statement; all of its actions are of one service."""
    # A trust policy is about the role that it belongs to, and names none.
    resources = _listed(statement.get("Resource", []))
    for action in _listed(statement["Action"]):
        if "*" in action:
            if statement["Effect"] == "Allow":
                yield f"{action} allows more than one action"
            continue
        service, _, name = action.partition(":")
        entries = get_action_data(service, name).get(service, [])
        if not entries:
            yield f"{action} is no action of AWS's"
            continue
        # With the formats an action may have, the catalogue lists that it may be granted on everything.
        formats = {entry["resource_arn_format"] for entry in entries} - {"*"}
        yield from (f"{action} is not about {resource}" for resource in resources if not _fits(resource, formats))
        known = {key.lower() for entry in entries for key in entry["condition_keys"]} | GLOBAL_KEYS
        keys = [key for operands in statement.get("Condition", {}).values() for key in operands]
        yield from (f"{action} has no condition key {key}" for key in keys if key.lower() not in known)


def _fits(resource: str, formats: set[str]) -> bool:
    """Tell whether an ARN has one of the formats of the catalogue: arn:${Partition}:sqs:${Region}:…"""
    return not formats or any(re.fullmatch(_pattern(arn_format), resource) for arn_format in formats)


def _pattern(arn_format: str) -> str:
    parts = re.split(r"\$\{(\w+)\}", arn_format)
    names = ["[^:]+" if name in NAMES_WITH_SLASHES else "[^/:]+" for name in parts[1::2]]
    return "".join(re.escape(text) + name for text, name in zip(parts[::2], [*names, ""], strict=True))


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value
