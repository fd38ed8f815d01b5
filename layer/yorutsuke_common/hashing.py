"""Ids that follow from facts, so that the same fact always gets the same id. Pure."""

import hashlib

TRANSACTION_ID_LENGTH = 24


def transaction_id(job_id: str, image_id: str, timestamp: str) -> str:
    """Return the id of the transaction that a job read from an image: 24 hex digits.

    `timestamp` is the job's submitTime exactly as stored, never the time of processing: a replay must find the same
    id, so that it overwrites its own item instead of adding a second one.
    """
    digest = hashlib.sha256(f"{job_id}#{image_id}#{timestamp}".encode())
    return digest.hexdigest()[:TRANSACTION_ID_LENGTH]


def image_digest(image_id: str) -> str:
    """Return 12 hex digits that stand for an image id where the id itself does not fit, such as in an object key."""
    return hashlib.sha256(image_id.encode()).hexdigest()[:12]


def derived_trace_id(job_id: str) -> str:
    """Return the trace id of a job that was submitted without one: the same for every delivery of its output."""
    return f"job-{job_id}"
