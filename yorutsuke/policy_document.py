"""Whether a resource's policy lets an AWS service deliver to it, in the name of one source.

As much of IAM's evaluation as such policies have: a Deny that fits goes before every Allow, and a condition that is not
known here is taken not to hold.

Source: AWS Identity and Access Management user guide, "Policy evaluation logic".
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

OPERATORS = {"ArnEquals", "ArnLike", "StringEquals", "StringLike"}


@dataclass(frozen=True)
class Delivery:
    """A service that acts on a resource in the name of a source."""

    service: str
    source: str
    action: str
    resource: str

    def context(self) -> Mapping[str, str]:
        """Return what conditions may compare, by names in small letters."""
        return {"aws:sourcearn": self.source, "aws:sourceaccount": self.source.split(":")[4]}


def lets(document: str, delivery: Delivery) -> bool:
    """Tell whether a policy lets a service deliver."""
    effects = {statement["Effect"] for statement in _fitting(json.loads(document), delivery)}
    return effects == {"Allow"}


def _fitting(document: Mapping[str, Any], delivery: Delivery) -> Iterator[Mapping[str, Any]]:
    for statement in document.get("Statement", []):
        principal = statement.get("Principal", {})
        services = ["*"] if principal == "*" else _listed(principal.get("Service", principal.get("AWS", [])))
        fits = (
            _any_like(services, delivery.service)
            and _any_like(map(str.lower, _listed(statement["Action"])), delivery.action.lower())
            and _any_like(_listed(statement["Resource"]), delivery.resource)
        )
        conditions: Mapping[str, Any] = statement.get("Condition", {})
        if fits and all(_holds(operator, conditions[operator], delivery.context()) for operator in conditions):
            yield statement


def _holds(operator: str, compared: Mapping[str, Any], context: Mapping[str, str]) -> bool:
    return operator in OPERATORS and all(
        _any_like(_listed(values), context.get(key.lower(), "")) for key, values in compared.items()
    )


def _any_like(patterns: Any, value: str) -> bool:
    # Brackets mean nothing to IAM.
    return any(fnmatchcase(value, pattern.replace("[", "[[]")) for pattern in patterns)


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [*value]
