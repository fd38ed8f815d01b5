"""The configuration of a function's AWS clients: attempts, time limits and connections.

A call to an endpoint that does not answer fails after all attempts: five times the read timeout, and up to 15 seconds
between the attempts. The function then still has time to release its claim and to report the error. With botocore's own
timeouts of 60 seconds, one such call would take longer than the function may run.

Sources: botocore's `Config`, and AWS re:Post knowledge center, lambda-function-retry-timeout-sdk (boto3's defaults).
"""

from typing import Any

from botocore.config import Config

ATTEMPTS = 5
"""Maximum number of attempts of a call, with the first."""
CONNECT_SECONDS = 5
"""Maximum time to open a connection, in seconds. The system sends a lost first packet again after one and three
seconds. A TLS handshake also waits for the CPU, which dozens of handshakes share."""
READ_SECONDS = 10
"""Maximum time without a byte of the response, in seconds. It counts for each piece of an object's body.

DynamoDB mostly answers within milliseconds. AWS recommends to repeat a small S3 request after two seconds. The copy of
an image and the deletion of a thousand objects may take longer. While S3 completes a multipart upload, it sends blanks.

Sources: AWS whitepaper "Optimizing Amazon S3 Performance", chapter "Timeouts and Retries for Latency-Sensitive
Applications"; Amazon S3 API reference, CompleteMultipartUpload.
"""


def client_config(connections: int, attempts: int = ATTEMPTS, **options: Any) -> Config:
    """Return the configuration of clients that keep up to this many connections, with further options of botocore."""
    chosen: dict[str, Any] = {
        "connect_timeout": CONNECT_SECONDS,
        "read_timeout": READ_SECONDS,
        "retries": {"mode": "standard", "total_max_attempts": attempts},
        "max_pool_connections": connections,
        **options,
    }
    return Config(**chosen)
