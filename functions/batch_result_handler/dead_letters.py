"""`dead-letters/{jobId}.jsonl`: every line that became no transaction, with its reason.

The file is written whole per run, so a replay replaces it. It may hold 50,000 letters of 32 KB, more than a function's
memory or disk: past one part it goes out as a multipart upload.
"""

from typing import TYPE_CHECKING

from yorutsuke_common.schema import DeadLetter

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

DEAD_LETTERS_PREFIX = "dead-letters/"
PART_BYTES = 8 * 1024 * 1024
"""S3 takes parts of 5 MiB to 5 GiB, at most 10,000 of them."""


def dead_letters_key(job_id: str) -> str:
    """Return the object key of a job's dead letters."""
    return f"{DEAD_LETTERS_PREFIX}{job_id}.jsonl"


class DeadLetterFile:
    """The dead letters of one run. Nothing is to be seen of it before `close`."""

    def __init__(self, s3: "S3Client", bucket: str, job_id: str) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._key = dead_letters_key(job_id)
        self._held = bytearray()
        self._upload_id: str | None = None
        self._parts: list[CompletedPartTypeDef] = []
        self.count = 0

    def add(self, letter: DeadLetter) -> None:
        """Add one letter as one line, without `imageId` where the line did not say one."""
        exclude = None if letter.imageId else {"imageId"}
        self._held += letter.model_dump_json(exclude=exclude).encode() + b"\n"
        self.count += 1
        if len(self._held) >= PART_BYTES:
            self._send_part()

    def close(self) -> None:
        """Write the file, also where it has no letters."""
        if self._upload_id is None:
            self._s3.put_object(Bucket=self._bucket, Key=self._key, Body=bytes(self._held))
            return
        if self._held:
            self._send_part()
        self._s3.complete_multipart_upload(
            Bucket=self._bucket, Key=self._key, UploadId=self._upload_id, MultipartUpload={"Parts": self._parts}
        )

    def _send_part(self) -> None:
        if self._upload_id is None:
            self._upload_id = self._s3.create_multipart_upload(Bucket=self._bucket, Key=self._key)["UploadId"]
        number = len(self._parts) + 1
        part = self._s3.upload_part(
            Bucket=self._bucket, Key=self._key, UploadId=self._upload_id, PartNumber=number, Body=bytes(self._held)
        )
        self._parts.append({"PartNumber": number, "ETag": part["ETag"]})
        self._held.clear()
