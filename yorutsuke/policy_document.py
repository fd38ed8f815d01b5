"""Whether a resource's policy lets an AWS service deliver to it, in the name of one source.

As much of IAM's evaluation as such policies have: a Deny that fits goes before every Allow, and a condition that is not
known here is taken not to hold.

Source: AWS Identity and Access Management user guide, "Policy evaluation logic".
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, cast

from .errors import UndecidedError

NAMED = {"Principal", "Action", "Resource"}
"""What a statement names, where it does not say by Not… what it is not about."""
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
    """Tell whether a policy lets a service deliver.

    Raises UndecidedError where it says so in a way that is not known here, such as by what it does not name.
    """
    effects = {statement["Effect"] for statement in _fitting(json.loads(document), delivery)}
    return effects == {"Allow"}


def _fitting(document: Mapping[str, Any], delivery: Delivery) -> Iterator[Mapping[str, Any]]:
    for statement in _statements(document):
        _require_named(statement)
        principal = statement["Principal"]
        services = ["*"] if principal == "*" else _listed(principal.get("Service", principal.get("AWS", [])))
        fits = (
            _any_like(services, delivery.service)
            and _any_like(map(str.lower, _listed(statement["Action"])), delivery.action.lower())
            and _any_like(_listed(statement["Resource"]), delivery.resource)
        )
        conditions: Mapping[str, Any] = statement.get("Condition", {})
        if fits and all(_holds(operator, conditions[operator], delivery.context()) for operator in conditions):
            yield statement


def _statements(document: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    # One alone need not be in a list.
    found: Any = document.get("Statement", [])
    return cast("list[Mapping[str, Any]]", [found] if isinstance(found, dict) else found)


def _require_named(statement: Mapping[str, Any]) -> None:
    if missing := sorted(NAMED - statement.keys()):
        raise UndecidedError(
            f"statement {statement.get('Sid', '(without a Sid)')!r} of the policy has no {', '.join(missing)}: what it "
            "means is not known here. Read it, or deploy the stage again to have the stage's own."
        )


def _holds(operator: str, compared: Mapping[str, Any], context: Mapping[str, str]) -> bool:
    return operator in OPERATORS and all(
        _any_like(_listed(values), context.get(key.lower(), "")) for key, values in compared.items()
    )


def _any_like(patterns: Any, value: str) -> bool:
    # Brackets mean nothing to IAM.
    return any(fnmatchcase(value, pattern.replace("[", "[[]")) for pattern in patterns)


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [*value]
