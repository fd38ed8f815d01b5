"""The transactions table."""

from collections.abc import Iterable
from dataclasses import dataclass

from yorutsuke_common.schema import Transaction

from .dynamodb import ChunkedClient, to_item


@dataclass(frozen=True)
class Transactions:
    """The transactions table."""

    items: ChunkedClient
    table: str

    def put(self, transactions: Iterable[Transaction]) -> None:
        """Write transactions, whose ids must be distinct, over those that the table has.

        Raises the errors of `ChunkedClient.put`.
        """
        self.items.put(self.table, [to_item(transaction.item()) for transaction in transactions])
