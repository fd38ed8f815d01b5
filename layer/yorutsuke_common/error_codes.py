"""Error codes of AWS calls."""

from botocore.exceptions import BotoCoreError, ClientError


def error_code(error: ClientError | BotoCoreError) -> str:
    """Return the service's error code, such as NoSuchKey, or the type of a connection error. It is never empty."""
    if isinstance(error, ClientError):
        return error.response.get("Error", {}).get("Code") or "Unknown"
    return type(error).__name__
