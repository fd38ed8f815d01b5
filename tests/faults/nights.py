"""Nights on AWS in memory: users, scheduled runs, Bedrock's jobs, and invariants that are checked at each write."""

import base64
import copy
import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from enum import StrEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import boto3

from batch_orchestrator import handler as orchestrator_module
from batch_orchestrator import manifest as manifest_module
from batch_orchestrator.settings import load_settings as load_orchestrator_settings
from batch_orchestrator.submit_job import JobSubmitter
from batch_result_handler import handler as handler_module
from local.emulator import REGION
from local.in_memory import Call, Fault, InMemoryAws, Table
from tests.integration.orchestrator_stage import ORCHESTRATOR_ENVIRONMENT, manifest_of
from tests.integration.stage import (
    BATCH_JOBS,
    ENVIRONMENT,
    PENDING_IMAGES,
    TRANSACTIONS,
    clear_handler_caches,
    job_end,
    nova_record,
    s3_notification,
    sqs_event,
)
from yorutsuke_common.aws.dynamodb import from_item, to_item
from yorutsuke_common.hashing import contents_digest
from yorutsuke_common.object_keys import input_key
from yorutsuke_common.schema import ImageDelivery, iso_utc

from .invocations import InlineExecutor, Invocation

MIN_RECORDS = 3
MAX_ATTEMPTS = 3
NIGHT_ENVIRONMENT = {
    **ENVIRONMENT,
    **ORCHESTRATOR_ENVIRONMENT,
    "MIN_RECORDS": str(MIN_RECORDS),
    "MAX_ATTEMPTS": str(MAX_ATTEMPTS),
    "JOB_SIZE": "6",
    "MAX_CONCURRENT_JOBS": "3",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_ACCESS_KEY_ID": "in-memory",
    "AWS_SECRET_ACCESS_KEY": "in-memory",
}
STARTED_AT = datetime(2026, 11, 22, 17, 0, 0, tzinfo=UTC).timestamp()
"""The time of the first upload, in epoch seconds."""
ORCHESTRATOR_SECONDS = 900
HANDLER_SECONDS = 60
COUNTERS = (
    *("twoJobs", "forgotten", "misread", "misfiled", "overread"),
    *("wrongOwner", "doubled", "overwritten", "nowhere", "restless"),
)
"""The kinds of violations.

- `twoJobs`: an image is in two jobs that Bedrock has not ended
- `forgotten`: an image is neither processed nor failed at the end, and does not wait for a job
- `misread`: a model reads another content than its job has fixed, or an image outside the input folder of its job
- `misfiled`: a photograph is in `processed/` and was not read for a transaction
- `overread`: scheduled jobs have read a photograph more often than `MAX_ATTEMPTS`
- `wrongOwner`: a transaction is not in the books of the image's user
- `doubled`: a photograph has two transactions
- `overwritten`: a transaction lost a change of its user, or vanished
- `nowhere`: a photograph is neither in `uploads/` nor in `processed/`
- `restless`: the night does not come to rest
"""


class JobPlan(StrEnum):
    """The course of a job in Bedrock."""

    COMPLETE = "complete"
    """Every image has a valid record."""
    BAD = "bad"
    """Every second record is an error, an invalid reply or not JSON."""
    MISSING = "missing"
    """Every second image has no record, although the output is complete."""
    GROWN = "grown"
    """The output is written twice: with the first record, and then with all of them."""
    PARTIAL = "partial"
    """PartiallyCompleted: every second image has no record, and some records are errors."""
    STOPPED = "stopped"
    """Stopped: every second image has a record."""
    FAILED = "failed"
    """Failed without an output."""
    EXPIRED = "expired"
    """Expired without an output."""


ENDS = {
    JobPlan.PARTIAL: "PartiallyCompleted",
    JobPlan.STOPPED: "Stopped",
    JobPlan.FAILED: "Failed",
    JobPlan.EXPIRED: "Expired",
}


