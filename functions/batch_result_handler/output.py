"""The output object of a job, read as a stream of lines.

Neither the file nor a line is ever held whole beyond a bound: outputs reach gigabytes, since Bedrock echoes the
request, image included, in every line, and a broken writer may never end its line.
"""

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CHUNK_BYTES = 256 * 1024
MAX_LINE_BYTES = 32 * 1024 * 1024
"""Above Bedrock's largest request (25 MB for a Nova request with images in line)."""

BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Line:
    """A line that is not blank, without its newline. `number` counts from 1, blank lines included.

    Of a line that is too long, `content` is the first MAX_LINE_BYTES bytes.
    """

    number: int
    content: bytes
    too_long: bool = False


@dataclass(frozen=True)
class Output:
    """An output object, opened: `etag` without quotes, `last_modified` in UTC, `chunks` the body not yet read."""

    etag: str
    last_modified: datetime
    chunks: Iterable[bytes]

    def lines(self) -> Iterator[Line]:
        """Yield the lines that are not blank, each as soon as it has been read."""
        return split_lines(self.chunks)


@contextmanager
def opened_output(s3: "S3Client", bucket: str, key: str) -> Generator[Output]:
    """Open the object for reading: one GetObject, whose body is read as `lines` is consumed, and closed in the end.

    Raises botocore.exceptions.ClientError where the object cannot be read; a connection that breaks later raises from
    `lines` (botocore.exceptions.BotoCoreError).
    """
    response = s3.get_object(Bucket=bucket, Key=key)
    with closing(response["Body"]) as body:
        yield Output(
            etag=response["ETag"].strip('"'),
            last_modified=response["LastModified"],
            chunks=body.iter_chunks(CHUNK_BYTES),
        )


def split_lines(chunks: Iterable[bytes], max_line_bytes: int = MAX_LINE_BYTES) -> Iterator[Line]:
    """Split a stream of bytes at newlines, holding at most `max_line_bytes` and one chunk."""
    number = 1
    held = _Held(max_line_bytes)
    for chunk in chunks:
        *complete, rest = chunk.split(b"\n")
        for piece in complete:
            held.add(piece)
            yield from _line(number, held)
            number += 1
            held = _Held(max_line_bytes)
        held.add(rest)
    yield from _line(number, held)


class _Held:
    """A line so far: the pieces that it came in, up to a bound."""

    def __init__(self, room: int) -> None:
        self._pieces: list[bytes] = []
        self._room = room
        self.too_long = False

    def add(self, piece: bytes) -> None:
        """Hold another piece, or what fits of it."""
        self.too_long = self.too_long or len(piece) > self._room
        if kept := piece[: self._room]:
            self._pieces.append(kept)
            self._room -= len(kept)

    def content(self) -> bytes:
        """Return the line as it is held."""
        return b"".join(self._pieces)


def _line(number: int, held: _Held) -> Iterator[Line]:
    content = held.content()
    if number == 1:
        content = content.removeprefix(BOM)
    if held.too_long or content.strip():
        yield Line(number, content, held.too_long)
