"""Ids that are derived from facts, so that the same fact always has the same id. Pure."""

import hashlib
import json
from collections.abc import Iterable, Mapping

QUOTE = '"'
TRANSACTION_ID_LENGTH = 24
"""Length of a transaction id, in hex digits."""


def transaction_id(job_id: str, image_id: str, timestamp: str) -> str:
    """Return the id of the transaction that a job read from an image: 24 hex digits.

    `timestamp` is the job's submitTime exactly as stored, and never the time of processing. A replay then finds the
    same id, and does not add a second transaction.
    """
    digest = hashlib.sha256(f"{job_id}#{image_id}#{timestamp}".encode())
    return digest.hexdigest()[:TRANSACTION_ID_LENGTH]


def image_digest(image_id: str, etag: str) -> str:
    """Return 12 hex digits that represent an image: its id and the ETag of its content, without quotes."""
    return snapshot_digest(image_id, etag)[:12]


def snapshot_digest(image_id: str, etag: str) -> str:
    """Return 64 hex digits that represent an image: its id and the ETag of its content, without quotes."""
    return hashlib.sha256(f"{image_id}#{etag.strip(QUOTE)}".encode()).hexdigest()


def derived_trace_id(job_id: str) -> str:
    """Return the trace id of a job that was submitted without one: the same for every delivery of its output."""
    return f"job-{job_id}"


def images_digest(image_ids: Iterable[str]) -> str:
    """Return 64 hex digits that represent a set of images, independent of their order."""
    return hashlib.sha256(json.dumps(sorted(image_ids)).encode()).hexdigest()


def contents_digest(etags: Mapping[str, str]) -> str:
    """Return 64 hex digits that represent images and their contents, given as ETags by image id."""
    return hashlib.sha256(json.dumps(sorted(etags.items())).encode()).hexdigest()


def selection(among: Iterable[str], chosen: Iterable[str]) -> str:
    """Return which ids are chosen: one bit for each id, in the order of the ids, as hex digits.

    For 50,000 ids, which may take 50 MB, the selection takes 12,500 bytes.
    """
    marked = set(chosen)
    bits = "".join("1" if image_id in marked else "0" for image_id in sorted(among))
    return f"{int(bits, 2):x}"


def selected(among: Iterable[str], chosen: str) -> list[str]:
    """Return the ids that a `selection` among the same ids has chosen, in order.

    Raises:
        ValueError: The selection was made among more ids than these.
    """
    image_ids = sorted(among)
    bits = f"{int(chosen, 16):0{len(image_ids)}b}"
    return [image_id for image_id, bit in zip(image_ids, bits, strict=True) if bit == "1"]


def submission_token(intent_id: str, submit_time: str) -> str:
    """Return the token by which Bedrock recognises a repeated request for a job: 64 hex digits.

    `submit_time` comes from the intent's item, so every invocation that finds the item sends the same token. If the
    item is deleted and the intent begins again, the token is new, and so is the job.
    """
    return hashlib.sha256(f"{intent_id}#{submit_time}".encode()).hexdigest()
