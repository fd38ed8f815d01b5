"""Object keys in the images bucket. Pure."""

import re
from datetime import datetime
from zoneinfo import ZoneInfo

from .hashing import image_digest, snapshot_digest
from .names import (
    BATCH_INPUT_PREFIX,
    BATCH_OUTPUT_PREFIX,
    DEAD_LETTERS_PREFIX,
    OUTPUT_MANIFEST_NAME,
    PROCESSED_PREFIX,
    UPLOADS_PREFIX,
)

MAX_UPLOAD_KEY_BYTES = 998
"""Maximum length of an upload's key, in bytes. S3's limit is 1,024, and `processed_key` is 26 bytes longer."""
TOKEN_DIGITS = 16
"""Number of the token's hex digits in the name of a job, which has up to 63 characters, and in its input folder."""

_INVALID_XML_CHARACTER = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_OUTPUT_KEY = re.compile(rf"{BATCH_OUTPUT_PREFIX}[^/]+/[^/]+\.jsonl(\.out)?", re.DOTALL)
_OUTPUT_MANIFEST_KEY = re.compile(rf"{BATCH_OUTPUT_PREFIX}[^/]+/{re.escape(OUTPUT_MANIFEST_NAME)}", re.DOTALL)


def is_output_key(key: str) -> bool:
    """Return whether a key is that of an output file: `batch-output/{jobId}/{file}.jsonl` or `….jsonl.out`."""
    return _OUTPUT_KEY.fullmatch(key) is not None


def is_output_manifest_key(key: str) -> bool:
    """Return whether a key is that of the output manifest, which Bedrock writes beside an output file."""
    return _OUTPUT_MANIFEST_KEY.fullmatch(key) is not None


def output_prefix(job_id: str) -> str:
    """Return the prefix of everything that Bedrock writes for a job."""
    return f"{BATCH_OUTPUT_PREFIX}{job_id}/"


def output_name(key: str) -> str:
    """Return the name of an output file, which is unique within its job: the last part of its key."""
    return key.rpartition("/")[2]


def input_folder(intent_id: str) -> str:
    """Return the prefix of everything that Bedrock reads for an intent."""
    return f"{BATCH_INPUT_PREFIX}{intent_id}/"


def submission_folder(intent_id: str, token: str) -> str:
    """Return the prefix of the input of an intent's job, from the token of the submission.

    An intent that begins again has a new token. A late invocation of the earlier beginning therefore never overwrites
    the input of the later one.
    """
    return f"{input_folder(intent_id)}{token[:TOKEN_DIGITS]}/"


def input_key(folder: str) -> str:
    """Return the key of the manifest in a folder that Bedrock reads."""
    return f"{folder}manifest.jsonl"


def snapshot_key(folder: str, image_id: str, etag: str, image_format: str) -> str:
    """Return the key of the copy of an image in a folder that Bedrock reads.

    The name has only hex digits and the format, because an image id may have characters that a URI cannot have. It
    represents the content as well, so a repeated copy has the same key only if it has the same content.
    """
    return f"{folder}{snapshot_digest(image_id, etag)}.{image_format}"


def dead_letters_key(job_id: str) -> str:
    """Return the key of a job's dead letters."""
    return f"{DEAD_LETTERS_PREFIX}{job_id}.jsonl"


def upload_key(s3_key: str, user_id: str) -> str | None:
    """Return the key of an uploaded image, from an `s3Key` with or without the leading `uploads/`.

    Returns None if the key is not in the user's folder `uploads/{userId}/`, or if S3's requests cannot carry it or its
    target. DeleteObjects refuses a complete request if one key in it is not valid XML or is too long.
    """
    key = UPLOADS_PREFIX + s3_key.removeprefix(UPLOADS_PREFIX)
    folder = f"{UPLOADS_PREFIX}{user_id}/"
    owned = "/" not in user_id and key.startswith(folder) and key != folder
    usable = owned and not _INVALID_XML_CHARACTER.search(key) and len(key.encode()) <= MAX_UPLOAD_KEY_BYTES
    return key if usable else None


def processed_key(image_id: str, upload_key: str, etag: str, date: str) -> str:
    """Return the target of a move: `uploads/{folder}/{file}` to `processed/{date}/{folder}/{digest}-{file}`.

    The digest represents the image id and the ETag of the content. So no image overwrites another: not if a camera
    counts from IMG_0001 again, and not if the app uploads another photograph under the same id and key.
    """
    folder, slash, file = upload_key.removeprefix(UPLOADS_PREFIX).rpartition("/")
    return f"{PROCESSED_PREFIX}{date}/{folder}{slash}{image_digest(image_id, etag)}-{file}"


def processed_date(extracted_at: datetime, timezone: ZoneInfo) -> str:
    """Return the calendar date of an instant in a time zone, YYYY-MM-DD."""
    return extracted_at.astimezone(timezone).date().isoformat()
