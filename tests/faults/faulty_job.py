"""A job on in-memory AWS: its data, its messages, and invariants that are checked after each write."""

import copy
import json
import logging
import os
import random
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import boto3

from batch_result_handler import handler as handler_module
from local.emulator import REGION
from local.in_memory import Call, Fault, FunctionDiedError, InMemoryAws, Item, StoredObject, Table
from tests.integration.stage import (
    BATCH_JOBS,
    CONTEXT,
    ENVIRONMENT,
    JOB_ID,
    OUTPUT_KEY,
    OUTPUT_MANIFEST_KEY,
    PENDING_IMAGES,
    TRANSACTIONS,
    clear_handler_caches,
    job_end,
    nova_record,
    s3_notification,
    sqs_event,
)
from yorutsuke_common.aws.dynamodb import from_item, to_item

UPLOADED_AT = datetime(2026, 11, 22, 9, 12, 44, tzinfo=UTC)
"""The time of the uploads, before the submission."""
WRITTEN_AT = datetime(2026, 11, 22, 18, 42, 7, tzinfo=UTC)
VISIBILITY_TIMEOUT_SECONDS = 360
"""Seconds until SQS redelivers a failed message: six times the function timeout."""
REDELIVERY_DELAYS = (1, 30, 120, VISIBILITY_TIMEOUT_SECONDS)
"""Seconds between deliveries. The claim of a crashed function is still valid after the first two delays."""
INTENT_ID = f"intent-{JOB_ID}"
VALID_IMAGE_IDS = [f"img-{number}" for number in range(5)]
RECORDS = [
    *(nova_record(image_id) for image_id in VALID_IMAGE_IDS),
    '{"recordId": "img-5", "modelOut',
    nova_record("img-6", amount=-1),
    nova_record(VALID_IMAGE_IDS[0], amount=7),
    nova_record("img-foreign"),
    nova_record("img-lost"),
    nova_record("img-unknown"),
]
PARTS = {
    f"batch-output/{JOB_ID}/b.jsonl.out": (8, 1, 2),
    f"batch-output/{JOB_ID}/a.jsonl.out": (5, 0, 7, 9),
    f"batch-output/{JOB_ID}/c.jsonl.out": (3, 6, 4, 10),
}
"""The keys of several output files, and the numbers of the records in each. An image is in one file only."""
IMAGES = {**dict.fromkeys([*VALID_IMAGE_IDS, "img-5", "img-6"], "user-1"), "img-foreign": "user-2"}
"""The owner of each stored image, by image id. img-lost is only in pending-images, and img-unknown does not exist."""


@dataclass(frozen=True)
class ConcurrentDelivery(Fault):
    """A second function handles the message with this number, without faults, before the call."""

    kind: str = "concurrent-delivery"
    message: int = 0


class UserChange(StrEnum):
    """A change that the app makes for a user while the job is processed."""

    EDIT = "edit"
    """Correct a transaction and add an attribute to it."""
    DELETE = "delete"
    """Replace a transaction with the mark of a deleted one."""
    TAG_IMAGE = "tag-image"
    """Add an attribute to an image's item."""
    UPLOAD_AGAIN = "upload-again"
    """Upload another photograph under the key of an image."""
    REPLACE_IMAGE = "replace-image"
    """Point an image's item to a new upload."""
    DELETE_IMAGE = "delete-image"
    """Delete an image's item and its upload."""


@dataclass(frozen=True)
class ChangeByUser(Fault):
    """The app changes data of the image with this number before the call. The call itself succeeds."""

    kind: str = "change-by-user"
    change: UserChange = UserChange.EDIT
    image: int = 0


EDITED_MERCHANT = {"S": "Kissa Tsuki"}

Faults = Callable[[int, Call], Fault | None]
"""Returns the fault of a call, or None. The arguments are the number of the delivery and the call."""


@dataclass
class Violations:
    """The violations of invariants. Each field is a counter of the campaign."""

    images_nowhere: set[str] = field(default_factory=set[str])
    edits_lost: set[str] = field(default_factory=set[str])
    lost: set[str] = field(default_factory=set[str])


