"""The inputs of one resource. A creator must take each input, so that the local stage cannot silently lack one."""

from collections.abc import Callable, Mapping
from typing import Any, cast

from .errors import UnknownResourceError

SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - a marker, not a secret
"""The marker of a secret in Pulumi's wire format. Source: Pulumi's developer documentation, "Property values"."""


class Inputs:
    """The inputs that the Pulumi program gave a resource, in the provider's camelCase."""

    def __init__(self, resource_type: str, name: str, values: Mapping[str, Any]) -> None:
        self._resource = f"{resource_type} ({name})"
        self._values = {key: value for key, value in values.items() if value is not None}
        self._nested: list[Inputs] = []

    def take(self, key: str) -> Any:
        """Return a required input. Raises UnknownResourceError if the program does not set it."""
        if key not in self._values:
            raise UnknownResourceError(
                f"{self._resource} does not set the input {key!r}, which the local deployer needs. Set it in the "
                "Pulumi program."
            )
        return self._values.pop(key)

    def take_pascal_case(self, *keys: str) -> Any:
        """Return required inputs, with the PascalCase keys of boto3. Raises UnknownResourceError."""
        return pascal_case({key: self.take(key) for key in keys})

    def take_optional(self, key: str, default: Any = None) -> Any:
        """Return an input, or the default if the program does not set it."""
        return self._values.pop(key, default)

    def take_nested(self, key: str) -> "Inputs":
        """Return an input that has nested inputs. Each nested input must be taken as well."""
        self._nested.append(Inputs(self._resource, key, self.take(key)))
        return self._nested[-1]

    def take_each(self, key: str) -> "list[Inputs]":
        """Return the entries of a list as nested inputs, or an empty list if the program does not set it."""
        entries = [Inputs(self._resource, key, entry) for entry in self.take_optional(key, [])]
        self._nested += entries
        return entries

    def take_tags(self) -> list[Any]:
        """Return the tags in the form of most AWS APIs."""
        return [{"Key": key, "Value": value} for key, value in self.take("tags").items()]

    def require_all_taken(self) -> None:
        """Refuse inputs that the local deployer would ignore. Raises UnknownResourceError."""
        if self._values:
            raise UnknownResourceError(
                f"{self._resource} has inputs that the local deployer does not support: "
                f"{', '.join(sorted(self._values))}. Add them to the creator in local/resources.py."
            )
        for nested in self._nested:
            nested.require_all_taken()


def plain(value: Any) -> Any:
    """Return a value of Pulumi's wire format as the program set it, with integers and with secrets in plain text."""
    if is_secret(value):
        return plain(value["value"])
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return _map_nested(value, plain)


def is_secret(value: Any) -> bool:
    """Return whether the program made a value a secret, which Pulumi encrypts in its state."""
    return isinstance(value, dict) and cast("dict[str, Any]", value).get(SIGNATURE) == SECRET


def pascal_case(value: Any) -> Any:
    """Return nested inputs with PascalCase keys, as boto3 expects them. boto3 refuses unknown keys."""
    return _map_nested(value, pascal_case, lambda key: key[0].upper() + key[1:])


def camel_case(value: Any) -> Any:
    """Return nested members of a response of boto3 with camelCase keys, as the provider's inputs have them."""
    return _map_nested(value, camel_case, lambda key: key[0].lower() + key[1:])


def _map_nested(value: Any, convert: Callable[[Any], Any], rename: Callable[[str], str] = str) -> Any:
    """Return a value with each item of a dict or list converted, and the dict's keys renamed."""
    if isinstance(value, dict):
        return {rename(key): convert(item) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [convert(item) for item in cast("list[Any]", value)]
    return value
