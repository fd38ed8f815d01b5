"""A job on in-memory AWS: its data, its messages, and invariants that are checked after each write."""

import copy
import json
import logging
import os
import random
from collections.abc import Callable, Generator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import boto3

from batch_result_handler import handler as handler_module
from local.emulator import REGION
from local.in_memory import Call, Fault, FunctionDiedError, InMemoryAws, Table
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

WRITTEN_AT = datetime(2026, 11, 22, 18, 42, 7, tzinfo=UTC)
VISIBILITY_TIMEOUT_SECONDS = 360
"""Seconds until SQS redelivers a failed message: six times the function timeout."""
REDELIVERY_DELAYS = (1, 30, 120, VISIBILITY_TIMEOUT_SECONDS)
"""Seconds between deliveries. The claim of a crashed function is still valid after the first two delays."""
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
IMAGES = {**dict.fromkeys([*VALID_IMAGE_IDS, "img-5", "img-6"], "user-1"), "img-foreign": "user-2"}
"""The owner of each stored image, by image id. img-lost is only in pending-images, and img-unknown does not exist."""


@dataclass(frozen=True)
class ConcurrentDelivery(Fault):
    """A second function handles the message with this number, without faults, before the call."""

    kind: str = "concurrent-delivery"
    message: int = 0


EDITED_MERCHANT = {"S": "Kissa Tsuki"}

Faults = Callable[[int, Call], Fault | None]
"""Returns the fault of a call, or None. The arguments are the number of the delivery and the call."""


@dataclass
class Violations:
    """The violations of invariants. Each field is a counter of the campaign."""

    images_nowhere: set[str] = field(default_factory=set[str])
    lost: set[str] = field(default_factory=set[str])


@dataclass
class FaultyJob:
    """A job with valid, invalid and duplicate records, and a handler with calls that can fail."""

    aws: InMemoryAws
    violations: Violations = field(default_factory=Violations)
    delivery: int = 0
    clock: float = 0
    """The current time, in epoch seconds."""
    record_counts: dict[str, int] = field(default_factory=dict[str, int])
    """The number of records in each version of the output file, by its ETag."""
    concurrent_deliveries: int = 0
    """Number of messages that a second function handled during a delivery."""

    def seed(self) -> None:
        """Reset the stage to the state after Bedrock has written the job's output."""
        self.violations = Violations()
        self.delivery = self.concurrent_deliveries = 0
        self.clock = WRITTEN_AT.timestamp()
        self.aws.objects.clear()
        for table in self.aws.tables.values():
            table.items.clear()
            table.earlier.clear()
        job = {
            "intentId": f"intent-{JOB_ID}",
            "jobId": JOB_ID,
            "userId": "user-1",
            "status": "SUBMITTED",
            "submitTime": "2026-11-22T14:05:00Z",
            "pendingImageIds": [*IMAGES, "img-lost"],
        }
        self.aws.tables[BATCH_JOBS].put(to_item(job))
        for image_id, user_id in {**IMAGES, "img-lost": "user-1"}.items():
            key = f"uploads/{user_id}/{image_id}.png"
            item = {"imageId": image_id, "userId": user_id, "s3Key": key, "status": "pending"}
            self.aws.tables[PENDING_IMAGES].put(to_item(item))
            if image_id in IMAGES:
                self.aws.put_object(key, image_id.encode())
        counts = dict.fromkeys(("totalRecordCount", "processedRecordCount", "successRecordCount"), len(RECORDS))
        self.write_output(len(RECORDS))
        self.aws.put_object(OUTPUT_MANIFEST_KEY, json.dumps({**counts, "errorRecordCount": 0}).encode())

    def write_output(self, records: int, version: int = 0) -> None:
        """Write an output file with the first records, because Bedrock may extend the file several times.

        The number of blank lines at the end equals the version, so that each version has a different ETag.
        """
        self.aws.put_object(OUTPUT_KEY, "\n".join([*RECORDS[:records], *[""] * version]).encode())
        self.record_counts[self.aws.objects[OUTPUT_KEY].etag] = records

    def messages(self) -> list[str]:
        """Return the messages about the job: its output file, its output manifest, and its partial completion."""
        output, manifest = (
            json.dumps(s3_notification(key, self.aws.objects[key].etag)) for key in (OUTPUT_KEY, OUTPUT_MANIFEST_KEY)
        )
        return [output, manifest, job_end("PartiallyCompleted", "Not all records could be processed in time.")]

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

    def replay(self) -> None:
        """Mark the output as unprocessed, as an operator's replay does."""
        self.aws.tables[BATCH_JOBS].items[f"intent-{JOB_ID}",].pop("processedOutputs", None)

    def state(self) -> dict[str, Any]:
        """Return all items and objects, without completion times and expired claims."""
        tables = {name: copy.deepcopy(table.items) for name, table in self.aws.tables.items()}
        for job in tables[BATCH_JOBS].values():
            job.pop("completedAt", None)
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
        for image_id in IMAGES:
            keys = places.get(image_id.encode(), [])
            if not keys:
                self.violations.images_nowhere.add(image_id)
            elif not any(key.startswith("uploads/") for key in keys) and image_id not in stored_ids:
                self.violations.lost.add(f"{image_id} was moved before its transaction was stored")
        self._check_completion(stored_ids)

    def _check_completion(self, stored_ids: set[str]) -> None:
        for job in map(from_item, self.aws.tables[BATCH_JOBS].items.values()):
            for etag in job.get("processedOutputs", {}).values():
                # The valid records come first in the output file.
                if not set(VALID_IMAGE_IDS[: self.record_counts[etag]]) <= stored_ids:
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
