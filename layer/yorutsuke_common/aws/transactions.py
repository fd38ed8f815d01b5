"""The transactions table."""

from collections.abc import Iterable
from dataclasses import dataclass

from yorutsuke_common.schema import Transaction

from .dynamodb import ChunkedClient, Item, to_item


@dataclass(frozen=True)
class Transactions:
    """The transactions table. Every method raises the errors of `ChunkedClient`."""

    items: ChunkedClient
    table: str

    def put(self, transactions: Iterable[Transaction]) -> None:
        """Write transactions, whose ids must be distinct, over those that the table has."""
        self.items.put(self.table, [to_item(transaction.item()) for transaction in transactions])

    def find(self, transactions: Iterable[Transaction]) -> dict[str, Item]:
        """Return the items that the table has for these transactions, by transaction id."""
        keys = [to_item({"userId": t.userId, "transactionId": t.transactionId}) for t in transactions]
        return {item["transactionId"]["S"]: item for item in self.items.get(self.table, keys)}
