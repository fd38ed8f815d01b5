"""The ways of turning an output into transactions that are measured side by side, each given the same modelled AWS."""

import json
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import boto3

from batch_result_handler import handler as handler_module
from batch_result_handler.handler import handler
from batch_result_handler.output import Line, opened_output
from batch_result_handler.records import GoodLine, LineReader, parse_record
from yorutsuke_common.dynamodb import WRITE_BATCH, batches, to_item
from yorutsuke_common.schema import BatchJob, Transaction

from .modelled_aws import BATCH_JOBS, JOB_ID, LAST_MODIFIED, PENDING_IMAGES, TRANSACTIONS, USER_ID, ModelledAws

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

BUCKET = "images"
OUTPUT_KEY = f"batch-output/{JOB_ID}/output.jsonl"
ENVIRONMENT = {
    "STAGE": "benchmark",
    "IMAGES_BUCKET": BUCKET,
    "TRANSACTIONS_TABLE": TRANSACTIONS,
    "BATCH_JOBS_TABLE": BATCH_JOBS,
    "PENDING_IMAGES_TABLE": PENDING_IMAGES,
    "TRANSACTION_TTL_DAYS": "730",
    "TIMEZONE": "Asia/Tokyo",
    "AWS_DEFAULT_REGION": "ap-northeast-1",
    "AWS_ACCESS_KEY_ID": "modelled",
    "AWS_SECRET_ACCESS_KEY": "modelled",
}
CONTEXT: Any = SimpleNamespace(
    function_name="handler",
    memory_limit_in_mb=1024,
    invoked_function_arn="arn:aws:lambda:ap-northeast-1:123456789012:function:handler",
    aws_request_id="request-1",
    get_remaining_time_in_millis=lambda: 300_000,
)

Way = Callable[[ModelledAws], None]


def the_handler(aws: ModelledAws) -> None:
    """Let the real handler take it in, from its event to its metrics, in process."""
    record = {"s3": {"bucket": {"name": BUCKET}, "object": {"key": OUTPUT_KEY}}}
    with (
        _session(aws),
        Path(os.devnull).open("w", encoding="utf-8") as silence,
        redirect_stdout(silence),
        patch.object(handler_module.logger.registered_handler, "stream", silence),
    ):
        handler_module.workers.cache_clear()
        handler({"Records": [record]}, CONTEXT)


def the_plan(aws: ModelledAws) -> None:
    """Follow the plan as it was written: transactions written in batches, everything else one by one."""
    with _session(aws):
        s3, dynamodb = _clients()
        for block in batches(list(_transactions(s3)), WRITE_BATCH):
            _write_batch(dynamodb, block)
            for transaction in block:
                key = {"imageId": {"S": transaction.imageId}}
                image: Any = dynamodb.get_item(TableName=PENDING_IMAGES, Key=key)
                source = image["Item"]["s3Key"]["S"]
                target = source.replace("uploads/", "processed/2026-11-23/")
                s3.copy_object(Bucket=BUCKET, Key=target, CopySource={"Bucket": BUCKET, "Key": source})
                s3.delete_object(Bucket=BUCKET, Key=source)


def write_one_by_one(aws: ModelledAws) -> None:
    """Write transactions alone, one PutItem a line."""
    with _session(aws):
        s3, dynamodb = _clients()
        for transaction in _transactions(s3):
            dynamodb.put_item(TableName=TRANSACTIONS, Item=to_item(transaction.item()))


def write_with_batch_writer(aws: ModelledAws) -> None:
    """Write transactions alone, through boto3's own `batch_writer`."""
    with _session(aws):
        s3, _ = _clients()
        with boto3.resource("dynamodb").Table(TRANSACTIONS).batch_writer() as writer:
            for transaction in _transactions(s3):
                writer.put_item(Item=transaction.item())


def write_in_batches(aws: ModelledAws) -> None:
    """Write transactions alone, as the handler does."""
    with _session(aws):
        s3, _ = _clients()
        handler_module.workers.cache_clear()
        batch = handler_module.workers().results.stores.batch
        batch.put(TRANSACTIONS, [to_item(transaction.item()) for transaction in _transactions(s3)])


def _write_batch(dynamodb: "DynamoDBClient", block: Sequence[Transaction]) -> None:
    puts: Any = [{"PutRequest": {"Item": to_item(transaction.item())}} for transaction in block]
    dynamodb.batch_write_item(RequestItems={TRANSACTIONS: puts})


def _transactions(s3: "S3Client") -> Iterator[Transaction]:
    """Yield the output's transactions, its lines read by `json.loads` first, as the plan has it."""
    job = BatchJob.model_validate(
        {
            "intentId": f"intent-{JOB_ID}",
            "jobId": JOB_ID,
            "userId": USER_ID,
            "status": "SUBMITTED",
            "submitTime": "2026-11-22T14:05:00Z",
        }
    )
    reader = LineReader(job, LAST_MODIFIED, 730)
    body = s3.get_object(Bucket=BUCKET, Key=OUTPUT_KEY)["Body"]
    for number, line in enumerate(body.iter_lines(), 1):
        json.loads(line)
        read = reader.read(Line(number, line))
        if isinstance(read, GoodLine):
            yield read.transaction


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
            yield


def read_lines(aws: ModelledAws) -> None:
    """Read the lines alone, as the handler does."""
    with _session(aws), opened_output(boto3.client("s3"), BUCKET, OUTPUT_KEY) as output:
        for line in output.lines():
            parse_record(line)


def json_loads(aws: ModelledAws) -> None:
    """Read the lines alone, each by `json.loads`."""
    with _session(aws), opened_output(boto3.client("s3"), BUCKET, OUTPUT_KEY) as output:
        for line in output.lines():
            json.loads(line.content)


WAYS: dict[str, Way] = {
    "handler": the_handler,
    "the plan": the_plan,
    "writes, as the handler": write_in_batches,
    "writes, batch_writer": write_with_batch_writer,
    "writes, one by one": write_one_by_one,
    "reads, as the handler": read_lines,
    "reads, json.loads": json_loads,
}
"""By the names that they are shown under."""
