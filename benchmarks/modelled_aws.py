"""AWS with latencies and little storage. It generates the objects and images that a job reads, and counts writes.

A real store would grow with the job and hide the memory that the pipeline uses. Only the items of the jobs are stored,
and the hold of each waiting image. All images of a job share one hold.
"""

import io
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from botocore.awsrequest import AWSResponse

from local.in_memory import (
    IMAGE_STATUS_ATTRIBUTES,
    Fault,
    InMemoryAws,
    Item,
    Parameters,
    StoredObject,
    Table,
)
from local.wire import json_response
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
WAITING_IMAGES = "00000000-0000-4000-8000-"
"""The prefix of the ids of images that no job has read. The ids have the length of UUIDs, on which the size of a page
of the index depends."""
USERS = "user-"
"""The prefix of the ids of users."""
HOLD_ATTRIBUTES = ("status", "intentId", "submittedAt", "attempts", "uploadETag")
"""The attributes of an image that a submission changes."""
MAX_PAGE_BYTES = 1024**2
"""Maximum size of the items in a page of a Query. Source: Amazon DynamoDB API reference, Query (1 MB)."""
CONTENT = b""
"""The content from which the ETag of every object is derived."""
ETAG = StoredObject(CONTENT, LAST_MODIFIED).etag
PARTITION_UNITS = 1_000
"""Write units that a partition takes in a second.

Source: Amazon DynamoDB developer guide, "Best practices for designing and using partition keys effectively".
"""
PENDING_IMAGE = to_item(
    {
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


class CountedTable(Table):
    """A table that counts each write under its name, and stores none."""

    def __init__(self, name: str, keys: tuple[str, ...], written: Counter[str]) -> None:
        super().__init__(keys)
        self._name = name
        self._written = written

    def put(self, _: Item, /) -> None:
        """Count the write of an item."""
        self._written[self._name] += 1


class ImageTable(CountedTable):
    """The images of the processed jobs, and `count` waiting images of `users` users. It generates them for each read.

    It stores only the changes that submissions make to the waiting images.
    """

    def __init__(self, count: int, users: int, written: Counter[str]) -> None:
        super().__init__(PENDING_IMAGES, ("imageId",), written)
        self._users = users
        self._changes: list[Item] = [{}] * count
        self._shared: dict[str, Item] = {}

    def get(self, key: Item, /) -> Item:
        """Return the image with the key's id."""
        image_id = key["imageId"]["S"]
        if image_id.startswith(WAITING_IMAGES):
            return self._waiting_image(int(image_id.removeprefix(WAITING_IMAGES)))
        job = SECOND if image_id.startswith(SECOND_IMAGES) else SUBMITTED
        hold = {"status": ImageStatus.SUBMITTED.value, "intentId": job.intentId, "submittedAt": job.submitTime}
        image = _image(image_id, user_id(0))
        return {**image, **to_item(hold), "attempts": {"N": "1"}, "uploadETag": {"S": f'"{ETAG}"'}}

    def put(self, item: Item, /) -> None:
        """Count the write of an image, and store the changes of a waiting one. Images with equal changes share them."""
        super().put(item)
        image_id = item["imageId"]["S"]
        if image_id.startswith(WAITING_IMAGES):
            changes = {name: item[name] for name in HOLD_ATTRIBUTES if name in item}
            number = int(image_id.removeprefix(WAITING_IMAGES))
            self._changes[number] = self._shared.setdefault(repr(changes), changes)

    def page(self, status: str, start: Item | None) -> dict[str, object]:
        """Return a page of the index of images by status, with the waiting images that follow the key `start`."""
        first = int(start["imageId"]["S"].removeprefix(WAITING_IMAGES)) + 1 if start else 0
        items: list[Item] = []
        size = 0
        for number in range(first, len(self._changes)):
            if self._changes[number].get("status", PENDING_IMAGE["status"])["S"] != status:
                continue
            image = self._waiting_image(number)
            item = {name: image[name] for name in IMAGE_STATUS_ATTRIBUTES if name in image}
            size += sum(len(name) + len(value["S"]) for name, value in item.items())
            if size > MAX_PAGE_BYTES:
                last = {name: items[-1][name] for name in ("imageId", "status", "uploadedAt")}
                return {"Items": items, "Count": len(items), "LastEvaluatedKey": last}
            items.append(item)
        return {"Items": items, "Count": len(items)}

    def _waiting_image(self, number: int) -> Item:
        return {**_image(waiting_image(number), user_id(number % self._users)), **self._changes[number]}


def waiting_image(number: int) -> str:
    """Return the id of a waiting image. The images belong to the users in turn."""
    return f"{WAITING_IMAGES}{number:012}"


def user_id(number: int) -> str:
    """Return the id of a user. The first one is the user of the processed jobs."""
    return f"{USERS}{number + 1}"


def _image(image_id: str, owner: str) -> Item:
    key = f"{UPLOADS_PREFIX}{owner}/{image_id}.jpg"
    return {**PENDING_IMAGE, "imageId": {"S": image_id}, "userId": {"S": owner}, "s3Key": {"S": key}}


class ModelledAws(InMemoryAws):
    """A modelled AWS with one job of `records` records, and as many waiting images of `users` users.

    `content` yields the content of every object, and `size` is its length in bytes. The output file of SECOND has the
    same records with images of its own. `written` counts the effects of calls: items put by table, objects copied and
    deleted, and bytes uploaded. `is_limited` limits the write units of the partitions of the transactions, and of the
    index of images by status.
    """

    def __init__(
        self,
        records: int,
        content: Callable[[], Iterable[bytes]],
        size: int,
        latencies: Mapping[str, float] = LATENCY_SECONDS,
        *,
        is_limited: bool = False,
        users: int = 1,
    ) -> None:
        self.records = records
        self.users = users
        self.content = content
        self.written: Counter[str] = Counter()
        self._object = GeneratedObject(CONTENT, LAST_MODIFIED, content, size)
        self._second_output = GeneratedObject(CONTENT, LAST_MODIFIED, self._second_records, size)
        self._images = ImageTable(records, users, self.written)
        tables = {
            TRANSACTIONS: CountedTable(TRANSACTIONS, ("userId", "transactionId"), self.written),
            PENDING_IMAGES: self._images,
            BATCH_JOBS: Table(("intentId",)),
        }
        tables[TRANSACTIONS].partitions = ("userId", "jobId")
        tables[PENDING_IMAGES].index_keys = ("status",)
        if is_limited:
            for name in (TRANSACTIONS, PENDING_IMAGES):
                tables[name].units_per_second = PARTITION_UNITS
        for job in (SUBMITTED, SECOND):
            tables[BATCH_JOBS].put(
                to_item(job.model_dump(exclude_none=True, exclude={"processedOutputs", "outputStats"}))
            )
        super().__init__(tables, latencies=latencies)

    def find_object(self, key: str, /) -> StoredObject:
        """Return the generated object for any key."""
        return self._second_output if key.startswith(output_prefix(SECOND.jobId)) else self._object

    def keys_after(self, prefix: str, start: str, /) -> Iterator[str]:
        """Yield the keys of a user's waiting uploads that sort after `start`. The prefix is the user's folder."""

        def key(number: int) -> str:
            return f"{prefix}{waiting_image(number)}.jpg"

        first = int(prefix.removeprefix(f"{UPLOADS_PREFIX}{USERS}").removesuffix("/")) - 1
        numbers = range(first, self.records, self.users)
        yield from map(key, numbers[bisect_right(numbers, start, key=key) :])

    def _query(self, table: Table, parameters: Parameters, fault: Fault | None) -> AWSResponse:
        if table is not self._images:
            return super()._query(table, parameters, fault)
        status = parameters["ExpressionAttributeValues"][":value"]["S"]
        return json_response(200, self._images.page(status, parameters.get("ExclusiveStartKey")))

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
