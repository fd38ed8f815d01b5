"""What an invocation is about: an output, a manifest, or the end of a job that did not complete.

S3's notifications come in three envelopes: S3 invoking the function straight, S3 inside an SQS message, and S3 inside
SNS inside an SQS message. EventBridge's events come inside an SQS message, or invoke the function straight. An event
that Lambda gave up comes back in an SQS message, inside Lambda's record of it, when the dead-letter queue is redriven.

Sources: Amazon S3 user guide, "Event message structure"; Amazon SNS developer guide, "Amazon SNS message formats";
Amazon Bedrock user guide, "How EventBridge for Amazon Bedrock works"; AWS Lambda developer guide, "Capturing records
of Lambda asynchronous invocations".
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias, cast
from urllib.parse import unquote_plus

from pydantic import BaseModel, StringConstraints, ValidationError

from yorutsuke_common.errors import InvalidEventError
from yorutsuke_common.schema import BedrockEnd, problems

OUTPUT_KEY = re.compile(r"batch-output/[^/]+/[^/]+\.jsonl(\.out)?", re.DOTALL)
MANIFEST_KEY = re.compile(r"batch-output/[^/]+/manifest\.json\.out", re.DOTALL)
STATE_CHANGE = "Batch Inference Job State Change"


@dataclass(frozen=True)
class JobObject:
    """An S3 object below a job's prefix. `etag` is the notification's, without quotes, where it has one."""

    bucket: str
    key: str
    etag: str | None = None

    @property
    def job_id(self) -> str:
        """The job id in `batch-output/{jobId}/{file}`."""
        return self.key.split("/")[1]


class OutputObject(JobObject):
    """The object that holds a job's results."""


class ManifestObject(JobObject):
    """The object in which Bedrock counts a job's records."""


@dataclass(frozen=True)
class JobEnd:
    """The end of a Bedrock job that did not complete, and Bedrock's message about it, which may be empty."""

    job_id: str
    status: BedrockEnd
    message: str


Notice: TypeAlias = OutputObject | ManifestObject | JobEnd


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


class _Detail(BaseModel):
    batchJobArn: Annotated[
        str,
        StringConstraints(pattern=r"^arn:aws[a-z-]*:bedrock:[a-z0-9-]+:[0-9]{12}:model-invocation-job/[a-z0-9]{12}$"),
    ]
    status: BedrockEnd
    failureMessage: str | None = None


class _StateChange(BaseModel):
    detail: _Detail


def is_sqs_event(event: Mapping[str, Any]) -> bool:
    """Tell an SQS event (notices inside its messages) from those of S3 and EventBridge."""
    match event:
        case {"Records": [{"eventSource": "aws:sqs"}, *_]}:
            return True
        case _:
            return False


def notices_in_message(body: str, bucket: str) -> list[Notice]:
    """Return what the body of an SQS message tells of, with or without SNS or Lambda's record of a failure around it.

    Raises InvalidEventError.
    """
    match _json_object(body, "SQS message body"):
        case {"Type": "Notification", **notification}:
            event = _json_object(notification.get("Message"), "SNS message")
        case {"requestContext": {"condition": _}, "requestPayload": dict(payload)}:
            event = cast("dict[str, Any]", payload)
        case event:
            pass
    return notices_in_event(event, bucket)


def notices_in_event(event: Mapping[str, Any], bucket: str) -> list[Notice]:
    """Return what an event of S3 or EventBridge tells of; nothing for `s3:TestEvent`, which has no records.

    Raises InvalidEventError for anything else, for an object outside `bucket` or `batch-output/{jobId}/{file}`, and for
    a state change that is no end, or is a completion: of that the output itself tells.
    """
    if event.get("Event") == "s3:TestEvent":
        return []
    if event.get("detail-type") == STATE_CHANGE:
        return [_job_end(event)]
    records = event.get("Records")
    if not isinstance(records, list) or not records:
        raise InvalidEventError(
            f"event with the keys {sorted(event)} is no S3 event notification (it has no Records) and no "
            f"{STATE_CHANGE}. Send S3 ObjectCreated notifications to this function, bare, through SQS, or through SNS "
            "and SQS, and Bedrock's job state changes, bare or through SQS."
        )
    objects = [_job_object(record, bucket) for record in cast("list[object]", records)]
    # A manifest that differs fails the message: what it waits for may be in the same one.
    return sorted(objects, key=lambda found: isinstance(found, ManifestObject))


def _job_object(record: object, bucket: str) -> OutputObject | ManifestObject:
    try:
        s3 = _S3Record.model_validate(record).s3
    except ValidationError as exc:
        raise InvalidEventError(
            f"record of an S3 event notification is malformed: {problems(exc.errors())}. Send S3's own notifications."
        ) from exc
    # S3 form-encodes keys in notifications: a space is a plus sign.
    key = unquote_plus(s3.object.key)
    etag = s3.object.eTag.strip('"') if s3.object.eTag else None
    if s3.bucket.name != bucket:
        raise InvalidEventError(
            f"bucket {s3.bucket.name!r} is not this stage's bucket {bucket!r}: correct the notification's source."
        )
    if MANIFEST_KEY.fullmatch(key):
        return ManifestObject(bucket, key, etag)
    if OUTPUT_KEY.fullmatch(key):
        return OutputObject(bucket, key, etag)
    raise InvalidEventError(
        f"object key {key!r} is not batch-output/{{jobId}}/{{file}} with a file ending in .jsonl or .jsonl.out, or "
        "named manifest.json.out: put batch output there, and nothing else."
    )


def _job_end(event: Mapping[str, Any]) -> JobEnd:
    try:
        detail = _StateChange.model_validate(event).detail
    except ValidationError as exc:
        raise InvalidEventError(
            f"{STATE_CHANGE} is malformed: {problems(exc.errors())}. Send Bedrock's own events, of jobs that ended "
            "otherwise than completely."
        ) from exc
    return JobEnd(detail.batchJobArn.rpartition("/")[2], detail.status, detail.failureMessage or "")


def _json_object(text: object, what: str) -> dict[str, Any]:
    try:
        value = json.loads(cast("str", text))
    except (TypeError, ValueError, RecursionError) as exc:
        raise InvalidEventError(f"{what} is no JSON: send S3 event notifications to this queue.") from exc
    if not isinstance(value, dict):
        raise InvalidEventError(f"{what} is a JSON {type(value).__name__}, not an object with S3 Records.")
    return cast("dict[str, Any]", value)
