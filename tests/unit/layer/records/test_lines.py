"""Splitting a stream into numbered lines. A line is stored only up to the maximum length."""

import gzip
import tracemalloc
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.layer.samples import EXTRACTED_AT
from yorutsuke_common.aws.output_files import CHUNK_BYTES, open_output
from yorutsuke_common.errors import CompressedOutputError
from yorutsuke_common.records.lines import GZIP_MAGIC, MAX_LINE_BYTES, Line, split_lines

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BOM = b"\xef\xbb\xbf"
PIECES = st.one_of(
    st.sampled_from([b"\n", b"\r\n", b" ", b"\t", b"\n\n", b"{}", BOM, BOM[:1], BOM[1:]]), st.binary(max_size=12)
)


def lines_of(content: bytes) -> list[Line]:
    """Return the lines that `split_lines` documents, split in memory."""
    numbered = enumerate(content.removeprefix(BOM).split(b"\n"), start=1)
    return [Line(number, line) for number, line in numbered if line.strip()]


@given(st.lists(PIECES))
@example([])
@example([b""])
@example([BOM[:2], BOM[2:] + b"a\nb"])
@example([b"a", b"\n", b"b"])
def test_lines_do_not_depend_on_the_chunks(chunks: list[bytes]) -> None:
    assert list(split_lines(chunks)) == lines_of(b"".join(chunks))


@given(st.lists(st.sampled_from([b"\n", b"a", b"bb", b"ccccc"])), st.integers(min_value=1, max_value=4))
def test_line_is_too_long_above_its_maximum(chunks: list[bytes], bound: int) -> None:
    all_lines = lines_of(b"".join(chunks))

    expected = [Line(line.number, line.content[:bound], len(line.content) > bound) for line in all_lines]
    assert list(split_lines(chunks, bound)) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a\nb\n", [Line(1, b"a"), Line(2, b"b")]),
        (b"a\nb", [Line(1, b"a"), Line(2, b"b")]),
        (b"a\r\nb\r\n", [Line(1, b"a\r"), Line(2, b"b\r")]),
        (b"\n \n\r\n\t\na\n\n", [Line(5, b"a")]),
        (BOM + b"a\nb", [Line(1, b"a"), Line(2, b"b")]),
        (BOM + b"\na", [Line(2, b"a")]),
        (BOM, []),
        (b"a\n" + BOM + b"b", [Line(1, b"a"), Line(2, BOM + b"b")]),
        (b"\n" + BOM + b"b", [Line(2, BOM + b"b")]),
        (b"\xff\x00\n\xe2\x80\xa8", [Line(1, b"\xff\x00"), Line(2, b"\xe2\x80\xa8")]),
        (b"", []),
    ],
)
def test_lines_are_numbered_and_blank_lines_skipped(content: bytes, expected: list[Line]) -> None:
    assert list(split_lines([content])) == expected


def test_endless_line_uses_limited_memory() -> None:
    chunk = b"x" * 65_536
    tracemalloc.start()
    lines = list(split_lines((chunk for _ in range(1_000)), max_line_bytes=1_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert lines == [Line(1, b"x" * 1_000, too_long=True)]
    assert peak < 4 * len(chunk)


def test_line_after_a_too_long_line_is_read() -> None:
    assert list(split_lines([b"aaa", b"aaa", b"\nbb\nccc\ndddd"], 3)) == [
        Line(1, b"aaa", too_long=True),
        Line(2, b"bb"),
        Line(3, b"ccc"),
        Line(4, b"ddd", too_long=True),
    ]


def test_too_long_line_of_blanks_is_not_skipped() -> None:
    """The rest of the line may not be blank, so the line must not be skipped."""
    assert list(split_lines([b"   {}"], 3)) == [Line(1, b"   ", too_long=True)]


def test_maximum_line_length_exceeds_25_megabytes() -> None:
    assert MAX_LINE_BYTES > 25_000_000


def test_line_is_yielded_before_the_next_chunk() -> None:
    def chunks() -> Iterator[bytes]:
        yield b"a\nb\nc"
        pytest.fail("the next chunk was read before the available lines were consumed")

    lines = split_lines(chunks())

    assert [next(lines), next(lines)] == [Line(1, b"a"), Line(2, b"b")]


def test_broken_connection_is_not_the_end_of_file() -> None:
    def chunks() -> Iterator[bytes]:
        yield b"a\nb"
        raise ReadTimeoutError(endpoint_url="https://s3")

    lines = split_lines(chunks())

    assert next(lines) == Line(1, b"a")
    with pytest.raises(ReadTimeoutError):
        next(lines)


@dataclass
class Body:
    """The body of a response, which records the chunk sizes of its reads."""

    content: Sequence[bytes]
    chunk_sizes: list[int] = field(default_factory=list[int])

    closed: bool = False

    def close(self) -> None:
        self.closed = True

    def iter_chunks(self, chunk_size: int) -> Iterable[bytes]:
        self.chunk_sizes.append(chunk_size)
        return self.content


@dataclass
class Bucket:
    """An S3 client with GetObject as its only operation."""

    answer: dict[str, Any] | Exception
    requests: list[dict[str, str]] = field(default_factory=list[dict[str, str]])

    def get_object(self, **request: str) -> dict[str, Any]:
        self.requests.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_open_output_uses_one_get_object() -> None:
    body = Body([b"a\n", b"b"])
    bucket = Bucket({"ETag": '"etag-1"', "LastModified": EXTRACTED_AT, "Body": body})

    with open_output(cast("S3Client", bucket), "images", "batch-output/job/output.jsonl") as output:
        assert (output.etag, output.last_modified) == ("etag-1", EXTRACTED_AT)
        assert list(output.lines()) == [Line(1, b"a"), Line(2, b"b")]
        assert not body.closed

    assert body.closed
    assert bucket.requests == [{"Bucket": "images", "Key": "batch-output/job/output.jsonl"}]
    assert body.chunk_sizes == [CHUNK_BYTES]


@pytest.mark.parametrize("content", [[], [b""], [GZIP_MAGIC[:1]], [b"{}\n", GZIP_MAGIC], [b"\n" + GZIP_MAGIC]])
def test_open_output_passes_other_content_on(content: list[bytes]) -> None:
    bucket = Bucket({"ETag": '"etag-1"', "LastModified": EXTRACTED_AT, "Body": Body(content)})

    with open_output(cast("S3Client", bucket), "images", "batch-output/job/output.jsonl") as output:
        assert list(output.lines()) == lines_of(b"".join(content))


def test_open_output_refuses_a_gzip_file_at_once() -> None:
    def content() -> Iterator[bytes]:
        yield gzip.compress(b"{}\n" * 1000)
        pytest.fail("more of the file was read")

    body = Body(cast("Sequence[bytes]", content()))
    bucket = Bucket({"ETag": '"etag-1"', "LastModified": EXTRACTED_AT, "Body": body})

    with (
        pytest.raises(CompressedOutputError, match="is a gzip file"),
        open_output(cast("S3Client", bucket), "images", "batch-output/job/output.jsonl") as output,
    ):
        list(output.lines())

    assert body.closed


def test_open_output_raises_the_error_of_s3() -> None:
    denied = ClientError({"Error": {"Code": "AccessDenied", "Message": "Access Denied"}}, "GetObject")

    opened = open_output(cast("S3Client", Bucket(denied)), "images", "batch-output/job/output.jsonl")
    with pytest.raises(ClientError) as raised, opened:
        pass

    assert raised.value is denied
