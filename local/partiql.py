"""The PartiQL statements of the layer, for AWS in memory and for moto, which does not execute them.

Source: Amazon DynamoDB developer guide, "PartiQL insert statements" and "PartiQL update statements".
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Item = dict[str, Any]
"""An item on the wire: attribute name to typed value."""

_INSERT = re.compile(r"""INSERT INTO "([^"]+)" VALUE \{(.*)\}""")
_UPDATE = re.compile(r"""UPDATE "([^"]+)" (SET .*) WHERE (.*)""")


@dataclass(frozen=True)
class Insert:
    """A statement that writes an item unless its key exists."""

    table: str
    item: Item


@dataclass(frozen=True)
class Update:
    """A statement that changes attributes of an item if it has the values `where` and none of `missing`."""

    table: str
    changes: Item
    where: Item
    missing: Sequence[str]

    def holds(self, item: Mapping[str, Any]) -> bool:
        """Return whether an item fulfils the condition."""
        return all(item.get(name) == value for name, value in self.where.items()) and not any(
            name in item for name in self.missing
        )


def parse_statement(request: Mapping[str, Any]) -> Insert | Update:
    """Return a statement of BatchExecuteStatement. Raises NotImplementedError for other forms than the layer's."""
    statement: str = request["Statement"]
    parameters = iter(request.get("Parameters", []))
    if found := _INSERT.fullmatch(statement):
        return Insert(found[1], _assigned(re.findall(r"'([^']+)': \?", found[2]), parameters))
    if found := _UPDATE.fullmatch(statement):
        changes = _assigned(re.findall(r'SET "([^"]+)" = \?', found[2]), parameters)
        where = _assigned(re.findall(r'"([^"]+)" = \?', found[3]), parameters)
        return Update(found[1], changes, where, re.findall(r'"([^"]+)" IS MISSING', found[3]))
    raise NotImplementedError(f"the statement {statement!r} is not implemented")


def _assigned(names: list[str], parameters: Iterator[Any]) -> Item:
    return {name: next(parameters) for name in names}
