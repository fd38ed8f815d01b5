"""The files that Bedrock writes for a job, read from the images bucket."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from yorutsuke_common.errors import CompressedOutputError
from yorutsuke_common.records.lines import GZIP_MAGIC, Line, split_lines
from yorutsuke_common.records.output_manifest import MAX_OUTPUT_MANIFEST_BYTES

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CHUNK_BYTES = 256 * 1024
"""Size of the pieces in which an object's body is read, in bytes."""


@dataclass(frozen=True)
class Output:
    """An open output file: `etag` without quotes, `last_modified` in UTC, `chunks` the body that is still unread."""

    etag: str
    last_modified: datetime
    chunks: Iterable[bytes]

    def lines(self) -> Iterator[Line]:
        """Yield the lines that are not blank, each as soon as it has been read."""
        return split_lines(self.chunks)


@contextmanager
def open_output(s3: "S3Client", bucket: str, key: str) -> Generator[Output]:
    """Open an output file with one GetObject. Consuming `lines` reads the body; leaving the context closes it.

    The content decides whether the file is compressed, because the header Content-Encoding may be missing or wrong.
    AWS does not document that Bedrock compresses its output. Source: Amazon Bedrock user guide, "View the results of a
    batch inference job".

    Raises:
        ClientError: The object cannot be read.
        BotoCoreError: The connection breaks. `lines` raises it as well.
        CompressedOutputError: `lines` raises it if the content is a gzip file.
    """
    response = s3.get_object(Bucket=bucket, Key=key)
    with closing(response["Body"]) as body:
        yield Output(
            etag=response["ETag"].strip('"'),
            last_modified=response["LastModified"],
            chunks=_uncompressed(body.iter_chunks(CHUNK_BYTES), key),
        )


def _uncompressed(chunks: Iterable[bytes], key: str) -> Iterator[bytes]:
    """Yield the chunks of an object. Raises CompressedOutputError if they are a gzip file."""
    beginning = b""
    rest = iter(chunks)
    # The connection may deliver single bytes.
    while len(beginning) < len(GZIP_MAGIC) and (chunk := next(rest, b"")):
        beginning += chunk
    if beginning.startswith(GZIP_MAGIC):
        raise CompressedOutputError(
            f"object key {key!r} is a gzip file. An output file must not be compressed. Decompress it, and upload it "
            "to the same key."
        )
    yield beginning
    yield from rest


def read_output_manifest(s3: "S3Client", bucket: str, key: str) -> tuple[str, bytes]:
    """Return the ETag and the content of an output manifest, up to one byte more than its maximum size."""
    response = s3.get_object(Bucket=bucket, Key=key)
    with closing(response["Body"]) as body:
        return response["ETag"].strip('"'), body.read(MAX_OUTPUT_MANIFEST_BYTES + 1)
