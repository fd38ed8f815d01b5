"""The stores of a job's results, over the clients of one AWS account."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aws_lambda_powertools import Logger

from yorutsuke_common.settings import ResultSettings

from .batch_jobs import BatchJobs
from .calls import CONCURRENCY, CallPool, TimeLimit
from .dynamodb import ChunkedClient
from .image_moves import ImageMover
from .object_copier import ObjectCopier
from .pending_images import PendingImages
from .transactions import Transactions

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True)
class ResultStores:
    """The bucket and the tables that a job's results are read from and written to.

    `time_limit` ends the retries of throttled calls.
    """

    s3: "S3Client"
    bucket: str
    jobs: BatchJobs
    pending: PendingImages
    transactions: Transactions
    images: ImageMover
    time_limit: TimeLimit


def result_stores(s3: "S3Client", dynamodb: "DynamoDBClient", settings: ResultSettings, logger: Logger) -> ResultStores:
    """Return the stores of a stage. The clients need CONCURRENCY + 1 connections."""
    bucket = settings.images_bucket
    pool = CallPool()
    time_limit = TimeLimit()
    # Each table has a client of its own, because each has a write rate of its own.
    pending = PendingImages(ChunkedClient(dynamodb, pool, time_limit, logger), settings.pending_images_table)
    transactions = Transactions(ChunkedClient(dynamodb, pool, time_limit, logger), settings.transactions_table)
    return ResultStores(
        s3=s3,
        bucket=bucket,
        jobs=BatchJobs(dynamodb, settings.batch_jobs_table),
        pending=pending,
        transactions=transactions,
        images=ImageMover(s3, bucket, ObjectCopier(s3, bucket, CONCURRENCY, logger), pending, pool, logger),
        time_limit=time_limit,
    )
