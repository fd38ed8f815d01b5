"""The transactions of a job, found by the index `jobId-extractedAt`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from yorutsuke_common.aws.dynamodb import Item, to_item
from yorutsuke_common.names import JOB_TRANSACTIONS_INDEX
from yorutsuke_common.schema import TransactionStatus

from .stage import Stage

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.paginator import QueryPaginator


def job_transactions(
    stage: Stage, job_id: str, *attributes: str, status: TransactionStatus | None = None
) -> Iterator[Item]:
    """Yield these attributes of a job's transactions, of all or of those with a status. The index may lag behind."""
    names = {f"#{name}": name for name in (*attributes, *(["status"] if status else []))}
    request: dict[str, Any] = {
        "TableName": stage.settings.transactions_table,
        "IndexName": JOB_TRANSACTIONS_INDEX,
        "KeyConditionExpression": "jobId = :jobId",
        "ExpressionAttributeValues": to_item({":jobId": job_id, **({":status": status.value} if status else {})}),
        "ProjectionExpression": ", ".join(f"#{name}" for name in attributes),
        "ExpressionAttributeNames": names,
    }
    if status:
        request["FilterExpression"] = "#status = :status"
    paginator: QueryPaginator = stage.clients.dynamodb.get_paginator("query")
    for page in paginator.paginate(**request):
        yield from page["Items"]
