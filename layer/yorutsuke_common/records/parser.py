"""Parses each record of an output file into a transaction or a dead letter, and never raises."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from yorutsuke_common.hashing import transaction_id
from yorutsuke_common.schema import BatchJob, DeadLetter, Reason, Receipt, Transaction, iso_utc

from .dead_letter import dead_letter, trimmed
from .lines import Line
from .receipt import parse_receipt
from .record import image_id_of, parse_record, receipt_source_of
from .rejection import Rejection


@dataclass(frozen=True)
class ParsedRecord:
    """A line that was parsed into a transaction. `line` counts from 1.

    `record` is its JSON, cut to a dead letter's limit. The record still becomes a dead letter if its image repeats, is
    unknown, is in another job, or does not belong to the job's owner. In a job for several users, the transaction does
    not have its owner yet, and DynamoDB would refuse it.
    """

    line: int
    transaction: Transaction
    record: bytes

    def reject(self, reason: Reason, detail: str) -> DeadLetter:
        """Return the dead letter of a record that is valid and must still not be stored."""
        return DeadLetter(
            line=self.line, imageId=self.transaction.imageId, reason=reason, detail=detail, record=self.record
        )


@dataclass(frozen=True)
class RecordParser:
    """Parses the lines of one output file. `extracted_at` is the file's LastModified, in UTC."""

    job: BatchJob
    extracted_at: datetime
    ttl_days: int

    def parse(self, line: Line) -> ParsedRecord | DeadLetter:
        """Return the line's transaction, or the dead letter with the reason of its rejection."""
        image_id: str | None = None
        try:
            record = parse_record(line)
            image_id = image_id_of(record)
            receipt = parse_receipt(receipt_source_of(record, line), self._latest_date)
        except Rejection as rejection:
            return dead_letter(line, image_id, rejection)
        kept = trimmed(record.model_dump_json(exclude_unset=True).encode())
        return ParsedRecord(line.number, self._transaction(image_id, receipt), kept)

    @cached_property
    def _latest_date(self) -> str:
        """The latest date of a receipt, YYYY-MM-DD. A local date is at most one day ahead of the date in UTC."""
        return (self.extracted_at.astimezone(UTC) + timedelta(days=1)).date().isoformat()

    @cached_property
    def _common_attributes(self) -> dict[str, Any]:
        """The attributes that all transactions of the output share."""
        return {
            "userId": self.job.userId or "",
            "jobId": self.job.jobId,
            "intentId": self.job.intentId,
            "traceId": self.job.trace_id,
            "extractedAt": iso_utc(self.extracted_at),
            "ttl": int((self.extracted_at + timedelta(days=self.ttl_days)).timestamp()),
        }

    def _transaction(self, image_id: str, receipt: Receipt) -> Transaction:
        return Transaction(
            **dict(receipt),
            **self._common_attributes,
            transactionId=transaction_id(self.job.jobId, image_id, self.job.submitTime),
            imageId=image_id,
        )