@dataclass
class FaultyJob:
    """A job with valid, invalid and duplicate records, and a handler with calls that can fail."""

    aws: InMemoryAws
    violations: Violations = field(default_factory=Violations)
    delivery: int = 0
    clock: float = 0
    """The current time, in epoch seconds."""
    output_keys: tuple[str, ...] = (OUTPUT_KEY,)
    """The keys of the job's output files."""
    valid_images: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    """The images with a valid record in each version of an output file, by its ETag."""
    concurrent_deliveries: int = 0
    """Number of messages that a second function handled during a delivery."""
    expected: dict[tuple[str, tuple[str, ...]], dict[str, Any] | None] = field(
        default_factory=dict[tuple[str, tuple[str, ...]], "dict[str, Any] | None"]
    )
    """The attributes that a user's change gave to an item, by table and key, or None for a deleted item."""
    uploaded: dict[str, bytes] = field(default_factory=dict[str, bytes])
    """The photographs that users uploaded under a key during the job."""
    changed_images: set[str] = field(default_factory=set[str])
    """The images whose upload or item users replaced or deleted. Their first photograph may be anywhere."""

    def seed(self, units_per_call: float | None = None) -> None:
        """Reset the stage to the state after Bedrock has written the job's output.

        `units_per_call` are the write units that a partition of the transactions takes with each call, or None for no
        limit.
        """
        self.violations = Violations()
        self.expected, self.uploaded, self.changed_images = {}, {}, set()
        self.aws.tables[TRANSACTIONS].units_per_second = units_per_call
        self.aws.tables[TRANSACTIONS].buckets.clear()
        self.delivery = self.concurrent_deliveries = 0
        self.clock = WRITTEN_AT.timestamp()
        self.aws.objects.clear()
        for table in self.aws.tables.values():
            table.items.clear()
            table.earlier.clear()
        job = {
            "intentId": INTENT_ID,
            "jobId": JOB_ID,
            "userId": "user-1",
            "status": "SUBMITTED",
            "submitTime": "2026-11-22T14:05:00Z",
            "pendingImageIds": [*IMAGES, "img-lost"],
        }
        self.aws.tables[BATCH_JOBS].put(to_item(job))
        for image_id, user_id in {**IMAGES, "img-lost": "user-1"}.items():
            key = f"uploads/{user_id}/{image_id}.png"
            item = {"imageId": image_id, "userId": user_id, "s3Key": key, "status": "pending", "intentId": INTENT_ID}
            if image_id in IMAGES:
                self.aws.objects[key] = StoredObject(image_id.encode(), UPLOADED_AT)
                item["uploadETag"] = f'"{self.aws.objects[key].etag}"'
            self.aws.tables[PENDING_IMAGES].put(to_item(item))
        counts = dict.fromkeys(("totalRecordCount", "processedRecordCount", "successRecordCount"), len(RECORDS))
        self.output_keys = (OUTPUT_KEY,)
        self.write_output(len(RECORDS))
        self.aws.put_object(OUTPUT_MANIFEST_KEY, json.dumps({**counts, "errorRecordCount": 0}).encode())

    def write_output(self, records: int, version: int = 0) -> None:
        """Write an output file with the first records, because Bedrock may extend the file several times.

        The number of blank lines at the end equals the version, so that each version has a different ETag.
        """
        self.aws.put_object(OUTPUT_KEY, "\n".join([*RECORDS[:records], *[""] * version]).encode())
        # The valid records come first in the output file.
        self.valid_images[self.aws.objects[OUTPUT_KEY].etag] = {*VALID_IMAGE_IDS[:records]}

    def split_output(self) -> None:
        """Replace the output file by several, each with a part of its records."""
        del self.aws.objects[OUTPUT_KEY]
        self.output_keys = tuple(PARTS)
        for key, numbers in PARTS.items():
            self.aws.put_object(key, "\n".join(RECORDS[number] for number in numbers).encode())
            self.valid_images[self.aws.objects[key].etag] = {f"img-{number}" for number in numbers if number < 5}

    def messages(self) -> list[str]:
        """Return the messages about the job: its output files, its output manifest, and its partial completion."""
        keys = (*self.output_keys, OUTPUT_MANIFEST_KEY)
        notifications = [json.dumps(s3_notification(key, self.aws.objects[key].etag)) for key in keys]
        return [*notifications, job_end("PartiallyCompleted", "Not all records could be processed in time.")]

    def deliver(self, message: str, faults: Faults, delay: int = VISIBILITY_TIMEOUT_SECONDS) -> bool:
        """Deliver one message to a function with faults, and return whether it succeeds.

        Args:
            message: The body of the SQS message.
            faults: The faults of the function's calls.
            delay: Seconds since the previous delivery.
        """
        self.delivery += 1
        self.clock += delay
        crashed = False
        errors: list[Exception] = []

        def fault(call: Call) -> Fault | None:
            nonlocal crashed
            # A crash ends all threads of the function.
            found = Fault("die") if crashed else faults(self.delivery, call)
            crashed = crashed or (found is not None and found.kind == "die")
            if isinstance(found, ConcurrentDelivery):
                try:
                    self._deliver_concurrently(self.messages()[found.message])
                except Exception as exc:
                    # The first function handles the exception as an error of its own call, so keep it here.
                    errors.append(exc)
                    raise
                return None
            if isinstance(found, ChangeByUser):
                self.change(found.change, VALID_IMAGE_IDS[found.image])
                return None
            return found

        with patch.object(self.aws, "fault", fault):
            succeeded = self._handle(message)
        if errors:
            raise ExceptionGroup("The second function raised errors.", errors)
        return succeeded

    def _deliver_concurrently(self, message: str) -> None:
        """Deliver a message to a second function, which has its own clients and threads."""
        second = cache(handler_module.use_cases.__wrapped__)
        with patch.object(self.aws, "fault", _no_fault), patch.object(handler_module, "use_cases", second):
            self._handle(message)
        self.concurrent_deliveries += 1

    def _handle(self, message: str) -> bool:
        try:
            return not handler_module.handler(sqs_event(message), CONTEXT)["batchItemFailures"]
        except FunctionDiedError:
            return False

    def expire_claims(self) -> None:
        """Advance the clock until the claims of all crashed functions have expired."""
        self.clock += VISIBILITY_TIMEOUT_SECONDS

    def edit_transactions(self) -> None:
        """Change the merchant of every transaction, as a user does."""
        for item in self.aws.tables[TRANSACTIONS].items.values():
            item["merchant"] = EDITED_MERCHANT

    def change(self, change: UserChange, image_id: str) -> None:
        """Make a change of a user, if the data to change exists."""
        images, transactions = self.aws.tables[PENDING_IMAGES], self.aws.tables[TRANSACTIONS]
        image, upload = images.items.get((image_id,)), f"uploads/user-1/{image_id}.png"
        stored = next((i for i in transactions.items.values() if i["imageId"]["S"] == image_id and "amount" in i), None)
        match change:
            case UserChange.EDIT | UserChange.DELETE if stored:
                edit = {"amount": {"N": "1"}, "note": {"S": "by the user"}}
                attributes = edit if change == UserChange.EDIT else {"status": {"S": "deleted"}}
                self._expect(transactions, TRANSACTIONS, {**stored, **attributes}, attributes)
            case UserChange.TAG_IMAGE if image:
                self._expect(images, PENDING_IMAGES, {**image, "album": {"S": "taxes"}}, {"album": {"S": "taxes"}})
            case UserChange.UPLOAD_AGAIN:
                self.changed_images.add(image_id)
                self._upload(upload, f"another photograph of {image_id}")
            case UserChange.REPLACE_IMAGE if image:
                self.changed_images.add(image_id)
                key = f"uploads/user-1/{image_id}-new.png"
                self._upload(key, f"a new photograph of {image_id}")
                pointed = {"s3Key": {"S": key}, "status": {"S": "pending"}}
                self._expect(images, PENDING_IMAGES, {**image, **pointed}, pointed)
            case UserChange.DELETE_IMAGE:
                self.changed_images.add(image_id)
                self.uploaded.pop(upload, None)
                self.aws.delete_object(upload)
                images.items.pop((image_id,), None)
                self.expected[PENDING_IMAGES, (image_id,)] = None
            case _:
                pass

    def _expect(self, table: Table, name: str, item: Item, attributes: Item) -> None:
        table.put(item)
        key = name, table.key_of(item)
        self.expected[key] = {**(self.expected.get(key) or {}), **attributes}

    def _upload(self, key: str, content: str) -> None:
        self.uploaded[key] = content.encode()
        self.aws.put_object(key, content.encode())

    def lost_changes(self) -> set[str]:
        """Return the changes of users that do not last."""
        lost: set[str] = set()
        for (name, key), attributes in self.expected.items():
            item = self.aws.tables[name].items.get(key)
            if attributes is None:
                lost |= {f"{key} came back in {name}"} if item else set()
            elif item is None or any(item.get(attribute) != value for attribute, value in attributes.items()):
                lost.add(f"{key} in {name}")
        kept = {key: stored.body for key, stored in self.aws.objects.items()}
        lost |= {f"the new photograph {key}" for key, body in self.uploaded.items() if kept.get(key) != body}
        filed = {body for key, body in kept.items() if key.startswith("processed/")}
        return lost | {f"{body!r} was filed as the image that was read" for body in filed & {*self.uploaded.values()}}

    def replay(self) -> None:
        """Mark the output as unprocessed, as an operator's replay does."""
        for attribute in ("processedOutputs", "outputStats"):
            self.aws.tables[BATCH_JOBS].items[INTENT_ID,].pop(attribute, None)

    def state(self) -> dict[str, Any]:
        """Return all items and objects, without the times and tokens of completions, and without expired claims."""
        tables = {name: copy.deepcopy(table.items) for name, table in self.aws.tables.items()}
        for job in tables[BATCH_JOBS].values():
            job.pop("completedAt", None)
            job.pop("completedBy", None)
            if float(job.get("claimedUntil", {"N": "inf"})["N"]) < self.clock:
                del job["claimedBy"], job["claimedUntil"]
        return {"tables": tables, "objects": {key: stored.body for key, stored in self.aws.objects.items()}}

    def check(self) -> None:
        """Record the violations of invariants in the current state."""
        places: dict[bytes, list[str]] = {}
        for key, stored in self.aws.objects.items():
            if key.startswith(("uploads/", "processed/")):
                places.setdefault(stored.body, []).append(key)
        stored_ids = {item["imageId"]["S"] for item in self.aws.tables[TRANSACTIONS].items.values()}
        for image_id in IMAGES.keys() - self.changed_images:
            keys = places.get(image_id.encode(), [])
            if not keys:
                self.violations.images_nowhere.add(image_id)
            elif not any(key.startswith("uploads/") for key in keys) and image_id not in stored_ids:
                self.violations.lost.add(f"{image_id} was moved before its transaction was stored")
        self._check_completion(stored_ids)

    def _check_completion(self, stored_ids: set[str]) -> None:
        for job in map(from_item, self.aws.tables[BATCH_JOBS].items.values()):
            for etag in job.get("processedOutputs", {}).values():
                if not self.valid_images[etag] <= stored_ids:
                    self.violations.lost.add("the job is COMPLETED but transactions are missing")


