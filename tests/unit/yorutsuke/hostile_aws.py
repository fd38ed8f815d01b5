"""AWS with hostile text in every stored attribute, behind botocore's `before-call` event."""

import io
import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

import boto3
from botocore.response import StreamingBody

from tests.unit.hostile_text import SURROGATE, file_name, hostile
from yorutsuke_common.aws.dynamodb import to_item

if TYPE_CHECKING:
    from collections.abc import Callable

REGION = "eu-west-1"
SETTINGS = {
    "STAGE": "dev",
    "IMAGES_BUCKET": "images",
    "TRANSACTIONS_TABLE": "transactions",
    "BATCH_JOBS_TABLE": "batch-jobs",
    "PENDING_IMAGES_TABLE": "pending-images",
    "TRANSACTION_TTL_DAYS": "730",
    "TIMEZONE": "Asia/Tokyo",
    "MODEL_IDS": "amazon.nova-lite-v1:0",
    "MIN_RECORDS": "2",
}
STORED = (
    "intentId",
    "userId",
    "status",
    "submitTime",
    "completedAt",
    "modelId",
    "manifestUri",
    "traceId",
    "bedrockStatus",
    "bedrockMessage",
)
"""The attributes of a job's item with text, except for its id."""

Parameters = dict[str, Any]


STATS = {"successCount": 1, "failureCount": 1, "totalCount": 2, "migrationFailedCount": 1}


class HostileAws:
    """The answers of AWS to the calls of a session, by operation. Other operations have empty answers."""

    def __init__(self) -> None:
        self.session = boto3.Session("unit", "unit", region_name=REGION)
        # The stubs declare event handlers without a result.
        self.session.events.register("before-call", cast("Callable[..., None]", self._respond))
        self.job: Parameters = {
            **{name: hostile(name) for name in STORED},
            "jobId": hostile("jobId"),
            "processedOutputs": {hostile("processedKey"): hostile("etag")},
            "outputStats": {hostile("processedKey"): STATS, hostile("otherKey"): STATS},
            "pendingImageIds": [hostile("imageId"), hostile("otherImageId")],
            "resultStats": STATS,
        }
        self.images: list[Parameters] = []
        self.letter: Parameters = {
            "output": hostile("output"),
            "line": 1,
            "imageId": hostile("letterImageId"),
            "reason": "MODEL_ERROR",
            "detail": hostile("detail"),
            "record": hostile("record"),
        }
        self.messages: list[str] = []
        self.hidden: list[str] = []
        self.answers: dict[str, Callable[[Parameters], Parameters]] = {
            "GetFunctionConfiguration": lambda _: {
                "FunctionArn": f"arn:aws:lambda:{REGION}:123456789012:function:handler",
                "Environment": {"Variables": SETTINGS},
            },
            "Scan": lambda _: {"Items": [to_item(self.job)]},
            "Query": self._query,
            "GetItem": lambda _: {"Item": to_item(self.job)},
            "UpdateItem": lambda _: {"Attributes": to_item(self.job)},
            "BatchGetItem": self._batch_get_item,
            "ListObjectsV2": self._list_objects,
            "GetObject": self._get_object,
            "HeadObject": lambda _: {"ETag": hostile("newEtag")},
            "GetQueueUrl": lambda _: {"QueueUrl": "https://queue"},
            "GetQueueAttributes": lambda _: {
                "Attributes": {
                    "ApproximateNumberOfMessages": "1",
                    "ApproximateNumberOfMessagesNotVisible": "0",
                    "VisibilityTimeout": "360",
                }
            },
            "ReceiveMessage": self._receive_message,
            "ChangeMessageVisibilityBatch": self._release_messages,
            "GetMetricStatistics": lambda _: {"Datapoints": []},
            "DescribeAlarms": lambda _: {"MetricAlarms": []},
            "ListSubscriptionsByTopic": lambda _: {"Subscriptions": []},
            "ListEventSourceMappings": lambda _: {"EventSourceMappings": []},
        }

    def fail(self, operation: str) -> None:
        """Make an operation fail with hostile text."""
        self.answers[operation] = lambda _: {
            "Error": {"Code": hostile("code"), "Message": hostile("message") + SURROGATE},
            "ResponseMetadata": {"HTTPStatusCode": 400},
        }

    def _respond(self, model: Any, params: Parameters, **_: object) -> tuple[SimpleNamespace, Parameters]:
        answer = self.answers.get(model.name, lambda _: {})(params)
        return SimpleNamespace(status_code=answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 200)), answer

    def _query(self, params: Parameters) -> Parameters:
        if json.loads(params["body"])["TableName"] == SETTINGS["BATCH_JOBS_TABLE"]:
            return {"Items": [to_item(self.job)]}
        names = ("userId", "transactionId", "imageId")
        fixed = {"status": "migrationFailed", "extractedAt": "2026-11-22T18:42:07Z"}
        return {"Items": [to_item({**{name: hostile(name) for name in names}, **fixed})]}

    def _batch_get_item(self, params: Parameters) -> Parameters:
        requested = json.loads(params["body"])["RequestItems"]
        images = [to_item(image) for image in self.images]
        found = {table: images if table == SETTINGS["PENDING_IMAGES_TABLE"] else [] for table in requested}
        return {"Responses": found, "UnprocessedKeys": {}}

    def _list_objects(self, _: Parameters) -> Parameters:
        key = f"batch-output/{self.job['jobId']}/{file_name('file')}.jsonl"
        return {"Contents": [{"Key": key, "ETag": hostile("etag"), "Size": 1}]}

    def _get_object(self, params: Parameters) -> Parameters:
        is_letters = unquote(params["url_path"]).startswith("/dead-letters/")
        letters = [self.letter, {**self.letter, "output": "other.jsonl"}]
        lines = letters if is_letters else [{"customData": hostile("recordImageId"), "output": {"text": "{"}}]
        body = "\n".join(map(json.dumps, lines)).encode()
        modified = datetime(2026, 11, 22, tzinfo=UTC)
        return {
            "Body": StreamingBody(io.BytesIO(body), len(body)),
            "ETag": hostile("newEtag"),
            "LastModified": modified,
        }

    def _receive_message(self, _: Parameters) -> Parameters:
        received, self.messages = self.messages, []
        self.hidden += received
        attributes = {"SentTimestamp": "0", "ApproximateReceiveCount": "5"}
        return {
            "Messages": [
                {"MessageId": f"message-{number}", "ReceiptHandle": "receipt", "Body": body, "Attributes": attributes}
                for number, body in enumerate(received)
            ]
        }

    def _release_messages(self, _: Parameters) -> Parameters:
        self.hidden, self.messages = [], self.hidden
        return {}
