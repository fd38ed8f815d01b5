"""Reads the transactions table."""

from collections.abc import Iterable, Iterator
from typing import Any

from yorutsuke_common.aws.dynamodb import Item, to_item
from yorutsuke_common.names import JOB_TRANSACTIONS_INDEX
from yorutsuke_common.schema import Transaction, TransactionStatus

from .stage import Stage


def job_transactions(
    stage: Stage, job_id: str, *attributes: str, status: TransactionStatus | None = None
) -> Iterator[Item]:
    """Yield attributes of a job's transactions, or of those with a status, from an index that lags behind the table."""
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


def stored_ids(stage: Stage, transactions: Iterable[Transaction]) -> set[str]:
    """Return the ids of the transactions that the table has. Raises the errors of `ChunkedClient.get`."""
    store = stage.stores.transactions
    keys = [to_item({"userId": t.userId, "transactionId": t.transactionId}) for t in transactions]
    return {item["transactionId"]["S"] for item in store.items.get(store.table, keys, ["transactionId"])}
