"""The transactions of a job, found by the index `jobId-extractedAt`, which lags behind the table."""

from collections.abc import Iterator
from typing import Any

from yorutsuke_common.aws.dynamodb import Item, to_item
from yorutsuke_common.names import JOB_TRANSACTIONS_INDEX
from yorutsuke_common.schema import TransactionStatus

from .stage import Stage


def job_transactions(
    stage: Stage, job_id: str, *attributes: str, status: TransactionStatus | None = None
) -> Iterator[Item]:
    """Yield these attributes of a job's transactions, or of those with a status."""
    request: dict[str, Any] = {
        "TableName": stage.settings.transactions_table,
        "IndexName": JOB_TRANSACTIONS_INDEX,
        "KeyConditionExpression": "jobId = :jobId",
        "ExpressionAttributeValues": to_item({":jobId": job_id, **({":status": status.value} if status else {})}),
        "ProjectionExpression": ", ".join(f"#{name}" for name in attributes),
        "ExpressionAttributeNames": {f"#{name}": name for name in {*attributes, *(["status"] if status else [])}},
        **({"FilterExpression": "#status = :status"} if status else {}),
    }
    for page in stage.clients.dynamodb.get_paginator("query").paginate(**request):
        yield from page["Items"]
