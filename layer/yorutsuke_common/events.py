"""Events about a job: a new output file, a new manifest, or the end of a job that did not complete. Pure.

S3 notifications arrive in three envelopes: S3 invokes the function, or the notification is in an SQS message, or it is
in an SNS notification in an SQS message. EventBridge events are in an SQS message, or invoke the function. An event
that Lambda gave up is in Lambda's failure record in an SQS message, after a redrive of the dead-letter queue.

Sources: Amazon S3 user guide, "Event message structure"; Amazon SNS developer guide, "Amazon SNS message formats";
Amazon Bedrock user guide, "How EventBridge for Amazon Bedrock works"; AWS Lambda developer guide, "Capturing records
of Lambda asynchronous invocations".
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias, cast
from urllib.parse import unquote_plus

from pydantic import BaseModel, StringConstraints, ValidationError

from .errors import InvalidEventError
from .names import JOB_STATE_CHANGE, BedrockEnd
from .object_keys import is_output_key, is_output_manifest_key
from .schema import problems


@dataclass(frozen=True)
class JobObject:
    """An S3 object under a job's prefix. `etag` is the notification's, without quotes, or None if it has none."""

    bucket: str
    key: str
    etag: str | None = None

    @property
    def job_id(self) -> str:
        """The job id in `batch-output/{jobId}/{file}`."""
        return self.key.split("/")[1]


class OutputObject(JobObject):
    """An output file with a job's results."""


class ManifestObject(JobObject):
    """The manifest in which Bedrock counts a job's records."""


@dataclass(frozen=True)
class JobEnd:
    """The end of a Bedrock job that did not complete. `message` is Bedrock's and may be empty."""

    job_id: str
    status: BedrockEnd
    message: str


JobEvent: TypeAlias = OutputObject | ManifestObject | JobEnd


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


def is_lambda_failure_record(message: Mapping[str, Any]) -> bool:
    """Tell whether an SQS message is Lambda's record of an event that it gave up."""
    match message:
        case {"requestContext": {"condition": _}, "requestPayload": _}:
            return True
        case _:
            return False


def job_events_in_message(body: str, bucket: str) -> list[JobEvent]:
    """Return the events in the body of an SQS message, which may wrap them in SNS's or Lambda's envelope.

    Raises:
        InvalidEventError: As `job_events`.
    """
    message = _json_object(body, "SQS message body")
    if message.get("Type") == "Notification":
        message = _json_object(message.get("Message"), "SNS message")
    elif is_lambda_failure_record(message):
        message = _as_object(message["requestPayload"], "event that Lambda gave up")
    return job_events(message, bucket)


def job_events(event: Mapping[str, Any], bucket: str) -> list[JobEvent]:
    """Return the job events in an event of S3 or EventBridge; none for `s3:TestEvent`, which has no records.

    Manifests come last. A manifest that differs from the processed output fails the message, and the output it waits
    for may be in the same message.

    Raises:
        InvalidEventError: The event is of another kind, the object is outside `bucket` or not a job's output file or
            manifest, or the state change is not an end or is a completion, which the output file announces itself.
    """
    if event.get("Event") == "s3:TestEvent":
        return []
    if event.get("detail-type") == JOB_STATE_CHANGE:
        return [_job_end(event)]
    records = event.get("Records")
    if not isinstance(records, list) or not records:
        raise InvalidEventError(
            f"event with the keys {sorted(event)} is no S3 event notification (it has no Records) and no "
            f"{JOB_STATE_CHANGE}. Send S3 ObjectCreated notifications to this function, bare, through SQS, or through "
            "SNS and SQS, and Bedrock's job state changes, bare or through SQS."
        )
    objects = [_job_object(record, bucket) for record in cast("list[object]", records)]
    return sorted(objects, key=lambda found: isinstance(found, ManifestObject))


def _job_object(record: object, bucket: str) -> OutputObject | ManifestObject:
    try:
        s3 = _S3Record.model_validate(record).s3
    except ValidationError as exc:
        raise InvalidEventError(
            f"record of an S3 event notification is malformed: {problems(exc.errors())}. Send S3's own notifications."
        ) from exc
    # S3 form-encodes keys in notifications. A space is a plus sign.
    key = unquote_plus(s3.object.key)
    etag = s3.object.eTag.strip('"') if s3.object.eTag else None
    if s3.bucket.name != bucket:
        raise InvalidEventError(
            f"bucket {s3.bucket.name!r} is not this stage's bucket {bucket!r}: correct the notification's source."
        )
    if is_output_manifest_key(key):
        return ManifestObject(bucket, key, etag)
    if is_output_key(key):
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
            f"{JOB_STATE_CHANGE} is malformed: {problems(exc.errors())}. Send Bedrock's own events, of jobs that ended "
            "otherwise than completely."
        ) from exc
    return JobEnd(detail.batchJobArn.rpartition("/")[2], detail.status, detail.failureMessage or "")


def _json_object(text: object, what: str) -> dict[str, Any]:
    try:
        value = json.loads(cast("str", text))
    except (TypeError, ValueError, RecursionError) as exc:
        raise InvalidEventError(f"{what} is no JSON: send S3 event notifications to this queue.") from exc
    return _as_object(value, what)


def _as_object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidEventError(f"{what} is a JSON {type(value).__name__}, not an object with S3 Records.")
    return cast("dict[str, Any]", value)
