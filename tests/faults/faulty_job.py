"""One job on AWS in memory, the messages that tell of it, and what must hold of it at every instant."""

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
    MANIFEST_KEY,
    OUTPUT_KEY,
    PENDING_IMAGES,
    TRANSACTIONS,
    job_end,
    nova_line,
    s3_notification,
    sqs_event,
    start_cold,
)
from yorutsuke_common.aws.dynamodb import from_item, to_item

WRITTEN_AT = datetime(2026, 11, 22, 18, 42, 7, tzinfo=UTC)
VISIBILITY_TIMEOUT_SECONDS = 360
"""When a message that failed comes back: six times what a function may live."""
WAITS = (1, 30, 120, VISIBILITY_TIMEOUT_SECONDS)
"""Between deliveries; a claim of a function that died outlives the first two."""
GOOD = [f"img-{number}" for number in range(5)]
LINES = [
    *(nova_line(image_id) for image_id in GOOD),
    '{"recordId": "img-5", "modelOut',
    nova_line("img-6", amount=-1),
    nova_line(GOOD[0], amount=7),
    nova_line("img-foreign"),
    nova_line("img-lost"),
    nova_line("img-unknown"),
]
IMAGES = {**dict.fromkeys([*GOOD, "img-5", "img-6"], "user-1"), "img-foreign": "user-2"}
"""The images that exist, by id, and whose they are; img-lost is in pending-images alone, img-unknown nowhere."""


@dataclass(frozen=True)
class Overtaken(Fault):
    """Before the call, another function is given a message, by its number, and meets no faults."""

    kind: str = "overtaken"
    message: int = 0


CORRECTED = {"S": "Kissa Tsuki"}

Faults = Callable[[int, Call], Fault | None]
"""What becomes of a call: of the number of the delivery, and the call."""


@dataclass
class Broken:
    """What did not hold, in the words that the campaign counts."""

    images_nowhere: set[str] = field(default_factory=set[str])
    lost: set[str] = field(default_factory=set[str])