class NightChange(StrEnum):
    """A change that the app makes for a user."""

    TAG = "tag"
    """Add an attribute to an image's item."""
    DELETE = "delete"
    """Delete an image's item and its upload."""
    REPLACE = "replace"
    """Point an image's item to a new upload, which waits for a job."""
    UPLOAD_AGAIN = "upload-again"
    """Upload another photograph under the key of an image."""
    EDIT = "edit"
    """Correct a transaction."""
    DELETE_TRANSACTION = "delete-transaction"
    """Replace a transaction with the mark of a deleted one."""


@dataclass
class NightImage:
    """An uploaded image: its user, and the contents that were uploaded for it, the latest last."""

    user_id: str
    photographs: list[bytes]
    is_same_key: bool = False
    """Whether another photograph was uploaded under the key of the first."""


@dataclass
class NightJob:
    """A job that Bedrock has accepted: its intent, and the content of each image in its manifest."""

    intent_id: str
    input: dict[str, bytes]
    """The manifest and the copies of images that it names, by object key."""
    contents: dict[str, bytes]
    is_live: bool = True
    dead_letters: set[str] = field(default_factory=set[str])
    """The images whose records become dead letters that name them."""


@dataclass
class Environments:
    """Execution environments of one function, which are made once and used by one invocation at a time."""

    make: Callable[[], Any]
    free: list[Any] = field(default_factory=list[Any])

    def take(self) -> Any:
        """Return a free environment."""
        return self.free.pop() if self.free else self.make()


