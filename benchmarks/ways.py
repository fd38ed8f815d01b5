"""The measured ways to process an output file or to submit a job. All ways run on the same modelled AWS.

A way prepares a run inside `session` and returns the run as a function. Only the run is measured.
"""

import json
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager, redirect_stdout
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from unittest.mock import patch

import boto3

import batch_orchestrator.handler as orchestrator
import batch_orchestrator.images
import batch_result_handler.handler as result_handler
from local.lambda_context import lambda_context
from yorutsuke_common.aws.calls import chunks
from yorutsuke_common.aws.dynamodb import WRITE_CHUNK, to_item
from yorutsuke_common.events import OutputObject
from yorutsuke_common.names import MAX_FUNCTION_SECONDS, PROCESSED_PREFIX, UPLOADS_PREFIX
from yorutsuke_common.object_keys import output_prefix
from yorutsuke_common.records.lines import Line
from yorutsuke_common.records.parser import ParsedRecord, RecordParser
from yorutsuke_common.records.record import parse_record
from yorutsuke_common.schema import BatchJob, Transaction

from .modelled_aws import (
    BATCH_JOBS,
    BUCKET,
    LAST_MODIFIED,
    PENDING_IMAGES,
    SECOND,
    SUBMITTED,
    TRANSACTIONS,
    ModelledAws,
    waiting_image,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ENVIRONMENT = {
    "AWS_DEFAULT_REGION": "ap-northeast-1",
    "AWS_ACCESS_KEY_ID": "modelled",
    "AWS_SECRET_ACCESS_KEY": "modelled",
    "STAGE": "benchmark",
    "IMAGES_BUCKET": BUCKET,
    "TRANSACTIONS_TABLE": TRANSACTIONS,
    "BATCH_JOBS_TABLE": BATCH_JOBS,
    "PENDING_IMAGES_TABLE": PENDING_IMAGES,
    "TRANSACTION_TTL_DAYS": "730",
    "TIMEZONE": "Asia/Tokyo",
    "BEDROCK_ROLE_ARN": "arn:aws:iam::123456789012:role/benchmark",
    "MODEL_IDS": "amazon.nova-lite-v1:0",
}
OUTPUT_KEY = f"{output_prefix(SUBMITTED.jobId)}output.jsonl"
IMAGES_AT_A_TIME = 16
READ_REPEATS = 200
"""Number of times that a read-only run reads each line. Makes the run long enough for a stable time."""

Run = Callable[[], object]
Way = Callable[[ModelledAws], Run]
_T = TypeVar("_T")
_R = TypeVar("_R")


@contextmanager
def session(aws: ModelledAws) -> Generator[None]:
    """Connect new clients to the modelled AWS, discard logs and metrics, and clear the caches of both functions."""
    default_session = boto3.Session(region_name=ENVIRONMENT["AWS_DEFAULT_REGION"])
    aws.serve(default_session)
    for cached in (result_handler.load_settings, result_handler.use_cases):
        cached.cache_clear()
    for cached in (orchestrator.load_settings, orchestrator.job_submitter, orchestrator.scheduled_run):
        cached.cache_clear()
    with (
        patch.dict(os.environ, ENVIRONMENT),
        patch.object(boto3, "DEFAULT_SESSION", default_session),
        Path(os.devnull).open("w", encoding="utf-8") as null_file,
        redirect_stdout(null_file),
        patch.object(result_handler.logger.registered_handler, "stream", null_file),
        patch.object(orchestrator.logger.registered_handler, "stream", null_file),
    ):
        yield


def run_handler(_: ModelledAws) -> Run:
    """Process the output file with the real handler after a cold start, from its event to its metrics."""
    record = {"s3": {"bucket": {"name": BUCKET}, "object": {"key": OUTPUT_KEY}}}
    return partial(result_handler.handler, {"Records": [record]}, lambda_context(seconds=300))


def run_two_jobs(_: ModelledAws) -> Run:
    """Process the output files of two jobs of one user at the same time, in two execution environments."""

    def process(job: BatchJob) -> None:
        cases = cache(result_handler.use_cases.__wrapped__)()
        cases.outputs.process(job, OutputObject(BUCKET, f"{output_prefix(job.jobId)}output.jsonl", None), 300.0)

    def run() -> None:
        with ThreadPoolExecutor() as executor:
            list(executor.map(process, (SUBMITTED, SECOND)))

    return run


def run_baseline(_: ModelledAws) -> Run:
    """Process the output file without concurrency.

    Transactions are written in chunks. Every other call is made one at a time.
    """
    s3, dynamodb = boto3.client("s3"), boto3.client("dynamodb")

    def run() -> None:
        for chunk in chunks(list(_transactions(s3)), WRITE_CHUNK):
            puts: Any = [{"PutRequest": {"Item": to_item(transaction.item())}} for transaction in chunk]
            dynamodb.batch_write_item(RequestItems={TRANSACTIONS: puts})
            for transaction in chunk:
                key = {"imageId": {"S": transaction.imageId}}
                image: Any = dynamodb.get_item(TableName=PENDING_IMAGES, Key=key)
                source = image["Item"]["s3Key"]["S"]
                target = source.replace(UPLOADS_PREFIX, f"{PROCESSED_PREFIX}2026-11-23/")
                s3.copy_object(Bucket=BUCKET, Key=target, CopySource={"Bucket": BUCKET, "Key": source})
                s3.delete_object(Bucket=BUCKET, Key=source)

    return run


def write_one_by_one(_: ModelledAws) -> Run:
    """Write transactions with one PutItem each."""
    dynamodb, transactions = boto3.client("dynamodb"), list(_transactions(boto3.client("s3")))

    def run() -> None:
        for transaction in transactions:
            dynamodb.put_item(TableName=TRANSACTIONS, Item=to_item(transaction.item()))

    return run


def write_with_batch_writer(_: ModelledAws) -> Run:
    """Write transactions with boto3's `batch_writer`."""
    table, transactions = boto3.resource("dynamodb").Table(TRANSACTIONS), list(_transactions(boto3.client("s3")))

    def run() -> None:
        with table.batch_writer() as writer:
            for transaction in transactions:
                writer.put_item(Item=transaction.item())

    return run


def write_as_the_handler(_: ModelledAws) -> Run:
    """Write transactions as the handler does."""
    transactions = list(_transactions(boto3.client("s3")))
    return partial(result_handler.use_cases().stores.transactions.add, transactions)


def read_as_the_handler(aws: ModelledAws) -> Run:
    """Parse lines into records, as the handler does."""
    return _repeated_read(aws, parse_record)


def read_with_json_loads(aws: ModelledAws) -> Run:
    """Read lines with `json.loads`."""
    return _repeated_read(aws, lambda line: json.loads(line.content))


def _repeated_read(aws: ModelledAws, read: Callable[[Line], object]) -> Run:
    lines = [Line(number, line) for number, line in enumerate(aws.content(), 1)]

    def run() -> None:
        for _ in range(READ_REPEATS):
            for line in lines:
                read(line)

    return run


def submit(aws: ModelledAws, **changes: object) -> Run:
    """Submit a job with the real orchestrator after a cold start, from its event to the item of the job.

    The request names the user if the images have only one.
    """
    image_ids = [waiting_image(number) for number in range(aws.records)]
    owner = {"userId": SUBMITTED.userId} if aws.users == 1 else {}
    request = {"intentId": "benchmark", "pendingImageIds": image_ids, **owner, **changes}
    return partial(orchestrator.handler, request, lambda_context(seconds=900))


def run_schedule(_: ModelledAws) -> Run:
    """Submit the waiting images with one scheduled run of the real orchestrator and the default settings.

    The run ends early if the time of an invocation does not suffice.
    """
    context = lambda_context(seconds=0)

    def run() -> None:
        end = time.monotonic() + MAX_FUNCTION_SECONDS
        context.get_remaining_time_in_millis = lambda: (end - time.monotonic()) * 1000
        orchestrator.handler({"scheduledTime": "2026-11-22T14:05:00Z"}, context)

    return run


def submit_by_reference(aws: ModelledAws) -> Run:
    """Submit a job with images in S3."""
    return submit(aws, imageDelivery="s3")


def submit_by_sixteens(aws: ModelledAws) -> Run:
    """Submit a job that reads sixteen images, writes them, and only then reads the next sixteen."""
    run = submit(aws)

    def patched() -> None:
        with patch.object(batch_orchestrator.images, "map_ahead", _map_by_sixteens):
            run()

    return patched


def _map_by_sixteens(executor: Executor, call: Callable[[_T], _R], items: Iterable[_T], *_: object) -> Iterator[_R]:
    left = iter(items)
    while chunk := [*islice(left, IMAGES_AT_A_TIME)]:
        yield from executor.map(call, chunk)


def _transactions(s3: "S3Client") -> Iterator[Transaction]:
    """Yield the output file's transactions. `json.loads` parses each line first."""
    parser = RecordParser(SUBMITTED, LAST_MODIFIED, 730)
    body = s3.get_object(Bucket=BUCKET, Key=OUTPUT_KEY)["Body"]
    for number, line in enumerate(body.iter_lines(), 1):
        json.loads(line)
        record = parser.parse(Line(number, line))
        if isinstance(record, ParsedRecord):
            yield record.transaction


HANDLER, BASELINE = "handler", "baseline"
HOSTILE = "handler, hostile records"
WRITES, WRITES_BATCH_WRITER, WRITES_ONE_BY_ONE = "writes, handler", "writes, batch_writer", "writes, one by one"
READS, READS_JSON_LOADS = f"{READ_REPEATS} x read, handler", f"{READ_REPEATS} x read, json.loads"
SUBMISSION, SUBMISSION_BY_SIXTEENS = "submission", f"submission, {IMAGES_AT_A_TIME} images at a time"
SUBMISSION_BY_REFERENCE = "submission, images in S3"
USERS, USERS_BY_REFERENCE = "submission, one image per user", "submission, one image per user, images in S3"
SCHEDULE = "scheduled run, ten images per user"
IMAGES_PER_USER = {USERS: 1, USERS_BY_REFERENCE: 1, SCHEDULE: 10}
"""The number of waiting images of each user. In other ways, all images belong to one user."""
BESIDE = {SUBMISSION_BY_REFERENCE: SUBMISSION, USERS_BY_REFERENCE: USERS}
"""The ways with images in S3, and the same submissions with images in the manifest."""
SMALL, LARGE, TWO_JOBS = "one partition, 1 unit", "one partition, 2 units", "one user, two jobs, 2 units"
LIMITED = {SMALL: 1, LARGE: 2, TWO_JOBS: 2}
"""The ways with limited partitions, and the write units of each of their transactions."""
SUBMISSIONS: dict[str, Way] = {
    SUBMISSION: submit,
    SUBMISSION_BY_SIXTEENS: submit_by_sixteens,
    SUBMISSION_BY_REFERENCE: submit_by_reference,
    USERS: submit,
    USERS_BY_REFERENCE: submit_by_reference,
    SCHEDULE: run_schedule,
}
"""The ways that submit waiting images. The write units of the index of images by status are limited."""
WAYS: dict[str, Way] = {
    HANDLER: run_handler,
    SMALL: run_handler,
    LARGE: run_handler,
    TWO_JOBS: run_two_jobs,
    HOSTILE: run_handler,
    BASELINE: run_baseline,
    WRITES: write_as_the_handler,
    WRITES_BATCH_WRITER: write_with_batch_writer,
    WRITES_ONE_BY_ONE: write_one_by_one,
    READS: read_as_the_handler,
    READS_JSON_LOADS: read_with_json_loads,
    **SUBMISSIONS,
}
"""The ways by their displayed names."""
