"""Where objects are in the bucket. Pure."""

import re

UPLOADS_PREFIX = "uploads/"
MAX_KEY_BYTES = 1024
"""Of S3."""
NO_XML_CHARACTER = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def upload_key(s3_key: str) -> str | None:
    """Return the object key of an image whose `s3Key` is met with and without the leading `uploads/`.

    None where it is a key that S3's requests cannot carry.
    """
    file = s3_key.removeprefix(UPLOADS_PREFIX)
    key = UPLOADS_PREFIX + file
    # One key that XML or S3 cannot carry would have the whole DeleteObjects request refused.
    usable = file and not NO_XML_CHARACTER.search(file) and len(key.encode()) <= MAX_KEY_BYTES
    return key if usable else None
