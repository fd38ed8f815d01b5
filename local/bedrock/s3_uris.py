"""S3 URIs as parameters of S3's operations."""

from typing import Any


def origin(uri: str, key: str = "Key") -> Any:
    """Return the parameters of S3's operations that name an S3 URI."""
    bucket, _, path = uri.removeprefix("s3://").partition("/")
    return {"Bucket": bucket, key: path}
