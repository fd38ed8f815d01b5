"""AWS with latencies and little storage. It generates the objects and images that a job reads, and counts writes.

A real store would grow with the job and hide the memory that the pipeline uses. Only the item of the job is stored.
"""

import io
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from local.in_memory import InMemoryAws, Item, StoredObject, Table
from yorutsuke_common.aws.dynamodb import to_item
from yorutsuke_common.names import BATCH_INPUT_PREFIX, PROCESSED_PREFIX, UPLOADS_PREFIX
from yorutsuke_common.object_keys import output_prefix
from yorutsuke_common.schema import BatchJob, ImageStatus, JobStatus

LATENCY_SECONDS = {
    "GetItem": 0.008,
    "UpdateItem": 0.008,
    "PutItem": 0.008,
    "Query": 0.008,
    "BatchGetItem": 0.012,
    "BatchWriteItem": 0.012,
    "BatchExecuteStatement": 0.012,
    "HeadObject": 0.020,
    "GetObject": 0.030,
    "ListObjectsV2": 0.150,
    "PutObject": 0.030,
    "CopyObject": 0.040,
    "DeleteObject": 0.020,
    "DeleteObjects": 0.060,
    "CreateMultipartUpload": 0.030,
    "UploadPart": 0.100,
    "CompleteMultipartUpload": 0.200,
    "CreateModelInvocationJob": 0.300,
}
"""Latency of each operation, in seconds until the first byte of a response."""

TRANSACTIONS, BATCH_JOBS, PENDING_IMAGES = "transactions", "batch-jobs", "pending-images"
BUCKET = "images"
LAST_MODIFIED = datetime(2026, 11, 22, 18, 42, 7, tzinfo=UTC)
SUBMITTED = BatchJob(
    intentId="intent-benchmark001",
    jobId="benchmark001",
    userId="user-1",
    status=JobStatus.SUBMITTED.value,
    submitTime="2026-11-22T14:05:00Z",
)
"""The job of the processed output file."""
SECOND = SUBMITTED.model_copy(
    update={"intentId": "intent-benchmark002", "jobId": "benchmark002", "submitTime": "2026-11-22T19:00:00Z"}
)
"""Another job of the same user, for concurrent runs."""
FIRST_IMAGES, SECOND_IMAGES = "img-", "two-"
"""The prefixes of the image ids of the two jobs. They have the same length, and so do the output files."""
WAITING_IMAGES = "new-"
"""The prefix of the ids of images that no job has read."""
CONTENT = b""
"""The content from which the ETag of every object is derived."""
ETAG = StoredObject(CONTENT, LAST_MODIFIED).etag
PARTITION_UNITS = 1_000
"""Write units that a partition takes in a second.

Source: Amazon DynamoDB developer guide, "Best practices for designing and using partition keys effectively".
"""
PENDING_IMAGE = to_item(
    {
        "userId": SUBMITTED.userId,
        "md5": "0cc175b9c0f1b6a831c399e269772661",
        "uploadedAt": "2026-11-22T09:12:44Z",
        "status": ImageStatus.PENDING.value,
    }
)
"""The attributes of an image as the app writes them, except those that differ between images."""


class GeneratedBody(io.BufferedIOBase):
    """The body of a response that is generated while botocore reads it. It holds one piece at a time."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        super().__init__()
        self._pieces = iter(pieces)
        self._buffer = b""

    def read(self, amount: int | None = -1, /) -> bytes:
        """Return up to `amount` bytes, or the rest of the body."""
        if amount is None or amount < 0:
            buffered, self._buffer = self._buffer, b""
            return buffered + b"".join(self._pieces)
        while len(self._buffer) < amount and (piece := next(self._pieces, b"")):
            self._buffer += piece
        read, self._buffer = self._buffer[:amount], self._buffer[amount:]
        return read


@dataclass(frozen=True)
class GeneratedObject(StoredObject):
    """An object with content that is generated for each read."""

    content: Callable[[], Iterable[bytes]]
    length: int

    @property
    def size(self) -> int:
        """The length of the content, in bytes."""
        return self.length

    def open(self) -> io.BufferedIOBase:
        """Return the content as a response's body."""
        return GeneratedBody(self.content())