@dataclass
class Nights:
    """Users, the schedule and Bedrock, over functions on AWS in memory."""

    aws: InMemoryAws
    orchestrators: Environments
    handlers: Environments
    clock: float = STARTED_AT
    """The current time, in epoch seconds."""
    seconds_per_call: float = 0
    """The time that each call takes."""
    images: dict[str, NightImage] = field(default_factory=dict[str, NightImage])
    jobs: dict[str, NightJob] = field(default_factory=dict[str, NightJob])
    messages: list[str] = field(default_factory=list[str])
    """The messages that SQS has to deliver."""
    removed_jobs: set[str] = field(default_factory=set[str])
    """The jobs whose item an operator deleted."""
    deleted_images: set[str] = field(default_factory=set[str])
    edited: dict[tuple[str, ...], dict[str, Any]] = field(default_factory=dict[tuple[str, ...], "dict[str, Any]"])
    """The attributes that each transaction must keep, by its key."""
    must_exist: set[bytes] = field(default_factory=set[bytes])
    """The photographs that no user has deleted or replaced."""
    violations: set[str] = field(default_factory=set[str])
    unmovable: set[str] = field(default_factory=set[str])
    """The images that S3 does not copy."""
    running: Invocation | None = None
    uploads: int = 0
    delivery: ImageDelivery = "inline"
    """The setting of the stage."""

    def reset(self, seconds_per_call: float = 0) -> None:
        """Begin again on an empty stage."""
        for table in self.aws.tables.values():
            table.items.clear()
            table.earlier.clear()
        self.aws.objects.clear()
        self.aws.jobs.clear()
        self.aws.calls.clear()
        for found in (self.images, self.jobs, self.messages, self.removed_jobs, self.deleted_images, self.edited):
            found.clear()
        for ids in (self.must_exist, self.violations, self.unmovable):
            ids.clear()
        self.clock, self.seconds_per_call, self.uploads = STARTED_AT, seconds_per_call, 0
        self.delivery = "inline"
        self.limit_manifests(50)

    def limit_manifests(self, images: int) -> None:
        """Limit the size of a manifest to about this number of images."""
        size = len(manifest_of([f"img-{number:02}" for number in range(images)]))
        # A line that names a copy is longer than one that holds a small image.
        manifest_module.MAX_MANIFEST_BYTES = size + size // images // 2

    # Users

    def upload(self, user_id: str, extension: str = "jpg", *, body: bytes | None = None) -> None:
        """Upload an image of a user. An empty body and a missing one (`extension` missing) can never be read."""
        self.uploads += 1
        self.clock += 1
        image_id = f"img-{self.uploads:02}"
        content = f"photograph {self.uploads}".encode() if body is None else body
        key = f"uploads/{user_id}/{image_id}.{extension}"
        self._put_upload(key, content)
        self.images[image_id] = NightImage(user_id, [content])
        item = {"imageId": image_id, "userId": user_id, "s3Key": key, "status": "pending"}
        self.aws.tables[PENDING_IMAGES].put(to_item({**item, "uploadedAt": self.now("seconds")}))

    def _put_upload(self, key: str, content: bytes) -> None:
        replaced = self.aws.objects.get(key)
        if replaced:
            self.must_exist.discard(replaced.body)
        self.aws.put_object(key, content)
        if content:
            self.must_exist.add(content)

    def set_attributes(self, image_id: str, **attributes: object) -> None:
        """Set attributes of an image's item."""
        table = self.aws.tables[PENDING_IMAGES]
        table.put({**table.items[image_id,], **to_item(attributes)})

    def status_of(self, image_id: str) -> str | None:
        """Return the status of an image, or None if its user has deleted it."""
        item = self.aws.tables[PENDING_IMAGES].items.get((image_id,))
        return item["status"]["S"] if item else None

    def change(self, change: NightChange, image_id: str) -> None:
        """Make a change of a user, if the data to change exists."""
        table, image = self.aws.tables[PENDING_IMAGES], self.images[image_id]
        item = table.items.get((image_id,))
        transactions = self.aws.tables[TRANSACTIONS]
        stored = next((each for each in transactions.items.values() if each["imageId"]["S"] == image_id), None)
        if item is None:
            return
        key = item["s3Key"]["S"]
        new = f"photograph {self.uploads}-{len(image.photographs)} of {image_id}".encode()
        match change:
            case NightChange.TAG:
                table.put({**item, "album": {"S": "taxes"}})
            case NightChange.DELETE:
                upload = self.aws.objects.get(key)
                if upload:
                    self.must_exist.discard(upload.body)
                    self.aws.delete_object(key)
                table.delete(item)
                self.deleted_images.add(image_id)
            case NightChange.REPLACE:
                key = f"uploads/{image.user_id}/{image_id}-{len(image.photographs)}.jpg"
                self._put_upload(key, new)
                image.photographs.append(new)
                table.put({**item, "s3Key": {"S": key}, "status": {"S": "pending"}})
            case NightChange.UPLOAD_AGAIN if key in self.aws.objects:
                self._put_upload(key, new)
                image.photographs.append(new)
                image.is_same_key = True
            case NightChange.EDIT | NightChange.DELETE_TRANSACTION if stored:
                is_edit = change == NightChange.EDIT
                edited = {**stored, **({"amount": {"N": "1"}} if is_edit else {"status": {"S": "deleted"}})}
                transactions.put(edited)
                self.edited[transactions.key_of(edited)] = edited
            case _:
                pass

    # Bedrock

    def live_jobs(self) -> list[str]:
        """Return the ids of the jobs that Bedrock has not ended."""
        return [job_id for job_id, job in self.jobs.items() if job.is_live]

    def end_job(self, job_id: str, plan: JobPlan) -> list[str]:
        """Let Bedrock write a job's output and end the job. Return the messages about it."""
        job = self.jobs[job_id]
        image_ids = sorted(job.contents)
        written = image_ids[::2] if plan in (JobPlan.MISSING, JobPlan.PARTIAL, JobPlan.STOPPED) else image_ids
        written = [] if plan in (JobPlan.FAILED, JobPlan.EXPIRED) else written
        bad = {JobPlan.BAD: written[::2], JobPlan.PARTIAL: written[1:]}.get(plan, [])
        lines = [
            _bad_record(image_id, n) if image_id in bad else nova_record(image_id) for n, image_id in enumerate(written)
        ]
        job.dead_letters = {
            image_id for image_id, line in zip(written, lines, strict=True) if image_id in bad and line[-1] == "}"
        }
        messages: list[str] = []
        if plan == JobPlan.GROWN:
            messages.append(self._write_output(job_id, lines[:1]))
        if written:
            messages.append(self._write_output(job_id, lines))
            total = len(written) if plan == JobPlan.MISSING else len(image_ids)
            counts = {"totalRecordCount": total, "processedRecordCount": len(written), "successRecordCount": 0}
            messages.append(self._write(f"batch-output/{job_id}/manifest.json.out", {**counts, "errorRecordCount": 0}))
        if plan in ENDS:
            messages.append(job_end(ENDS[plan], "ended", job_id))
        job.is_live = False
        return messages

    def _write_output(self, job_id: str, lines: list[str]) -> str:
        key = f"batch-output/{job_id}/manifest.jsonl.out"
        self.aws.put_object(key, "\n".join(lines).encode())
        return json.dumps(s3_notification(key, self.aws.objects[key].etag))

    def _write(self, key: str, content: dict[str, int]) -> str:
        self.aws.put_object(key, json.dumps(content).encode())
        return json.dumps(s3_notification(key, self.aws.objects[key].etag))

    # Functions

    def invoke_orchestrator(self, event: dict[str, Any]) -> Invocation:
        """Return an invocation of the orchestrator, which has made no call yet."""
        return self._invoke(self.orchestrators, ORCHESTRATOR_SECONDS, lambda context: _orchestrate(event, context))

    def invoke_handler(self, message: str) -> Invocation:
        """Return an invocation of the result handler with one message, which has made no call yet."""
        return self._invoke(self.handlers, HANDLER_SECONDS, lambda context: _handle(message, context))

    def _invoke(self, environments: Environments, seconds: float, act: Callable[[Any], Any]) -> Invocation:
        deadline = self.clock + seconds
        context = SimpleNamespace(
            function_name="function",
            memory_limit_in_mb=1024,
            invoked_function_arn="arn:aws:lambda:ap-northeast-1:123456789012:function:function",
            aws_request_id="request-1",
            get_remaining_time_in_millis=lambda: (deadline - self.clock) * 1000,
        )
        environment = environments.take()
        invocation = Invocation(lambda: act(context), environment, deadline)
        self.running = invocation
        invocation.start()
        self._ended(invocation, environments)
        return invocation

    def step(self, invocation: Invocation, fault: Fault | None) -> None:
        """Let an invocation make its next call. Lambda ends an invocation whose time is over."""
        self.clock += self.seconds_per_call + 0.001
        if self.clock > invocation.deadline:
            fault = Fault("die")
        elif invocation.call and invocation.call.operation == "CopyObject":
            is_unmovable = any(image_id in invocation.call.resource for image_id in self.unmovable)
            fault = Fault("error", code="AccessDenied", status=403) if is_unmovable else fault
        self.running = invocation
        invocation.step(fault)
        is_handler = isinstance(invocation.environment, handler_module.UseCases)
        self._ended(invocation, self.handlers if is_handler else self.orchestrators)

    def _ended(self, invocation: Invocation, environments: Environments) -> None:
        if invocation.is_done and invocation.environment is not None:
            environments.free.append(invocation.environment)

    def finish(self, invocation: Invocation) -> Invocation:
        """Let an invocation make all its calls without faults."""
        while not invocation.is_done:
            self.step(invocation, None)
        return invocation

    def wait(self, call: Call) -> Fault | None:
        """Stop the running invocation before a call, and return the fault of the call."""
        assert self.running is not None
        return self.running.wait(call)

    # Operator

    def delete_intent(self, intent_id: str) -> None:
        """Delete an intent's item, as an operator does, and stop its job if Bedrock has one."""
        item = self.aws.tables[BATCH_JOBS].items.pop((intent_id,), {})
        for job_id, job in self.jobs.items():
            if job.intent_id == intent_id and (job.is_live or item.get("jobId") == {"S": job_id}):
                job.is_live = False
                self.removed_jobs.add(job_id)
                self.messages[:] = [message for message in self.messages if job_id not in message]

    def intents(self) -> list[dict[str, Any]]:
        """Return the items of batch-jobs."""
        return [from_item(item) for item in self.aws.tables[BATCH_JOBS].items.values()]

    # Invariants

    def now(self, precision: Any = "microseconds") -> str:
        """Return the current time, ISO 8601."""
        return iso_utc(datetime.fromtimestamp(self.clock, UTC), precision)

    def check(self) -> None:
        """Record the violations of invariants in the current state."""
        for job_id, uri in self.aws.jobs.items():
            if job_id not in self.jobs:
                self._accept(job_id, uri)
        for job in self.jobs.values():
            if job.is_live and any(self.aws.objects[key].body != body for key, body in job.input.items()):
                self.violations.add(f"twoJobs: the input of {job.intent_id} has changed after Bedrock accepted it")
        for (image_id,), item in self.aws.tables[PENDING_IMAGES].items.items():
            is_exhausted = int(item.get("attempts", {}).get("N", 0)) >= MAX_ATTEMPTS
            if is_exhausted and item["status"]["S"] == "pending" and len(self.images[image_id].photographs) == 1:
                self.violations.add(f"overread: {image_id} waits again after its last attempt")
        self._check_photographs(self._check_transactions())

    def _accept(self, job_id: str, uri: str) -> None:
        location = key_of(uri)
        key = input_key(location) if location.endswith("/") else location
        job = NightJob(key.split("/")[1], {key: self.aws.objects[key].body}, {})
        contents = job.contents
        for line in self.aws.objects[key].body.splitlines():
            record = json.loads(line)
            [image, *_] = [part for part in record["modelInput"]["messages"][0]["content"] if "image" in part]
            contents[record["recordId"]] = self._read(image["image"]["source"], job, location)
        item = self.aws.tables[BATCH_JOBS].items.get((job.intent_id,), {})
        etags = {
            image_id: f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"' for image_id, body in contents.items()
        }
        # The intent may have begun again, with a folder of its own.
        is_current = "manifestUri" in item and key_of(item["manifestUri"]["S"]) == key
        if is_current and item["submittedContents"]["S"] != contents_digest(etags):
            self.violations.add(f"misread: the contents of {job.intent_id}")
        for other in self.jobs.values():
            if other.is_live:
                both = [(image_id, body) for image_id, body in contents.items() if other.contents.get(image_id) == body]
                self.violations |= {
                    f"twoJobs: {image_id} is in {job.intent_id} and {other.intent_id}" for image_id, _ in both
                }
        self.jobs[job_id] = job
        read = Counter(
            (image_id, body)
            for each in self.jobs.values()
            if each.intent_id.startswith("schedule-")
            for image_id, body in each.contents.items()
        )
        self.violations |= {f"overread: {image_id}" for (image_id, _), times in read.items() if times > MAX_ATTEMPTS}

    def _read(self, source: dict[str, Any], job: NightJob, folder: str) -> bytes:
        """Return the content of an image in a model request, as Bedrock reads it."""
        if "bytes" in source:
            return base64.b64decode(source["bytes"])
        key = key_of(source["s3Location"]["uri"])
        if not key.startswith(folder):
            self.violations.add(f"misread: {key} is outside the input folder of {job.intent_id}")
        job.input[key] = self.aws.objects[key].body
        return job.input[key]

    def _check_transactions(self) -> set[bytes]:
        """Check the transactions, and return the photographs from which they were read."""
        items = self.aws.tables[TRANSACTIONS].items
        sources: Counter[bytes] = Counter()
        for key, item in items.items():
            image_id = item["imageId"]["S"]
            before = self.edited.setdefault(key, item)
            if any(item.get(name) != value for name, value in before.items() if name != "status"):
                self.violations.add(f"overwritten: a transaction of {image_id}")
            if before["status"]["S"] == "deleted" and item["status"]["S"] != "deleted":
                self.violations.add(f"overwritten: the deleted transaction of {image_id}")
            if item["userId"]["S"] != self.images[image_id].user_id:
                self.violations.add(f"wrongOwner: {image_id}")
            sources[self.photograph_of(item)] += 1
        self.violations |= {f"overwritten: {key} vanished" for key in self.edited if key not in items}
        self.violations |= {f"doubled: {body.decode()}" for body, number in sources.items() if number > 1}
        return {*sources}

    def photograph_of(self, transaction: dict[str, Any]) -> bytes:
        """Return the photograph that the job of a transaction has read."""
        return self.jobs[transaction["jobId"]["S"]].contents[transaction["imageId"]["S"]]

    def _check_photographs(self, read: set[bytes]) -> None:
        uploads: set[bytes] = set()
        processed: set[bytes] = set()
        for key, stored in self.aws.objects.items():
            if key.startswith("uploads/"):
                uploads.add(stored.body)
            elif key.startswith("processed/"):
                processed.add(stored.body)
        lost = self.must_exist - uploads - processed
        self.violations |= {f"nowhere: {body.decode()}" for body in lost}
        self.violations |= {f"misfiled: {body.decode()} was not read for a transaction" for body in processed - read}

    def check_end(self) -> None:
        """Record the images that are forgotten, after everything has come to rest."""
        items = {key[0]: from_item(item) for key, item in self.aws.tables[PENDING_IMAGES].items.items()}
        waiting = [image_id for image_id, item in items.items() if item["status"] == "pending"]
        if len(waiting) >= MIN_RECORDS:
            self.violations |= {f"forgotten: {image_id} still waits" for image_id in waiting}
        read: dict[str, list[tuple[bytes, str]]] = {}
        for transaction in map(from_item, self.aws.tables[TRANSACTIONS].items.values()):
            photograph = self.jobs[transaction["jobId"]].contents[transaction["imageId"]]
            read.setdefault(transaction["imageId"], []).append((photograph, transaction["intentId"]))
        letters = {(job.intent_id, image_id) for job in self.jobs.values() for image_id in job.dead_letters}
        for image_id, item in items.items():
            if item.get("failureReason") == "NO_RECORD" and (item.get("intentId"), image_id) in letters:
                self.violations.add(f"forgotten: the reason why {image_id} was not read")
            image, stored = self.images[image_id], read.get(image_id, [])
            latest = [intent_id for photograph, intent_id in stored if photograph == image.photographs[-1]]
            # A photograph that was uploaded under the key of another is not read for itself.
            known = stored if image.is_same_key else latest
            match item["status"]:
                case "processed" if not known:
                    self.violations.add(f"forgotten: {image_id} is processed without a transaction")
                case "failed" if item.get("failureReason") in (None, "", "NO_ROOM"):
                    self.violations.add(f"forgotten: {image_id} has failed without a reason")
                case "failed" | "pending" if latest:
                    self.violations.add(f"forgotten: {image_id} is {item['status']}, but has a transaction")
                case "submitted" if not known:
                    self.violations.add(f"forgotten: {image_id} is still held by {item['intentId']}")
                case _:
                    pass

    def fingerprint(self) -> str:
        """Return the state of the images, the transactions and the jobs."""
        images = {
            key: (item["status"], item.get("intentId")) for key, item in self.aws.tables[PENDING_IMAGES].items.items()
        }
        return repr((images, len(self.aws.tables[TRANSACTIONS].items), len(self.jobs)))


