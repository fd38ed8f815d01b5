"""The ways of turning an output into transactions that are measured side by side, each given the same modelled AWS."""

import json
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import boto3

from batch_result_handler import handler as handler_module
from batch_result_handler.handler import handler
from local.lambda_context import lambda_context
from yorutsuke_common.aws.calls import chunks
from yorutsuke_common.aws.dynamodb import WRITE_CHUNK, from_item, to_item
from yorutsuke_common.records.lines import Line
from yorutsuke_common.records.parser import ParsedRecord, RecordParser
from yorutsuke_common.records.record import parse_record
from yorutsuke_common.schema import BatchJob, Transaction

from .modelled_aws import (
    BATCH_JOBS,
    BUCKET,
    CREDENTIALS,
    JOB_ID,
    LAST_MODIFIED,
    PENDING_IMAGES,
    SUBMITTED,
    TRANSACTIONS,
    ModelledAws,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

OUTPUT_KEY = f"batch-output/{JOB_ID}/output.jsonl"
ENVIRONMENT = {
    **CREDENTIALS,
    "STAGE": "benchmark",
    "IMAGES_BUCKET": BUCKET,
    "TRANSACTIONS_TABLE": TRANSACTIONS,
    "BATCH_JOBS_TABLE": BATCH_JOBS,
    "PENDING_IMAGES_TABLE": PENDING_IMAGES,
    "TRANSACTION_TTL_DAYS": "730",
    "TIMEZONE": "Asia/Tokyo",
}
READ_AGAIN = 200
"""How often each line is read where reading alone is measured: long enough for a machine that is not quiet."""

Run = Callable[[], None]
Way = Callable[[ModelledAws], AbstractContextManager[Run]]
"""What it takes to begin is got ready when the context is entered; the run that it yields is measured."""


@contextmanager
def the_handler(aws: ModelledAws) -> Generator[Run]:
    """Let the real handler take it in, cold, from its event to its metrics, in process."""
    record = {"s3": {"bucket": {"name": BUCKET}, "object": {"key": OUTPUT_KEY}}}
    with (
        _session(aws),
        Path(os.devnull).open("w", encoding="utf-8") as silence,
        redirect_stdout(silence),
        patch.object(handler_module.logger.registered_handler, "stream", silence),
    ):
        yield lambda: _invoked({"Records": [record]})


def _invoked(event: dict[str, Any]) -> None:
    handler(event, lambda_context(seconds=300))


@contextmanager
def the_plan(aws: ModelledAws) -> Generator[Run]:
    """Follow the plan as it was written: transactions written in chunks, everything else one by one."""
    with _session(aws):
        s3, dynamodb = _clients()

        def run() -> None:
            for block in chunks(list(_transactions(s3)), WRITE_CHUNK):
                puts: Any = [{"PutRequest": {"Item": to_item(transaction.item())}} for transaction in block]
                dynamodb.batch_write_item(RequestItems={TRANSACTIONS: puts})
                for transaction in block:
                    key = {"imageId": {"S": transaction.imageId}}
                    image: Any = dynamodb.get_item(TableName=PENDING_IMAGES, Key=key)
                    source = image["Item"]["s3Key"]["S"]
                    target = source.replace("uploads/", "processed/2026-11-23/")
                    s3.copy_object(Bucket=BUCKET, Key=target, CopySource={"Bucket": BUCKET, "Key": source})
                    s3.delete_object(Bucket=BUCKET, Key=source)

        yield run


@contextmanager
def write_one_by_one(aws: ModelledAws) -> Generator[Run]:
    """Write transactions alone, one PutItem a line."""
    with _session(aws):
        s3, dynamodb = _clients()
        transactions = list(_transactions(s3))

        def run() -> None:
            for transaction in transactions:
                dynamodb.put_item(TableName=TRANSACTIONS, Item=to_item(transaction.item()))

        yield run


@contextmanager
def write_with_batch_writer(aws: ModelledAws) -> Generator[Run]:
    """Write transactions alone, through boto3's own `batch_writer`."""
    with _session(aws):
        s3, _ = _clients()
        transactions = list(_transactions(s3))
        table = boto3.resource("dynamodb").Table(TRANSACTIONS)

        def run() -> None:
            with table.batch_writer() as writer:
                for transaction in transactions:
                    writer.put_item(Item=transaction.item())

        yield run


@contextmanager
def write_in_batches(aws: ModelledAws) -> Generator[Run]:
    """Write transactions alone, as the handler does."""
    with _session(aws):
        s3, _ = _clients()
        transactions = list(_transactions(s3))
        stores = handler_module.use_cases().stores
        yield lambda: stores.transactions.put(transactions)


@contextmanager
def read_lines(aws: ModelledAws) -> Generator[Run]:
    """Read lines alone, as the handler does: into the record that each is."""
    yield _reading(aws, parse_record)


@contextmanager
def read_with_json_loads(aws: ModelledAws) -> Generator[Run]:
    """Read lines alone, each by `json.loads`."""
    yield _reading(aws, lambda line: json.loads(line.content))


def _reading(aws: ModelledAws, read: Callable[[Line], object]) -> Run:
    lines = [Line(number, line) for number, line in enumerate(aws.content(), 1)]

    def run() -> None:
        for _ in range(READ_AGAIN):
            for line in lines:
                read(line)

    return run


def _transactions(s3: "S3Client") -> Iterator[Transaction]:
    """Yield the output's transactions, its lines read by `json.loads` first, as the plan has it."""
    job = BatchJob.model_validate(from_item(SUBMITTED))
    parser = RecordParser(job, LAST_MODIFIED, 730)
    body = s3.get_object(Bucket=BUCKET, Key=OUTPUT_KEY)["Body"]
    for number, line in enumerate(body.iter_lines(), 1):
        json.loads(line)
        record = parser.parse(Line(number, line))
        if isinstance(record, ParsedRecord):
            yield record.transaction


def _clients() -> "tuple[S3Client, DynamoDBClient]":
    return boto3.client("s3"), boto3.client("dynamodb")


@contextmanager
def _session(aws: ModelledAws) -> Generator[None]:
    """Let every client be one of the modelled AWS, and the handler start cold."""
    with patch.dict(os.environ, ENVIRONMENT):
        session = boto3.Session()
        aws.serve(session)
        with patch.object(boto3, "DEFAULT_SESSION", session):
            handler_module.load_settings.cache_clear()
            handler_module.use_cases.cache_clear()
            yield


HANDLER = "handler"
PLAN = "the plan"
WRITES, WRITES_BATCH_WRITER, WRITES_ONE_BY_ONE = "writes, as the handler", "writes, batch_writer", "writes, one by one"
READS, READS_JSON_LOADS = f"{READ_AGAIN} x read, as the handler", f"{READ_AGAIN} x read, json.loads"
WAYS: dict[str, Way] = {
    HANDLER: the_handler,
    PLAN: the_plan,
    WRITES: write_in_batches,
    WRITES_BATCH_WRITER: write_with_batch_writer,
    WRITES_ONE_BY_ONE: write_one_by_one,
    READS: read_lines,
    READS_JSON_LOADS: read_with_json_loads,
}
"""By the names that they are shown under."""
