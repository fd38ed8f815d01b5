"""Reads the lines of an output file, once per image, in chunks."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from yorutsuke_common.schema import DeadLetter, Reason

from .lines import Line
from .parser import ParsedRecord, RecordParser

CHUNK_RECORDS = 1000
"""Maximum number of parsed records in a chunk, and of dead letters.

DeleteObjects accepts as many keys. It also limits memory: a parsed record and a dead letter may each hold 32 KB.
"""


@dataclass
class RecordChunk:
    """Consecutive lines of an output file, as parsed records and dead letters."""

    parsed: list[ParsedRecord] = field(default_factory=list[ParsedRecord])
    rejected: list[DeadLetter] = field(default_factory=list[DeadLetter])

    @property
    def is_full(self) -> bool:
        """Whether the chunk must not grow."""
        return len(self.parsed) == CHUNK_RECORDS or len(self.rejected) == CHUNK_RECORDS

    def image_ids(self) -> Iterator[str]:
        """Yield the ids of the images that the lines name."""
        yield from (record.transaction.imageId for record in self.parsed)
        yield from (letter.imageId for letter in self.rejected if letter.imageId)


def read_chunks(lines: Iterable[Line], parser: RecordParser) -> Iterator[RecordChunk]:
    """Yield the lines in chunks. Only the first record of an image is kept; a repeat becomes a dead letter."""
    seen: set[str] = set()
    chunk = RecordChunk()
    for line in lines:
        match parser.parse(line):
            case DeadLetter() as letter:
                chunk.rejected.append(letter)
            case ParsedRecord(transaction=transaction) as record if transaction.transactionId in seen:
                detail = "an earlier record of this output file has the same image id"
                chunk.rejected.append(record.reject(Reason.DUPLICATE_IMAGE, detail))
            case record:
                seen.add(record.transaction.transactionId)
                chunk.parsed.append(record)
        if chunk.is_full:
            yield chunk
            chunk = RecordChunk()
    if chunk.parsed or chunk.rejected:
        yield chunk
