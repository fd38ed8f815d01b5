"""`dead-letters/{jobId}.jsonl`: every line that became no transaction, with its reason.

The file is written whole per run, so a replay replaces it. It may hold 50,000 letters of 32 KB.
"""

from typing import TYPE_CHECKING

from yorutsuke_common.object_writer import ObjectWriter
from yorutsuke_common.schema import DeadLetter

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

DEAD_LETTERS_PREFIX = "dead-letters/"


def dead_letters_key(job_id: str) -> str:
    """Return the object key of a job's dead letters."""
    return f"{DEAD_LETTERS_PREFIX}{job_id}.jsonl"


class DeadLetterFile:
    """The dead letters of one run. Nothing is to be seen of it before `close`."""

    def __init__(self, s3: "S3Client", bucket: str, job_id: str) -> None:
        self._file = ObjectWriter(s3, bucket, dead_letters_key(job_id))
        self.count = 0

    def add(self, letter: DeadLetter) -> None:
        """Add one letter as one line, without `imageId` where the line did not say one."""
        exclude = None if letter.imageId else {"imageId"}
        self._file.write(letter.model_dump_json(exclude=exclude).encode() + b"\n")
        self.count += 1

    def close(self) -> None:
        """Write the file, also where it has no letters."""
        self._file.close()
