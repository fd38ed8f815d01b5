"""Which output objects an invocation is about.

Three envelopes carry the same S3 notification: S3 invoking the function straight, S3 inside an SQS message, and S3
inside SNS inside an SQS message.

Sources: Amazon S3 user guide, "Event message structure"; Amazon SNS developer guide, "Amazon SNS message formats".
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import unquote_plus

from pydantic import BaseModel, ValidationError

from yorutsuke_common.errors import InvalidEventError
from yorutsuke_common.schema import problems

OUTPUT_KEY = re.compile(r"batch-output/[^/]+/[^/]+\.jsonl(\.out)?", re.DOTALL)


@dataclass(frozen=True)
class OutputObject:
    """The S3 object that holds a job's results. `etag` is the notification's, without quotes, where it has one."""

    bucket: str
    key: str
    etag: str | None = None

    @property
    def job_id(self) -> str:
        """The job id in `batch-output/{jobId}/{file}`."""
        return self.key.split("/")[1]


class _Bucket(BaseModel):
    name: str


class _Object(BaseModel):
    key: str
    eTag: str | None = None


class _S3(BaseModel):
    bucket: _Bucket
    object: _Object


class _S3Record(BaseModel):
    s3: _S3


def is_sqs_event(event: Mapping[str, Any]) -> bool:
    """Tell an SQS event (S3 inside its messages) from S3's own."""
    match event:
        case {"Records": [{"eventSource": "aws:sqs"}, *_]}:
            return True
        case _:
            return False


def outputs_in_message(body: str, bucket: str) -> list[OutputObject]:
    """Return the output objects that the body of an SQS message names, with or without SNS around it.

    Raises InvalidEventError.
    """
    notification = _json_object(body, "SQS message body")
    if notification.get("Type") == "Notification":
        notification = _json_object(notification.get("Message"), "SNS message")
    return outputs_in_notification(notification, bucket)


def outputs_in_notification(notification: Mapping[str, Any], bucket: str) -> list[OutputObject]:
    """Return the output objects that an S3 event notification names; none for `s3:TestEvent`, which has no records.

    Raises InvalidEventError for anything else, and for an object outside `bucket` or `batch-output/{jobId}/{file}`.
    """
    if notification.get("Event") == "s3:TestEvent":
        return []
    records = notification.get("Records")
    if not isinstance(records, list) or not records:
        raise InvalidEventError(
            f"event with the keys {sorted(notification)} is no S3 event notification: it has no Records. "
            "Send S3 ObjectCreated notifications to this function, bare, through SQS, or through SNS and SQS."
        )
    return [_output_object(record, bucket) for record in cast("list[object]", records)]


def _output_object(record: object, bucket: str) -> OutputObject:
    try:
        s3 = _S3Record.model_validate(record).s3
    except ValidationError as exc:
        raise InvalidEventError(
            f"record of an S3 event notification is malformed: {problems(exc.errors())}. Send S3's own notifications."
        ) from exc
    # S3 form-encodes keys in notifications: a space is a plus sign.
    key = unquote_plus(s3.object.key)
    if s3.bucket.name != bucket:
        raise InvalidEventError(
            f"bucket {s3.bucket.name!r} is not this stage's bucket {bucket!r}: correct the notification's source."
        )
    if not OUTPUT_KEY.fullmatch(key):
        raise InvalidEventError(
            f"object key {key!r} is not batch-output/{{jobId}}/{{file}} with a file ending in .jsonl or .jsonl.out: "
            "put batch output there, and nothing else."
        )
    return OutputObject(bucket, key, s3.object.eTag.strip('"') if s3.object.eTag else None)


def _json_object(text: object, what: str) -> dict[str, Any]:
    try:
        value = json.loads(cast("str", text))
    except (TypeError, ValueError, RecursionError) as exc:
        raise InvalidEventError(f"{what} is no JSON: send S3 event notifications to this queue.") from exc
    if not isinstance(value, dict):
        raise InvalidEventError(f"{what} is a JSON {type(value).__name__}, not an object with S3 Records.")
    return cast("dict[str, Any]", value)
