"""An AWS that takes its time and keeps nothing: what is asked for is made up at once, what is written is counted.

A store would grow with the job, and hide what the pipeline itself holds. Requests are built, signed and parsed by
botocore for real; each then waits as long as AWS is taken to need, so that what would overlap there overlaps here.
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any, cast

from botocore.awsrequest import AWSPreparedRequest, AWSResponse

from local.wire import body_of, json_response, response, s3_request, streamed_response, xml_response

if TYPE_CHECKING:
    import boto3

LATENCY_SECONDS = {
    "GetItem": 0.008,
    "UpdateItem": 0.008,
    "PutItem": 0.008,
    "Query": 0.008,
    "BatchGetItem": 0.012,
    "BatchWriteItem": 0.012,
    "GetObject": 0.030,
    "PutObject": 0.030,
    "CopyObject": 0.040,
    "DeleteObject": 0.020,
    "DeleteObjects": 0.060,
    "CreateMultipartUpload": 0.030,
    "UploadPart": 0.100,
    "CompleteMultipartUpload": 0.200,
    "CreateModelInvocationJob": 0.300,
}
"""To the first byte of an answer."""

TRANSACTIONS, BATCH_JOBS, PENDING_IMAGES = "transactions", "batch-jobs", "pending-images"
BUCKET = "images"
JOB_ID = "benchmark001"
USER_ID = "user-1"
LAST_MODIFIED = datetime(2026, 11, 22, 18, 42, 7, tzinfo=UTC)

CREDENTIALS = {
    "AWS_DEFAULT_REGION": "ap-northeast-1",
    "AWS_ACCESS_KEY_ID": "modelled",
    "AWS_SECRET_ACCESS_KEY": "modelled",
}

Item = dict[str, Any]
SUBMITTED: Item = {
    "intentId": {"S": f"intent-{JOB_ID}"},
    "jobId": {"S": JOB_ID},
    "userId": {"S": USER_ID},
    "status": {"S": "SUBMITTED"},
    "submitTime": {"S": "2026-11-22T14:05:00Z"},
}
"""The job's record."""

# What most of a job's requests are answered with, made once and read once, since many threads share it: what the
# model takes would count as the handler's.
TRANSACTIONS_NAMED = json.dumps(TRANSACTIONS).encode()
ALL_WRITTEN = json_response(200, {"UnprocessedItems": {}})
COPIED = xml_response(200, "<CopyObjectResult><ETag>&quot;an-etag&quot;</ETag></CopyObjectResult>")
SAID = {
    "DeleteObjects": b"<DeleteResult></DeleteResult>",
    "CreateMultipartUpload": b"<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>",
    "CompleteMultipartUpload": b"<CompleteMultipartUploadResult></CompleteMultipartUploadResult>",
}
for _answer in (ALL_WRITTEN, COPIED):
    _ = _answer.content


@dataclass
class ModelledAws:
    """One job of so many records. Each object has the pieces that `content` yields anew each time, and their size.

    `calls` counts requests, `written` what they did: transactions put, images copied and deleted, bytes uploaded.
    """

    records: int
    content: Callable[[], Iterator[bytes]]
    size: int
    latencies: dict[str, float] = field(default_factory=lambda: dict(LATENCY_SECONDS))
    calls: Counter[str] = field(default_factory=Counter[str])
    written: Counter[str] = field(default_factory=Counter[str])
    _job: Item = field(default_factory=lambda: {**SUBMITTED})
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def serve(self, session: "boto3.Session") -> None:
        """Answer the calls of the session's clients from now on."""
        # The stubs have handlers return nothing; botocore takes what they return for the answer.
        session.events.register("before-send.s3", cast("Callable[..., None]", self._answer_s3))
        session.events.register("before-send.dynamodb", cast("Callable[..., None]", self._answer_dynamodb))
        session.events.register("before-send.bedrock", cast("Callable[..., None]", self._answer_bedrock))

    def _take(self, operation: str, done: str = "", count: int = 0) -> None:
        with self._lock:
            self.calls[operation] += 1
            self.written[done] += count
        time.sleep(self.latencies[operation])

    def _answer_dynamodb(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        target = request.headers["X-Amz-Target"]
        operation = (target.decode() if isinstance(target, bytes) else target).rpartition(".")[2]
        body = body_of(request)
        if operation == "BatchWriteItem":
            table = TRANSACTIONS if TRANSACTIONS_NAMED in body[:64] else PENDING_IMAGES
            self._take(operation, table, body.count(b'"PutRequest"'))
            return ALL_WRITTEN
        asked: dict[str, Any] = json.loads(body)
        match operation:
            case "Query":
                answer = {"Items": [self._job], "Count": 1}
            case "GetItem" if asked["TableName"] == BATCH_JOBS:
                answer = {}
            case "GetItem":
                answer = {"Item": _pending_image(asked["Key"]["imageId"]["S"])}
            case "BatchGetItem":
                keys = asked["RequestItems"][PENDING_IMAGES]["Keys"]
                found = [_pending_image(key["imageId"]["S"]) for key in keys]
                answer = {"Responses": {PENDING_IMAGES: found}, "UnprocessedKeys": {}}
            case "PutItem":
                if asked["TableName"] == BATCH_JOBS:
                    self._job = asked["Item"]
                self._take(operation, asked["TableName"], 1)
                return json_response(200, {})
            case "UpdateItem":
                answer = self._update(asked)
            case _:
                raise NotImplementedError(f"{operation} is not modelled")
        self._take(operation)
        return json_response(200, answer)

    def _update(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["TableName"] == BATCH_JOBS:
            # Both handlers name each value by its attribute.
            values = asked["ExpressionAttributeValues"]
            self._job.update({name.removeprefix(":"): value for name, value in values.items()})
        return {"Attributes": self._job}

    def _answer_s3(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        if "x-amz-copy-source" in request.headers:
            self._take("CopyObject", "copied", 1)
            return COPIED
        asked = s3_request(request)
        match asked.operation:
            case "GetObject":
                self._take(asked.operation)
                headers = {
                    "ETag": '"an-etag"',
                    "Last-Modified": format_datetime(LAST_MODIFIED, usegmt=True),
                    "Content-Length": str(self.size),
                }
                return streamed_response(200, headers, self.content())
            case "DeleteObject":
                self._take(asked.operation, "deleted", 1)
                return response(204, {})
            case "DeleteObjects":
                self._take(asked.operation, "deleted", asked.body.count(b"<Key>"))
            case "UploadPart":
                self._take(asked.operation, "uploaded", len(asked.body))
            case _:
                self._take(asked.operation)
        return response(200, {"ETag": '"an-etag"'}, SAID.get(asked.operation, b""))

    def _answer_bedrock(self, **_: object) -> AWSResponse:
        self._take("CreateModelInvocationJob")
        return json_response(
            200, {"jobArn": f"arn:aws:bedrock:ap-northeast-1:123456789012:model-invocation-job/{JOB_ID}"}
        )


def _pending_image(image_id: str) -> Item:
    return {
        "imageId": {"S": image_id},
        "userId": {"S": USER_ID},
        "s3Key": {"S": f"uploads/{USER_ID}/{image_id}.jpg"},
        "md5": {"S": "0cc175b9c0f1b6a831c399e269772661"},
        "uploadedAt": {"S": "2026-11-22T09:12:44Z"},
        "status": {"S": "pending"},
    }