@dataclass
class FaultyJob:
    """A job of a few lines, good, bad, repeated and in trouble, whose handler's calls may fail."""

    aws: InMemoryAws
    broken: Broken = field(default_factory=Broken)
    delivery: int = 0
    clock: float = 0
    """Epoch seconds."""
    shown: dict[str, int] = field(default_factory=dict[str, int])
    """How many lines the output has had, by its ETag."""
    overtakes: int = 0
    """Number of messages that another function handled during a delivery."""

    def seed(self) -> None:
        """Put everything back to how it is when Bedrock has written its output."""
        self.broken = Broken()
        self.delivery = self.overtakes = 0
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
        counts = dict.fromkeys(("totalRecordCount", "processedRecordCount", "successRecordCount"), len(LINES))
        self.show(len(LINES))
        self.aws.put_object(MANIFEST_KEY, json.dumps({**counts, "errorRecordCount": 0}).encode())

    def show(self, lines: int, edition: int = 0) -> None:
        """Let the output have so many of its lines so far, as Bedrock may show results in stages.

        No two editions have the same content: blank lines tell them apart.
        """
        self.aws.put_object(OUTPUT_KEY, "\n".join([*LINES[:lines], *[""] * edition]).encode())
        self.shown[self.aws.objects[OUTPUT_KEY].etag] = lines

    def messages(self) -> list[str]:
        """Return the messages that tell of the job: its output, its manifest, and that it completed partially."""
        output, manifest = (
            json.dumps(s3_notification(key, self.aws.objects[key].etag)) for key in (OUTPUT_KEY, MANIFEST_KEY)
        )
        return [output, manifest, job_end("PartiallyCompleted", "Not all records could be processed in time.")]

    def deliver(self, message: str, faults: Faults, waited: int = VISIBILITY_TIMEOUT_SECONDS) -> bool:
        """Deliver one message, seconds after the last, to a function that meets these faults; tell if it is done."""
        self.delivery += 1
        self.clock += waited
        died = False
        errors: list[Exception] = []

        def fault(call: Call) -> Fault | None:
            nonlocal died
            # Its other threads die with a function.
            found = Fault("die") if died else faults(self.delivery, call)
            died = died or (found is not None and found.kind == "die")
            if isinstance(found, Overtaken):
                try:
                    self._overtake(self.messages()[found.message])
                except Exception as exc:
                    # The function would take it for an error of its call.
                    errors.append(exc)
                    raise
                return None
            return found

        with patch.object(self.aws, "fault", fault):
            done = self._handle(message)
        if errors:
            raise ExceptionGroup("another function could not run", errors)
        return done

    def _overtake(self, message: str) -> None:
        """Let another function, with clients and threads of its own, handle a message from first call to last."""
        others = cache(handler_module.use_cases.__wrapped__)
        with patch.object(self.aws, "fault", _let_through), patch.object(handler_module, "use_cases", others):
            self._handle(message)
        self.overtakes += 1

    def _handle(self, message: str) -> bool:
        try:
            return not handler_module.handler(sqs_event(message), CONTEXT)["batchItemFailures"]
        except FunctionDiedError:
            return False

    def outlive_claims(self) -> None:
        """Let so much time pass that the claim of every function that died has run out."""
        self.clock += VISIBILITY_TIMEOUT_SECONDS

    def edit(self) -> None:
        """Let a person correct the merchant of every transaction."""
        for item in self.aws.tables[TRANSACTIONS].items.values():
            item["merchant"] = CORRECTED

    def replay(self) -> None:
        """Take the output in again, as an operator does whose images could not all be moved."""
        self.aws.tables[BATCH_JOBS].items[f"intent-{JOB_ID}",].pop("processedOutputs", None)

    def state(self) -> dict[str, Any]:
        """Return everything that is stored, but for the time of completion and a claim that has run out."""
        tables = {name: copy.deepcopy(table.items) for name, table in self.aws.tables.items()}
        for job in tables[BATCH_JOBS].values():
            job.pop("completedAt", None)
            if float(job.get("claimedUntil", {"N": "inf"})["N"]) < self.clock:
                del job["claimedBy"], job["claimedUntil"]
        return {"tables": tables, "objects": {key: stored.body for key, stored in self.aws.objects.items()}}

    def check(self) -> None:
        """Note what does not hold after an effect."""
        places: dict[bytes, list[str]] = {}
        for key, stored in self.aws.objects.items():
            if key.startswith(("uploads/", "processed/")):
                places.setdefault(stored.body, []).append(key)
        stored_ids = {item["imageId"]["S"] for item in self.aws.tables[TRANSACTIONS].items.values()}
        for image_id in IMAGES:
            where = places.get(image_id.encode(), [])
            if not where:
                self.broken.images_nowhere.add(image_id)
            elif not any(key.startswith("uploads/") for key in where) and image_id not in stored_ids:
                self.broken.lost.add(f"{image_id} has moved without its transaction")
        self._check_completion(stored_ids)

    def _check_completion(self, stored_ids: set[str]) -> None:
        for job in map(from_item, self.aws.tables[BATCH_JOBS].items.values()):
            for etag in job.get("processedOutputs", {}).values():
                # The good lines are the first ones.
                if not set(GOOD[: self.shown[etag]]) <= stored_ids:
                    self.broken.lost.add("the job is COMPLETED without its transactions")


@contextmanager
def serve_faulty_job() -> Generator[FaultyJob]:
    """Give a night whose handler runs here, silently, and does not wait between its retries."""
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
        # What is logged and counted of thousands of deliveries is for nobody to read.
        Path(os.devnull).open("w", encoding="utf-8") as silence,
        redirect_stdout(silence),
        patch.dict(os.environ, environment),
        patch.object(boto3, "DEFAULT_SESSION", session),
        patch("yorutsuke_common.aws.dynamodb.BASE_DELAY_SECONDS", 0),
        # One after the other, so that a seed always falls on the same calls.
        patch("yorutsuke_common.aws.calls.CONCURRENCY", 1),
        patch("botocore.endpoint.time", SimpleNamespace(sleep=_no_sleep)),
        patch("yorutsuke_common.aws.batch_jobs.time", SimpleNamespace(time=lambda: faulty_job.clock)),
    ):
        start_cold()
        logging.disable()
        try:
            yield faulty_job
        finally:
            logging.disable(logging.NOTSET)
            start_cold()


def _let_through(_: Call) -> None:
    """Fault no call."""


def _no_sleep(_: float) -> None:
    """Take no time."""


def dice_of(*facts: object) -> random.Random:
    """Return dice that fall the same way for the same facts, whatever else was thrown before."""
    return random.Random(repr(facts))  # noqa: S311 - to be repeated, not to be secret
