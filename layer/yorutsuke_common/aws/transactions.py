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
        """Write transactions, and replace those that the table has. No two of them may have the same id.

        Raises the errors of `ChunkedClient.put`.
        """
        self.items.put(self.table, [to_item(transaction.item()) for transaction in transactions])
