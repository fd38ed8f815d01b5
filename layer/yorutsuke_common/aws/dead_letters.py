"""`dead-letters/{jobId}.jsonl`: each record of a job that did not become a transaction, with its file and its reason.

Each invocation writes the complete file. It replaces the dead letters of one output file and keeps those of the job's
others. They are ordered by the name of the output file, so the order of the processing does not change the file. The
file may hold 50,000 dead letters of 32 KB, so it is copied line by line.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from yorutsuke_common.object_keys import dead_letters_key
from yorutsuke_common.schema import DeadLetter, serialize_json

from .object_writer import ObjectWriter
from .output_files import open_output

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class DeadLetterFile:
    """The dead letters of a job while one output file is processed. The file appears with `close`."""

    def __init__(self, s3: "S3Client", bucket: str, job_id: str, output: str, kept: Iterable[str] = ()) -> None:
        """Prepare the writing.

        Args:
            s3: The client.
            bucket: The bucket.
            job_id: The id of the job, which the caller has claimed.
            output: The name of the output file. Its dead letters are replaced.
            kept: The names of the job's other output files that have dead letters. If there is one, the file exists.
        """
        self._s3, self._bucket, self._key = s3, bucket, dead_letters_key(job_id)
        self._output = output
        self._kept = sorted(kept)
        self._file = ObjectWriter(s3, bucket, self._key)
        self.count = 0

    def begin(self) -> None:
        """Copy the dead letters of the output files that precede this one. Raises botocore's errors."""
        self._copy([name for name in self._kept if name < self._output])

    def add(self, letter: DeadLetter) -> None:
        """Add a dead letter of this output file as one line."""
        self._file.write(letter.model_copy(update={"output": self._output}).as_json() + b"\n")
        self.count += 1

    def close(self) -> None:
        """Copy the dead letters of the output files that follow this one, and write the file, even if it is empty."""
        self._copy([name for name in self._kept if name > self._output])
        self._file.close()

    def _copy(self, names: Iterable[str]) -> None:
        # `output` is the first attribute of a dead letter.
        beginnings = tuple(b'{"output":' + serialize_json(name) + b"," for name in names)
        if not beginnings:
            return
        with open_output(self._s3, self._bucket, self._key) as stored:
            for line in stored.lines():
                if line.content.startswith(beginnings):
                    self._file.write(line.content + b"\n")
