"""Ids that follow from facts, so that the same fact always gets the same id. Pure."""

import hashlib
import json
from collections.abc import Iterable

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


def images_digest(image_ids: Iterable[str]) -> str:
    """Return 64 hex digits that stand for a set of images, whatever the order they are named in."""
    return hashlib.sha256(json.dumps(sorted(image_ids)).encode()).hexdigest()


def selection(among: Iterable[str], chosen: Iterable[str]) -> str:
    """Return which of these ids are chosen: a bit for each, in order of the ids, as hex digits.

    Of 50,000 ids, which may take 50 MB, it takes 12,500 bytes.
    """
    marked = set(chosen)
    bits = "".join("1" if image_id in marked else "0" for image_id in sorted(among))
    return f"{int(bits, 2):x}"


def selected(among: Iterable[str], chosen: str) -> list[str]:
    """Return the ids that a `selection` among these says are chosen, in order.

    Raises ValueError where it is one among more ids than these.
    """
    image_ids = sorted(among)
    bits = f"{int(chosen, 16):0{len(image_ids)}b}"
    return [image_id for image_id, bit in zip(image_ids, bits, strict=True) if bit == "1"]


def submission_token(intent_id: str, submit_time: str) -> str:
    """Return the token that Bedrock tells a repeated request for a job by: 64 hex digits.

    `submit_time` is that of the intent's record: each run that finds the record sends the same token, and an intent
    that is begun anew, its record being gone, does not get the job of the time before.
    """
    return hashlib.sha256(f"{intent_id}#{submit_time}".encode()).hexdigest()