def key_of(uri: str) -> str:
    """Return the object key of an S3 URI."""
    return uri.partition("://")[2].partition("/")[2]


def _bad_record(image_id: str, number: int) -> str:
    choices = (
        nova_record(image_id, amount=-1),
        json.dumps({"recordId": image_id, "modelInput": {}, "error": {"errorCode": 500, "errorMessage": "error"}}),
        '{"recordId": "' + image_id,
    )
    return choices[number // 2 % len(choices)]


def _orchestrate(event: dict[str, Any], context: Any) -> dict[str, Any]:
    return orchestrator_module.handler(copy.deepcopy(event), context)


def _handle(message: str, context: Any) -> bool:
    return not handler_module.handler(sqs_event(message), context)["batchItemFailures"]


def _no_sleep(_: float) -> None:
    """Return immediately, as a replacement for time.sleep."""


def _no_delay(*_: object) -> float:
    return 0


def _accept(*_: object) -> bool:
    return True


@contextmanager
def serve_nights() -> Generator[Nights]:
    """Yield nights with functions that run in this process, without output and without delays between retries."""
    tables = {
        TRANSACTIONS: Table(("userId", "transactionId")),
        BATCH_JOBS: Table(("intentId",)),
        PENDING_IMAGES: Table(("imageId",)),
    }
    aws = InMemoryAws(tables, now=lambda: datetime.fromtimestamp(nights.clock, UTC))
    nights = Nights(
        aws,
        Environments(orchestrator_module.job_submitter.__wrapped__),
        Environments(handler_module.use_cases.__wrapped__),
    )
    aws.changed, aws.fault = nights.check, nights.wait
    session = boto3.Session("in-memory", "in-memory", region_name=REGION)
    aws.serve(session)

    class Clock(datetime):
        """The time of the nights."""

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.fromtimestamp(nights.clock, tz)

    def environment() -> Any:
        return cast("Invocation", nights.running).environment

    def submitter() -> JobSubmitter:
        made: JobSubmitter = environment()
        return replace(made, settings=made.settings.model_copy(update={"image_delivery": nights.delivery}))

    clock = SimpleNamespace(sleep=_no_sleep, monotonic=lambda: nights.clock, time=lambda: nights.clock)
    replaced: dict[str, object] = {
        "batch_orchestrator.handler.job_submitter": submitter,
        "batch_orchestrator.handler.scheduled_run": orchestrator_module.scheduled_run.__wrapped__,
        "batch_result_handler.handler.use_cases": environment,
        "batch_orchestrator.scheduled_run.datetime": Clock,
        "batch_orchestrator.submit_job.datetime": Clock,
        "batch_orchestrator.images.ThreadPoolExecutor": InlineExecutor,
        "batch_orchestrator.image_copies.ThreadPoolExecutor": InlineExecutor,
        # `Nights.limit_manifests` sets it.
        "batch_orchestrator.manifest.MAX_MANIFEST_BYTES": manifest_module.MAX_MANIFEST_BYTES,
        "batch_result_handler.process_output.ThreadPoolExecutor": InlineExecutor,
        "yorutsuke_common.aws.calls.ThreadPoolExecutor": InlineExecutor,
        "yorutsuke_common.aws.calls.time": clock,
        "yorutsuke_common.aws.dynamodb.time": clock,
        "yorutsuke_common.aws.batch_jobs.time": clock,
        # Repeated looks at the index follow one another at once.
        "yorutsuke_common.aws.batch_jobs.INDEX_DELAYS_SECONDS": (0, 0, 0, 0),
        "botocore.endpoint.time": clock,
        # The write rate and the retry quota of a client would outlast a schedule.
        "yorutsuke_common.aws.write_rate.WriteRate.reserve": _no_delay,
        "botocore.retries.quota.RetryQuota.acquire": _accept,
    }
    with ExitStack() as stack:
        null = stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
        stack.enter_context(redirect_stdout(null))
        stack.enter_context(patch.dict(os.environ, NIGHT_ENVIRONMENT))
        stack.enter_context(patch.object(boto3, "DEFAULT_SESSION", session))
        for name, value in replaced.items():
            stack.enter_context(patch(name, value))
        clear_handler_caches()
        load_orchestrator_settings.cache_clear()
        logging.disable()
        try:
            yield nights
        finally:
            logging.disable(logging.NOTSET)
            handler_module.load_settings.cache_clear()
            load_orchestrator_settings.cache_clear()
