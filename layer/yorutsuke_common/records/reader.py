"""Reads the lines of an output file, once per image, in chunks of bounded memory."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from yorutsuke_common.schema import DeadLetter, Reason

from .lines import Line
from .parser import ParsedRecord, RecordParser

CHUNK_RECORDS = 1000
"""Maximum number of parsed records in a chunk, and of dead letters. DeleteObjects accepts as many keys."""
CHUNK_RECORD_BYTES = 4 * 1024 * 1024
"""Size at which a chunk is full, in bytes of its records' JSON: 4 KB for each of 1,000 records.

Limits memory. Up to four chunks are held at once, and a record has up to 32 KB. The texts of its transaction may take
four times the memory of their JSON.
"""


@dataclass
class RecordChunk:
    """Consecutive lines of an output file, as parsed records and dead letters."""

    parsed: list[ParsedRecord] = field(default_factory=list[ParsedRecord])
    rejected: list[DeadLetter] = field(default_factory=list[DeadLetter])
    record_bytes: int = 0

    def add(self, result: ParsedRecord | DeadLetter) -> None:
        """Add the result of parsing a line."""
        if isinstance(result, DeadLetter):
            self.rejected.append(result)
        else:
            self.parsed.append(result)
        self.record_bytes += len(result.record)

    @property
    def is_full(self) -> bool:
        """Whether the chunk must not grow."""
        return max(len(self.parsed), len(self.rejected)) == CHUNK_RECORDS or self.record_bytes >= CHUNK_RECORD_BYTES

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
            case ParsedRecord(transaction=transaction) as record if transaction.transactionId in seen:
                detail = "an earlier record of this output file has the same image id"
                chunk.add(record.reject(Reason.DUPLICATE_IMAGE, detail))
            case ParsedRecord(transaction=transaction) as record:
                seen.add(transaction.transactionId)
                chunk.add(record)
            case letter:
                chunk.add(letter)
        if chunk.is_full:
            yield chunk
            chunk = RecordChunk()
    if chunk.parsed or chunk.rejected:
        yield chunk
