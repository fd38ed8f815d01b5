"""The inputs of one resource, each to be taken: what nobody took would silently be missing from the local stage."""

from collections.abc import Callable, Mapping
from typing import Any, cast

from .errors import UnknownResourceError

SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - it says that a value is one
"""How Pulumi marks a secret on its wire. Source: Pulumi's developer documentation, "Property values"."""


class Inputs:
    """The inputs that the Pulumi program gave a resource, in the provider's camelCase."""

    def __init__(self, resource_type: str, name: str, values: Mapping[str, Any]) -> None:
        self._what = f"{resource_type} ({name})"
        self._values = {key: value for key, value in values.items() if value is not None}
        self._nested: list[Inputs] = []

    def take(self, key: str) -> Any:
        """Return an input that has to be there. Raises UnknownResourceError."""
        if key not in self._values:
            raise UnknownResourceError(
                f"{self._what} has no input {key!r}, which the local deployer needs: set it in the Pulumi program."
            )
        return self._values.pop(key)

    def take_pascal_case(self, *keys: str) -> Any:
        """Return inputs that must be set, with the PascalCase keys of boto3. Raises UnknownResourceError."""
        return pascal_case({key: self.take(key) for key in keys})

    def take_optional(self, key: str, default: Any = None) -> Any:
        """Return an input, or the default where the program does not set it."""
        return self._values.pop(key, default)

    def take_nested(self, key: str) -> "Inputs":
        """Return an input that has inputs of its own, each to be taken as well."""
        self._nested.append(Inputs(self._what, key, self.take(key)))
        return self._nested[-1]

    def take_each(self, key: str) -> "list[Inputs]":
        """Return the entries of a list whose entries have inputs of their own; none where the list is not set."""
        entries = [Inputs(self._what, key, entry) for entry in self.take_optional(key, [])]
        self._nested += entries
        return entries

    def take_tags(self) -> list[Any]:
        """Return the tags in the form of most AWS APIs."""
        return [{"Key": key, "Value": value} for key, value in self.take("tags").items()]

    def require_all_taken(self) -> None:
        """Refuse inputs that the local deployer would ignore. Raises UnknownResourceError."""
        if self._values:
            raise UnknownResourceError(
                f"{self._what} has inputs that the local deployer does not know: {', '.join(sorted(self._values))}. "
                "Teach local/resources.py to create them."
            )
        for nested in self._nested:
            nested.require_all_taken()


def plain(value: Any) -> Any:
    """Return a value from Pulumi's wire as the program had it: whole numbers are integers, secrets what they hide."""
    if is_secret(value):
        return plain(value["value"])
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return _map_nested(value, plain)


def is_secret(value: Any) -> bool:
    """Tell whether the program made a value a secret, which Pulumi encrypts in its state."""
    return isinstance(value, dict) and cast("dict[str, Any]", value).get(SIGNATURE) == SECRET


def pascal_case(value: Any) -> Any:
    """Return nested inputs with the PascalCase keys that boto3 takes; keys it does not know, boto3 refuses."""
    return _map_nested(value, pascal_case, lambda key: key[0].upper() + key[1:])


def _map_nested(value: Any, convert: Callable[[Any], Any], rename: Callable[[str], str] = str) -> Any:
    """Return a value with each item of a dict or list converted, and the dict's keys renamed."""
    if isinstance(value, dict):
        return {rename(key): convert(item) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [convert(item) for item in cast("list[Any]", value)]
    return value
