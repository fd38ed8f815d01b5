"""A job's dead letters, read as a stream: there may be 50,000 of 32 KB."""

import tempfile
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from yorutsuke_common.aws.output_files import CHUNK_BYTES
from yorutsuke_common.object_keys import dead_letters_key
from yorutsuke_common.records.lines import Line, split_lines
from yorutsuke_common.schema import DeadLetter, Reason, problems

from .errors import NotFoundError, UnfinishedError
from .stage import Stage


@dataclass
class Tally:
    """How many letters there are, by reason, and the first few of those that were asked for."""

    limit: int
    by_reason: Counter[Reason] = field(default_factory=Counter[Reason])
    first: list[DeadLetter] = field(default_factory=list[DeadLetter])

    @property
    def count(self) -> int:
        """How many letters there are."""
        return self.by_reason.total()

    def add(self, letter: DeadLetter, *, wanted: bool = True) -> None:
        """Count a letter, and keep it if it is wanted and there is room."""
        self.by_reason[letter.reason] += 1
        if wanted and len(self.first) < self.limit:
            self.first.append(letter)


def read_letters(stage: Stage, job_id: str) -> Iterator[tuple[Line, DeadLetter]]:
    """Yield each dead letter of a job, as its line and read; none where the job has no file of them.

    Raises NotFoundError where a line is no dead letter.
    """
    key = dead_letters_key(job_id)
    s3 = stage.clients.s3
    try:
        body = s3.get_object(Bucket=stage.settings.images_bucket, Key=key)["Body"]
    except s3.exceptions.NoSuchKey:
        return
    with closing(body):
        for line in split_lines(body.iter_chunks(CHUNK_BYTES)):
            try:
                yield line, DeadLetter.model_validate_json(line.content)
            except ValidationError as exc:
                raise NotFoundError(
                    f"line {line.number} of {key!r} is no dead letter ({problems(exc.errors(include_input=False))}): "
                    "somebody else wrote it; replay the job's output to have the file written anew."
                ) from exc


@contextmanager
def exported(file: Path) -> Generator[IO[bytes]]:
    """Open a file to be written: it is there once it is whole, and for its owner alone: it holds people's data.

    Raises UnfinishedError where it cannot be written; nothing is left of it then.
    """
    try:
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}.", delete=False) as draft:
            try:
                yield draft
                draft.flush()
                Path(draft.name).replace(file)
            except BaseException:
                Path(draft.name).unlink()
                raise
    except OSError as exc:
        raise UnfinishedError(
            f"{str(file)!r} cannot be written ({exc.strerror}): name a file in a folder that can be written to and has "
            "room."
        ) from exc
