"""Writes an object piece by piece, so that it appears completely or not at all.

The object may be larger than a function's memory or disk. If it is larger than one part, it becomes a multipart upload.
"""

from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from yorutsuke_common.error_codes import error_code

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART_BYTES = 8 * 1024 * 1024
"""Size of a part, in bytes. S3 accepts up to 10,000 parts of 5 MiB to 5 GiB."""


class ObjectWriter:
    """Writes one object, which appears with `close`.

    If a writer is not closed, the parts that it sent stay until `abort` or the bucket's lifecycle rule removes them.
    """

    def __init__(self, s3: "S3Client", bucket: str, key: str) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._key = key
        self._held = bytearray()
        self._upload_id: str | None = None
        self._parts: list[CompletedPartTypeDef] = []

    def write(self, content: bytes) -> None:
        """Append to the object. Raises botocore's errors."""
        self._held += content
        if len(self._held) >= PART_BYTES:
            self._send_part()

    def close(self) -> None:
        """Publish the object, even if it is empty, and replace an earlier one. Raises botocore's errors."""
        if self._upload_id is None:
            self._s3.put_object(Bucket=self._bucket, Key=self._key, Body=bytes(self._held))
            return
        if self._held:
            self._send_part()
        self._s3.complete_multipart_upload(
            Bucket=self._bucket, Key=self._key, UploadId=self._upload_id, MultipartUpload={"Parts": self._parts}
        )

    def abort(self) -> None:
        """Discard the parts that were sent, if any. Raises botocore's errors."""
        if self._upload_id is None:
            return
        try:
            self._s3.abort_multipart_upload(Bucket=self._bucket, Key=self._key, UploadId=self._upload_id)
        except ClientError as exc:
            # The upload was aborted or completed before, and only the answer was lost.
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
