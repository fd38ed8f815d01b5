"""An object that is written piece by piece, and is to be seen whole or not at all.

It may be larger than a function's memory or disk: past one part it goes out as a multipart upload.
"""

from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from .aws_error import error_code

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART_BYTES = 8 * 1024 * 1024
"""S3 takes parts of 5 MiB to 5 GiB, at most 10,000 of them."""


class ObjectWriter:
    """Writes one object. Nothing is to be seen of it before `close`; one that is not closed is to be aborted."""

    def __init__(self, s3: "S3Client", bucket: str, key: str) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._key = key
        self._held = bytearray()
        self._upload_id: str | None = None
        self._parts: list[CompletedPartTypeDef] = []

    def write(self, content: bytes) -> None:
        """Add to the object. Raises botocore's errors as they come."""
        self._held += content
        if len(self._held) >= PART_BYTES:
            self._send_part()

    def close(self) -> None:
        """Let the object be seen, also where it is empty, in place of an earlier one. Raises botocore's errors."""
        if self._upload_id is None:
            self._s3.put_object(Bucket=self._bucket, Key=self._key, Body=bytes(self._held))
            return
        if self._held:
            self._send_part()
        self._s3.complete_multipart_upload(
            Bucket=self._bucket, Key=self._key, UploadId=self._upload_id, MultipartUpload={"Parts": self._parts}
        )

    def abort(self) -> None:
        """Give up what was sent so far, if anything was. Raises botocore's errors."""
        if self._upload_id is None:
            return
        try:
            self._s3.abort_multipart_upload(Bucket=self._bucket, Key=self._key, UploadId=self._upload_id)
        except ClientError as exc:
            # Given up already, or completed, where only the answer was lost.
            if error_code(exc) != "NoSuchUpload":
                raise

    def _send_part(self) -> None:
        if self._upload_id is None:
            self._upload_id = self._s3.create_multipart_upload(Bucket=self._bucket, Key=self._key)["UploadId"]
        number = len(self._parts) + 1
        part = self._s3.upload_part(
            Bucket=self._bucket, Key=self._key, UploadId=self._upload_id, PartNumber=number, Body=bytes(self._held)
        )
        self._parts.append({"PartNumber": number, "ETag": part["ETag"]})
        self._held.clear()
