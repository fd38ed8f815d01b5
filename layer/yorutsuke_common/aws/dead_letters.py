"""`dead-letters/{jobId}.jsonl`: each record of an output file that did not become a transaction, with its reason.

Each invocation writes the complete file, so a replay replaces it. The file may hold 50,000 dead letters of 32 KB.
"""

from typing import TYPE_CHECKING

from yorutsuke_common.object_keys import dead_letters_key
from yorutsuke_common.schema import DeadLetter

from .object_writer import ObjectWriter

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class DeadLetterFile:
    """The dead letters of one invocation. The file appears with `close`."""

    def __init__(self, s3: "S3Client", bucket: str, job_id: str) -> None:
        self._file = ObjectWriter(s3, bucket, dead_letters_key(job_id))
        self.count = 0

    def add(self, letter: DeadLetter) -> None:
        """Add a dead letter as one line."""
        self._file.write(letter.as_json() + b"\n")
        self.count += 1

    def close(self) -> None:
        """Write the file, even if it is empty."""
        self._file.close()
