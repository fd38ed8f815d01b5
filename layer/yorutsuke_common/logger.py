"""Semantic logs: one JSON entry per event, its name an enum, so that a query can rely on it.

No entry holds a raw line, a merchant, a description or an amount.
"""

from enum import StrEnum

from aws_lambda_powertools import Logger


class Event(StrEnum):
    """The `event` key of a log entry."""

    BATCH_RESULT_STARTED = "BATCH_RESULT_STARTED"
    BATCH_RESULT_PER_TRANSACTION = "BATCH_RESULT_PER_TRANSACTION"
    BATCH_RESULT_LINE_SKIPPED = "BATCH_RESULT_LINE_SKIPPED"
    BATCH_WRITE_RETRIED = "BATCH_WRITE_RETRIED"
    BATCH_WRITE_FAILED_FINAL = "BATCH_WRITE_FAILED_FINAL"
    BATCH_RESULT_IMAGE_MIGRATION_FAILED = "BATCH_RESULT_IMAGE_MIGRATION_FAILED"
    BATCH_RESULT_DUPLICATE = "BATCH_RESULT_DUPLICATE"
    BATCH_RESULT_IMAGE_MISSING = "BATCH_RESULT_IMAGE_MISSING"
    BATCH_RESULT_TEST_EVENT = "BATCH_RESULT_TEST_EVENT"
    BATCH_RESULT_COMPLETED = "BATCH_RESULT_COMPLETED"
    BATCH_RESULT_RECONCILED = "BATCH_RESULT_RECONCILED"
    BATCH_RESULT_NOT_RECONCILED = "BATCH_RESULT_NOT_RECONCILED"
    BATCH_RESULT_JOB_FAILED = "BATCH_RESULT_JOB_FAILED"
    BATCH_RESULT_FAILED = "BATCH_RESULT_FAILED"


def make_logger(service: str) -> Logger:
    """Return the JSON logger of a function; its level is the environment's `POWERTOOLS_LOG_LEVEL`."""
    return Logger(service=service, utc=True)
