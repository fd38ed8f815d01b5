"""The file that the demo's option `--input` names, checked before the stage starts."""

import csv
import io
import stat
from pathlib import Path
from typing import IO

from yorutsuke_common.records.dead_letter import dead_letter
from yorutsuke_common.records.lines import GZIP_MAGIC, Line, split_lines
from yorutsuke_common.records.record import image_id_of, parse_record
from yorutsuke_common.records.rejection import Rejection

from .errors import InputFileError

SAMPLE_BYTES = 64 * 1024
"""Number of bytes in which the rows of a CSV file are looked for."""


def image_ids_in(file: Path) -> list[str]:
    """Return the image ids that an output file names, each once.

    Raises:
        InputFileError: The file is not a regular file, it cannot be read, or none of its lines is a JSON object.
    """
    try:
        # A pipe would wait for a writer, and can be read only once.
        if not stat.S_ISREG(file.stat().st_mode):
            raise InputFileError(f"input {str(file)!r} is not a regular file. Write its content to one first.")
        with file.open("rb") as content:
            if problem := _problem(content):
                raise InputFileError(f"input {str(file)!r} {problem}")
            content.seek(0)
            return list(dict.fromkeys(filter(None, map(_image_id, split_lines(content)))))
    except OSError as exc:
        raise InputFileError(f"input {str(file)!r} cannot be read ({exc.strerror}). Name a JSONL output file.") from exc


def _image_id(line: Line) -> str | None:
    try:
        return image_id_of(parse_record(line))
    except Rejection as rejection:
        return dead_letter(line, None, rejection).imageId


def _problem(content: IO[bytes]) -> str | None:
    """Return a description of a file that is not an output file, with the rule and the remedy."""
    rule = "An output file has one JSON object per line."
    sample = content.read(SAMPLE_BYTES)
    if sample.startswith(GZIP_MAGIC):
        return f"looks like a gzip file. {rule} Decompress the file first."
    content.seek(0)
    is_empty = True
    for line in split_lines(content):
        # A damaged object is a record as well. The pipeline makes it a dead letter.
        if line.content.lstrip().startswith(b"{"):
            return None
        is_empty = False
    if is_empty:
        return f"is empty. {rule} Name a file with records."
    if columns := _columns(sample):
        return f"looks like a CSV file with {columns} columns. {rule} Write each row as a record."
    return f"does not have a line with a JSON object. {rule} Name a JSONL output file."


def _columns(sample: bytes) -> int | None:
    """Return the number of columns if the first two rows of a CSV file have the same number, above one."""
    text = sample.decode(errors="replace")
    for delimiter in ",;\t":
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        lengths = [len(row) for row in rows if row][:2]
        if len(lengths) > 1 and lengths[0] == lengths[1] > 1:
            return lengths[0]
    return None
