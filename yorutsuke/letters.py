"""A job's dead letters, read as a stream: there may be 50,000 of 32 KB each."""

import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from yorutsuke_common.aws.output_files import open_output
from yorutsuke_common.object_keys import dead_letters_key
from yorutsuke_common.records.lines import Line
from yorutsuke_common.schema import DeadLetter
from yorutsuke_common.validation import describe_errors

from .errors import NotFoundError, UnfinishedError
from .stage import Stage


def read_letters(stage: Stage, job_id: str) -> Iterator[tuple[Line, DeadLetter]]:
    """Yield each dead letter of a job, as its line and parsed. A job may not have a file of dead letters.

    Raises NotFoundError if a line is not a dead letter.
    """
    s3, key = stage.clients.s3, dead_letters_key(job_id)
    try:
        with open_output(s3, stage.settings.images_bucket, key) as file:
            for line in file.lines():
                yield line, _parse(line, key, stage.command("replay", job_id))
    except s3.exceptions.NoSuchKey:
        return


def _parse(line: Line, key: str, replay: str) -> DeadLetter:
    try:
        return DeadLetter.model_validate_json(line.content)
    except ValidationError as exc:
        found = describe_errors(exc)
        raise NotFoundError(
            f"line {line.number} of {key!r} is not a dead letter: {found}.",
            f"`{replay}` writes the file again.",
        ) from exc


@contextmanager
def exported(file: Path) -> Generator[IO[bytes]]:
    """Open a new file for writing. It appears when it is complete, and only its owner can read it.

    Raises UnfinishedError, and leaves nothing behind, if the file cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory(dir=file.parent) as folder:
            draft = Path(folder, file.name)
            draft.touch(mode=0o600)
            with draft.open("wb") as opened:
                yield opened
            draft.replace(file)
    except OSError as exc:
        raise UnfinishedError(
            f"{str(file)!r} cannot be written ({exc.strerror}).",
            "Name a file in a writable folder on a disk with space.",
        ) from exc