@contextmanager
def serve_faulty_job() -> Generator[FaultyJob]:
    """Yield a job with a handler that runs in this process, without output and without delays between retries."""
    aws = InMemoryAws(
        {
            TRANSACTIONS: Table(("userId", "transactionId")),
            BATCH_JOBS: Table(("intentId",)),
            PENDING_IMAGES: Table(("imageId",)),
        },
        now=lambda: WRITTEN_AT,
    )
    transactions = aws.tables[TRANSACTIONS]
    transactions.partitions, transactions.clock = ("userId", "jobId"), lambda: float(aws.calls.total())
    faulty_job = FaultyJob(aws)
    aws.changed = faulty_job.check
    environment = {
        **ENVIRONMENT,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "in-memory",
        "AWS_SECRET_ACCESS_KEY": "in-memory",
    }
    session = boto3.Session("in-memory", "in-memory", region_name=REGION)
    aws.serve(session)
    with (
        # Thousands of deliveries would print their logs and metrics.
        Path(os.devnull).open("w", encoding="utf-8") as null,
        redirect_stdout(null),
        patch.dict(os.environ, environment),
        patch.object(boto3, "DEFAULT_SESSION", session),
        patch("yorutsuke_common.aws.dynamodb.BASE_DELAY_SECONDS", 0),
        patch("yorutsuke_common.aws.write_rate.time", SimpleNamespace(sleep=_no_sleep, monotonic=time.monotonic)),
        # Sequential calls make the schedule of a seed reproducible.
        patch("yorutsuke_common.aws.calls.CONCURRENCY", 1),
        patch("botocore.endpoint.time", SimpleNamespace(sleep=_no_sleep)),
        patch("yorutsuke_common.aws.batch_jobs.time", SimpleNamespace(time=lambda: faulty_job.clock)),
    ):
        clear_handler_caches()
        logging.disable()
        try:
            yield faulty_job
        finally:
            logging.disable(logging.NOTSET)
            clear_handler_caches()


def _no_fault(_: Call) -> None:
    """Let the call succeed."""


def _no_sleep(_: float) -> None:
    """Return immediately, as a replacement for time.sleep."""


def seeded_random(*seed: object) -> random.Random:
    """Return a random number generator that these values determine."""
    return random.Random(repr(seed))  # noqa: S311 - reproducibility matters here, not secrecy
