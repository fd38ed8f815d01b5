"""An output's lines, read in blocks: the good ones, the first of each image; all others are skipped with a reason."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from yorutsuke_common.schema import DeadLetter, Reason

from .output import Output
from .records import GoodLine, LineReader, rejected

BLOCK = 1000
"""Transactions taken through the steps together: the most keys that one DeleteObjects takes."""


@dataclass
class Reading:
    """One reading of one output, from its first line to its last.

    `skip` takes each line that cannot be used; `unanswered` are the images asked for that no line has named so far.
    """

    output: Output
    reader: LineReader
    skip: Callable[[DeadLetter], None]
    unanswered: set[str]
    seen: set[str] = field(default_factory=set[str])

    def blocks(self) -> Iterator[list[GoodLine]]:
        """Yield the good lines in blocks, the first one of each image; the other lines become dead letters."""
        block: list[GoodLine] = []
        for line in self.output.lines():
            read = self.reader.read(line)
            if isinstance(read, DeadLetter):
                self.unanswered.discard(read.imageId or "")
                self.skip(read)
            elif read.transaction.transactionId in self.seen:
                self.skip(rejected(read, Reason.DUPLICATE_IMAGE, "an earlier line of this output has the same image"))
            else:
                self.seen.add(read.transaction.transactionId)
                self.unanswered.discard(read.transaction.imageId)
                block.append(read)
            if len(block) == BLOCK:
                yield block
                block = []
        if block:
            yield block
