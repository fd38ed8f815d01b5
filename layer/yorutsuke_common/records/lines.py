"""Splits a stream of bytes into lines, with bounded memory.

An output file may have gigabytes, because Bedrock repeats each request with its image. A damaged file may lack its
newlines.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MAX_LINE_BYTES = 32 * 1024 * 1024
"""Maximum length of a line, in bytes. Above Bedrock's largest request: 25 MB for a Nova request with inline images."""

BOM = b"\xef\xbb\xbf"
GZIP_MAGIC = b"\x1f\x8b\x08"
"""The first bytes of every gzip file: two fixed ones, and the compression method "deflate", the only one.

JSON text cannot begin with them. Source: RFC 1952, section 2.3.1.
"""


@dataclass(frozen=True)
class Line:
    """A line that is not blank, without its newline. `number` counts from 1 and includes blank lines.

    If the line is too long, `content` holds its first MAX_LINE_BYTES bytes.
    """

    number: int
    content: bytes
    too_long: bool = False


def split_lines(chunks: Iterable[bytes], max_line_bytes: int = MAX_LINE_BYTES) -> Iterator[Line]:
    """Yield the lines of a stream that are not blank, holding at most `max_line_bytes` and one chunk."""
    number = 1
    partial = _PartialLine(max_line_bytes)
    for chunk in chunks:
        *complete, rest = chunk.split(b"\n")
        for piece in complete:
            partial.add(piece)
            yield from _lines(number, partial)
            number += 1
            partial = _PartialLine(max_line_bytes)
        partial.add(rest)
    yield from _lines(number, partial)


class _PartialLine:
    """The pieces of a line that have arrived, up to a limit."""

    def __init__(self, max_bytes: int) -> None:
        self._pieces: list[bytes] = []
        self._free_bytes = max_bytes
        self.too_long = False

    def add(self, piece: bytes) -> None:
        """Add a piece, or as much of it as fits."""
        self.too_long = self.too_long or len(piece) > self._free_bytes
        if kept := piece[: self._free_bytes]:
            self._pieces.append(kept)
            self._free_bytes -= len(kept)

    def content(self) -> bytes:
        """Return the pieces as one."""
        return b"".join(self._pieces)


def _lines(number: int, partial: _PartialLine) -> Iterator[Line]:
    content = partial.content()
    if number == 1:
        content = content.removeprefix(BOM)
    if partial.too_long or content.strip():
        yield Line(number, content, partial.too_long)
