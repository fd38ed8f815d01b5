"""The limit on the number of JSON values in a text, checked before the text is parsed."""

from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

MAX_VALUES = 1_000_000
"""Maximum number of values in a line or a reply, counted by commas and opening brackets.

A parsed value takes up to a hundred times the memory of its text, as in `[0,0,…]`. The image that a line repeats is one
value.
"""

FEW_VALUES = 10_000
"""Number of values up to which finding each one is faster than counting bytes."""


def has_too_many_values(content: bytes | str) -> bool:
    """Return whether a text may hold more than MAX_VALUES values.

    A reply needs its own check: inside its line, it may hide its commas and brackets in escapes.
    """
    if len(content) <= MAX_VALUES:
        return False
    beginnings: list[Any] = [b",", b"[", b"{"] if isinstance(content, bytes) else [",", "[", "{"]
    # `find` passes over an image at the speed of memory. `count` looks at each byte, but many matches do not slow it.
    few = islice(chain.from_iterable(_positions(content, beginning) for beginning in beginnings), FEW_VALUES)
    if sum(1 for _ in few) < FEW_VALUES:
        return False
    return sum(map(content.count, beginnings)) > MAX_VALUES


def _positions(content: bytes | str, beginning: Any) -> Iterator[int]:
    position = content.find(beginning)
    while position >= 0:
        yield position
        position = content.find(beginning, position + 1)
