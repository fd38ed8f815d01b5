"""The table `transactions`: the entries of the users' books.

After the first write, a transaction belongs to the app and its user. This module never overwrites one. It only adds
missing transactions and changes the attribute `status`.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from yorutsuke_common.schema import Transaction, TransactionStatus

from .dynamodb import DUPLICATE, ChunkedClient, Item, insert, to_item, update


@dataclass(frozen=True)
class Transactions:
    """The transactions table. Every method raises the errors of `ChunkedClient`.

    No two of the transactions that a method receives may have the same id.
    """

    items: ChunkedClient
    table: str
    _turn: threading.Lock = field(default_factory=threading.Lock)
    """Held while transactions are added. Concurrent chunks then take turns on their common partition, and the images of
    one can be moved while another is written."""

    def add(self, transactions: Sequence[Transaction]) -> list[Transaction]:
        """Write the transactions that the table does not have, and return the others.

        Raises:
            ValueError: DynamoDB refuses a transaction as such. The schema keeps every transaction within the limits.
        """
        statements = [insert(self.table, to_item(transaction.item())) for transaction in transactions]
        with self._turn:
            codes = self.items.execute(statements)
        refused = {code for code in codes if code not in (None, DUPLICATE)}
        if refused:
            raise ValueError(f"DynamoDB refused transactions with {', '.join(map(str, refused))}")
        return [transaction for transaction, code in zip(transactions, codes, strict=True) if code == DUPLICATE]

    def stored(self, keys: Sequence[tuple[str, str]]) -> set[str]:
        """Return the ids of the transactions that the table has, of those with these users and ids."""
        items = [{"userId": {"S": user_id}, "transactionId": {"S": id_}} for user_id, id_ in keys if user_id]
        return {item["transactionId"]["S"] for item in self.items.get(self.table, items, _READ)}

    def with_status(self, transactions: Sequence[Transaction], status: TransactionStatus) -> list[Transaction]:
        """Return the transactions that are stored with a status."""
        found = self.items.get(self.table, [_key(transaction) for transaction in transactions], _READ)
        ids = {item["transactionId"]["S"] for item in found if item.get("status") == {"S": status.value}}
        return [transaction for transaction in transactions if transaction.transactionId in ids]

    def set_status(
        self, transactions: Sequence[Transaction], before: TransactionStatus, after: TransactionStatus
    ) -> None:
        """Change the status of the transactions that are stored with the status `before`."""
        change = {"status": {"S": after.value}}
        self.items.execute(
            [
                update(self.table, change, {**_key(transaction), "status": {"S": before.value}})
                for transaction in transactions
            ]
        )


_READ = ("transactionId", "status")


def _key(transaction: Transaction) -> Item:
    return {"userId": {"S": transaction.userId}, "transactionId": {"S": transaction.transactionId}}
