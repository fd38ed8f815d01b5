"""The stream of lines: every line with its number, none held beyond the bound."""

import tracemalloc
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.layer.samples import EXTRACTED_AT
from yorutsuke_common.aws.output_files import CHUNK_BYTES, Output, open_output
from yorutsuke_common.records.lines import MAX_LINE_BYTES, Line, split_lines

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BOM = b"\xef\xbb\xbf"
PIECES = st.one_of(
    st.sampled_from([b"\n", b"\r\n", b" ", b"\t", b"\n\n", b"{}", BOM, BOM[:1], BOM[1:]]), st.binary(max_size=12)
)


def lines_of(content: bytes) -> list[Line]:
    """Return what `split_lines` documents, the plain way: with everything in memory."""
    numbered = enumerate(content.removeprefix(BOM).split(b"\n"), start=1)
    return [Line(number, line) for number, line in numbered if line.strip()]


@given(st.lists(PIECES))
@example([])
@example([b""])
@example([BOM[:2], BOM[2:] + b"a\nb"])
@example([b"a", b"\n", b"b"])
def test_any_chunking_of_any_bytes_gives_the_lines_of_the_whole(chunks: list[bytes]) -> None:
    assert list(split_lines(chunks)) == lines_of(b"".join(chunks))


@given(st.lists(st.sampled_from([b"\n", b"a", b"bb", b"ccccc"])), st.integers(min_value=1, max_value=4))
def test_a_line_is_too_long_exactly_where_it_exceeds_the_bound(chunks: list[bytes], bound: int) -> None:
    whole = lines_of(b"".join(chunks))

    expected = [Line(line.number, line.content[:bound], len(line.content) > bound) for line in whole]
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
def test_lines_are_counted_from_1_and_blank_ones_are_no_records(content: bytes, expected: list[Line]) -> None:
    assert list(split_lines([content])) == expected


def test_a_line_that_never_ends_is_held_only_up_to_the_bound() -> None:
    chunk = b"x" * 65_536
    tracemalloc.start()
    lines = list(split_lines((chunk for _ in range(1_000)), max_line_bytes=1_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert lines == [Line(1, b"x" * 1_000, too_long=True)]
    assert peak < 4 * len(chunk)


def test_the_line_after_a_too_long_one_is_read() -> None:
    assert list(split_lines([b"aaa", b"aaa", b"\nbb\nccc\ndddd"], 3)) == [
        Line(1, b"aaa", too_long=True),
        Line(2, b"bb"),
        Line(3, b"ccc"),
        Line(4, b"ddd", too_long=True),
    ]


def test_a_too_long_line_that_begins_with_blanks_is_not_dropped() -> None:
    """What follows the bound is not known to be blank: nothing is lost unseen."""
    assert list(split_lines([b"   {}"], 3)) == [Line(1, b"   ", too_long=True)]


def test_the_bound_is_above_the_largest_request_that_bedrock_echoes() -> None:
    assert MAX_LINE_BYTES > 25_000_000


def test_a_line_is_yielded_before_the_next_chunk_is_read() -> None:
    def chunks() -> Iterator[bytes]:
        yield b"a\nb\nc"
        pytest.fail("read on before the lines at hand were taken")

    lines = split_lines(chunks())

    assert [next(lines), next(lines)] == [Line(1, b"a"), Line(2, b"b")]


def test_a_connection_that_breaks_is_no_end_of_file() -> None:
    def chunks() -> Iterator[bytes]:
        yield b"a\nb"
        raise ReadTimeoutError(endpoint_url="https://s3")

    lines = split_lines(chunks())

    assert next(lines) == Line(1, b"a")
    with pytest.raises(ReadTimeoutError):
        next(lines)


@dataclass
class Body:
    """A response's body, which notes the sizes it is read in."""

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
    """An S3 client whose only call is GetObject."""

    answer: dict[str, Any] | Exception
    asked: list[dict[str, str]] = field(default_factory=list[dict[str, str]])

    def get_object(self, **request: str) -> dict[str, Any]:
        self.asked.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_an_output_is_opened_with_one_get_object_and_read_in_chunks() -> None:
    body = Body([b"a\n", b"b"])
    bucket = Bucket({"ETag": '"etag-1"', "LastModified": EXTRACTED_AT, "Body": body})

    with open_output(cast("S3Client", bucket), "images", "batch-output/job/output.jsonl") as output:
        assert output == Output("etag-1", EXTRACTED_AT, body.content)
        assert list(output.lines()) == [Line(1, b"a"), Line(2, b"b")]
        assert not body.closed

    assert body.closed
    assert bucket.asked == [{"Bucket": "images", "Key": "batch-output/job/output.jsonl"}]
    assert body.chunk_sizes == [CHUNK_BYTES]


def test_an_output_that_cannot_be_read_raises_what_s3_said() -> None:
    denied = ClientError({"Error": {"Code": "AccessDenied", "Message": "Access Denied"}}, "GetObject")

    opened = open_output(cast("S3Client", Bucket(denied)), "images", "batch-output/job/output.jsonl")
    with pytest.raises(ClientError) as raised, opened:
        pass

    assert raised.value is denied
