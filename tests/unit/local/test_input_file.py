"""The demo recognizes a file that is not an output file."""

import gzip
import os
from pathlib import Path

import pytest

from local.errors import InputFileError
from local.input_file import image_ids_in

ROOT = Path(__file__).parents[3]
RECORD = b'{"customData": "img-1", "output": {"text": "{}"}}'
RULE = "An output file has one JSON object per line. "
NOT_RECORDS = {
    "empty": (b"", "is empty."),
    "byte order mark": (b"\xef\xbb\xbf", "is empty."),
    "blank lines": (b"\n \r\n\n", "is empty."),
    "gzip": (gzip.compress(RECORD), "looks like a gzip file."),
    "gzip header": (b"\x1f\x8b\x08", "looks like a gzip file."),
    "CSV": (b"imageId,amount\nimg-1,1280\n", "looks like a CSV file with 2 columns."),
    "CSV with quotes": (b'a,b,c\n"x, y","z\nz",1\n', "looks like a CSV file with 3 columns."),
    "CSV of Excel": ("金額;店\r\n1280;喫茶星\r\n".encode("cp932"), "looks like a CSV file with 2 columns."),
    "TSV": (b"a\tb\n1\t2", "looks like a CSV file with 2 columns."),
    "text": (b"# Title\n\nOne, two, three.\n", "does not have a line with a JSON object."),
    "one word": (b"text", "does not have a line with a JSON object."),
    "array": (b"[" + RECORD + b"]", "does not have a line with a JSON object."),
    "binary": (b"\x00\xff,\x00\n\x00", "does not have a line with a JSON object."),
    "long field": (b'"' + b"x" * 200_000, "does not have a line with a JSON object."),
}
"""Contents that are not output files, and their descriptions."""


@pytest.mark.parametrize("kind", NOT_RECORDS)
def test_file_without_records_is_described(tmp_path: Path, kind: str) -> None:
    content, described = NOT_RECORDS[kind]
    file = tmp_path / "input.jsonl"
    file.write_bytes(content)

    with pytest.raises(InputFileError) as raised:
        image_ids_in(file)

    assert str(raised.value).startswith(f"input {str(file)!r} {described} {RULE}")


def test_pipe_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    for file in (pipe, Path(os.devnull), tmp_path):
        with pytest.raises(InputFileError, match=r"is not a regular file\. Write its content to one first\."):
            image_ids_in(file)


def test_contributing_page_is_not_an_output_file() -> None:
    with pytest.raises(InputFileError, match="does not have a line with a JSON object"):
        image_ids_in(ROOT / "CONTRIBUTING.md")


@pytest.mark.parametrize(
    ("content", "image_ids"),
    [
        (RECORD, ["img-1"]),
        (b"\xef\xbb\xbf" + RECORD, ["img-1"]),
        (b"a,b\n1,2\n  " + RECORD + b"\n" + RECORD, ["img-1"]),
        (b'{"customData": "img-2"', []),
    ],
)
def test_file_with_one_record_is_accepted(tmp_path: Path, content: bytes, image_ids: list[str]) -> None:
    file = tmp_path / "input.jsonl"
    file.write_bytes(content)

    assert image_ids_in(file) == image_ids


def test_missing_file_is_described() -> None:
    with pytest.raises(InputFileError, match=r"'nowhere.jsonl' cannot be read \(No such file or directory\)"):
        image_ids_in(Path("nowhere.jsonl"))