class GeneratedTable(Table):
    """A table that generates images when they are read, and counts each write under the table's name."""

    def __init__(self, name: str, keys: tuple[str, ...], written: Counter[str]) -> None:
        super().__init__(keys)
        self._name = name
        self._written = written

    def get(self, key: Item, /) -> Item | None:
        """Return the image with the key's id, or None if the table does not have images."""
        if self._name != PENDING_IMAGES:
            return None
        image_id = key["imageId"]["S"]
        image = {**PENDING_IMAGE, **key, "s3Key": {"S": f"{UPLOADS_PREFIX}{SUBMITTED.userId}/{image_id}.jpg"}}
        if image_id.startswith(WAITING_IMAGES):
            return image
        job = SECOND if image_id.startswith(SECOND_IMAGES) else SUBMITTED
        hold = {"status": ImageStatus.SUBMITTED.value, "intentId": job.intentId, "submittedAt": job.submitTime}
        return {**image, **to_item(hold), "attempts": {"N": "1"}, "uploadETag": {"S": f'"{ETAG}"'}}

    def put(self, _: Item, /) -> None:
        """Count the write of an item."""
        self._written[self._name] += 1


class ModelledAws(InMemoryAws):
    """A modelled AWS with one job of `records` records.

    `content` yields the content of every object, and `size` is its length in bytes. The output file of SECOND has the
    same records with images of its own. `written` counts the effects of calls: items put by table, objects copied and
    deleted, and bytes uploaded. `is_limited` limits the write units of the transactions' partitions.
    """

    def __init__(
        self,
        records: int,
        content: Callable[[], Iterable[bytes]],
        size: int,
        latencies: Mapping[str, float] = LATENCY_SECONDS,
        *,
        is_limited: bool = False,
    ) -> None:
        self.records = records
        self.content = content
        self.written: Counter[str] = Counter()
        self._object = GeneratedObject(CONTENT, LAST_MODIFIED, content, size)
        self._second_output = GeneratedObject(CONTENT, LAST_MODIFIED, self._second_records, size)
        tables = {
            TRANSACTIONS: GeneratedTable(TRANSACTIONS, ("userId", "transactionId"), self.written),
            PENDING_IMAGES: GeneratedTable(PENDING_IMAGES, ("imageId",), self.written),
            BATCH_JOBS: Table(("intentId",)),
        }
        if is_limited:
            tables[TRANSACTIONS].partitions = ("userId", "jobId")
            tables[TRANSACTIONS].units_per_second = PARTITION_UNITS
        for job in (SUBMITTED, SECOND):
            tables[BATCH_JOBS].put(
                to_item(job.model_dump(exclude_none=True, exclude={"processedOutputs", "outputStats"}))
            )
        super().__init__(tables, latencies=latencies)

    def find_object(self, key: str, /) -> StoredObject:
        """Return the generated object for any key."""
        return self._second_output if key.startswith(output_prefix(SECOND.jobId)) else self._object

    def keys_after(self, prefix: str, start: str, /) -> Iterator[str]:
        """Yield the keys of the waiting uploads that sort after `start`."""

        def key(number: int) -> str:
            return f"{prefix}{WAITING_IMAGES}{number:06}.jpg"

        numbers = range(self.records)
        yield from map(key, numbers[bisect_right(numbers, start, key=key) :])

    def _second_records(self) -> Iterable[bytes]:
        return (line.replace(FIRST_IMAGES.encode(), SECOND_IMAGES.encode()) for line in self.content())

    def put_object(self, key: str, _: bytes, /) -> None:
        """Count a copy of an image in `processed/` or in the input folder of a job, but not the manifest."""
        self.written["copied"] += key.startswith((PROCESSED_PREFIX, BATCH_INPUT_PREFIX)) and not key.endswith(".jsonl")

    def delete_object(self, _: str, /) -> None:
        """Count a deletion."""
        self.written["deleted"] += 1

    def put_part(self, _: str, __: int, body: bytes, /) -> str:
        """Count the bytes of a part."""
        self.written["uploaded"] += len(body)
        return ""
