"""Events about a job: a new output file, a new output manifest, or the end of a job that did not complete. Pure.

S3 notifications arrive in three envelopes: S3 invokes the function, or the notification is in an SQS message, or it is
in an SNS notification in an SQS message. EventBridge events are in an SQS message, or invoke the function. An event
that still failed after Lambda's retries is in Lambda's failure record in an SQS message, after a redrive.

Sources: Amazon S3 user guide, "Event message structure"; Amazon SNS developer guide, "Amazon SNS message formats";
Amazon Bedrock user guide, "How EventBridge for Amazon Bedrock works"; Amazon EventBridge user guide, "Event structure
reference"; AWS Lambda developer guide, "Capturing records of Lambda asynchronous invocations".
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
from .validation import describe_errors, json_type

REMEDY = "Send only events of S3 and EventBridge."


@dataclass(frozen=True)
class Origin:
    """The account, the Region and the images bucket of a stage, to which its events must belong."""

    account_id: str
    region: str
    bucket: str


def origin_of(function_arn: str, bucket: str) -> Origin:
    """Return the origin of a stage's events, from the ARN of one of its functions and its images bucket."""
    # arn:PARTITION:lambda:REGION:ACCOUNT:function:NAME
    _, _, _, region, account_id, *_ = function_arn.split(":")
    return Origin(account_id, region, bucket)


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


class OutputManifestObject(JobObject):
    """The output manifest, in which Bedrock counts a job's records."""


@dataclass(frozen=True)
class JobEnd:
    """The end of a Bedrock job that did not complete. `message` is Bedrock's and may be empty."""

    job_id: str
    status: BedrockEnd
    message: str


JobEvent: TypeAlias = OutputObject | OutputManifestObject | JobEnd


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
    account: str
    region: str
    detail: _Detail


def is_lambda_failure_record(message: Mapping[str, Any]) -> bool:
    """Return whether an SQS message is Lambda's failure record: of an event that still failed after all retries."""
    match message:
        case {"requestContext": {"condition": _}, "requestPayload": _}:
            return True
        case _:
            return False


def job_events_in_message(body: str, origin: Origin) -> list[JobEvent]:
    """Return the events in the body of an SQS message, which may wrap them in SNS's or Lambda's envelope.

    Raises:
        InvalidEventError: As `job_events`.
    """
    message = _json_object(body, "the body of the SQS message")
    if message.get("Type") == "Notification":
        message = _json_object(message.get("Message"), "the SNS message")
    elif is_lambda_failure_record(message):
        message = _as_object(message["requestPayload"], "the event in Lambda's failure record")
    return job_events(message, origin)


def job_events(event: Mapping[str, Any], origin: Origin) -> list[JobEvent]:
    """Return the job events in an event of S3 or EventBridge, or an empty list for `s3:TestEvent`.

    Output manifests come last. An output manifest that differs from the processed output fails the message, and the
    missing output may be in the same message.

    Raises:
        InvalidEventError: The event is of another kind. Or the object is outside the stage's bucket, or is neither an
            output file nor an output manifest. Or the state change is of another account or Region, is not an end, or
            is a completion, which the output file announces.
    """
    if event.get("Event") == "s3:TestEvent":
        return []
    if event.get("detail-type") == JOB_STATE_CHANGE:
        return [_job_end(event, origin)]
    records = event.get("Records")
    if not isinstance(records, list) or not records:
        raise InvalidEventError(
            f"the event with the keys {sorted(event)} is not an S3 event notification with Records, and not a "
            f"{JOB_STATE_CHANGE}. Send S3 ObjectCreated notifications (directly, through SQS, or through SNS and SQS), "
            "or Bedrock's job state changes (directly or through SQS)."
        )
    objects = [_job_object(record, origin.bucket) for record in cast("list[object]", records)]
    return sorted(objects, key=lambda found: isinstance(found, OutputManifestObject))


def _job_object(record: object, bucket: str) -> OutputObject | OutputManifestObject:
    try:
        s3 = _S3Record.model_validate(record).s3
    except ValidationError as exc:
        raise InvalidEventError(
            f"a record of the S3 event notification is not valid: {describe_errors(exc)}. Send S3's own notifications."
        ) from exc
    # S3 form-encodes keys in notifications. A space is a plus sign.
    key = unquote_plus(s3.object.key)
    etag = s3.object.eTag.strip('"') if s3.object.eTag else None
    if s3.bucket.name != bucket:
        raise InvalidEventError(
            f"bucket {s3.bucket.name!r} is not this stage's bucket {bucket!r}. Correct the notification's source."
        )
    if is_output_manifest_key(key):
        return OutputManifestObject(bucket, key, etag)
    if is_output_key(key):
        return OutputObject(bucket, key, etag)
    raise InvalidEventError(
        f"object key {key!r} is not that of a job's output. It must be batch-output/{{jobId}}/{{file}}, with a file "
        "that ends with .jsonl or .jsonl.out or is manifest.json.out. Put only batch output there."
    )


def _job_end(event: Mapping[str, Any], origin: Origin) -> JobEnd:
    try:
        change = _StateChange.model_validate(event)
    except ValidationError as exc:
        raise InvalidEventError(
            f"the {JOB_STATE_CHANGE} is not valid: {describe_errors(exc)}. Send Bedrock's own events, and only of jobs "
            "that Bedrock did not complete."
        ) from exc
    detail = change.detail
    # arn:PARTITION:bedrock:REGION:ACCOUNT:model-invocation-job/ID
    _, _, _, region, account_id, job = detail.batchJobArn.split(":")
    # EventBridge writes the account and the Region of the event, and the sender writes the ARN.
    if {(change.account, change.region), (account_id, region)} != {(origin.account_id, origin.region)}:
        raise InvalidEventError(
            f"the {JOB_STATE_CHANGE} of job {detail.batchJobArn!r}, sent in Region {change.region!r} of account "
            f"{change.account!r}, is not of this stage's Region {origin.region!r} and account {origin.account_id!r}. "
            "Correct the rule that sends the event."
        )
    return JobEnd(job.rpartition("/")[2], detail.status, detail.failureMessage or "")


def _json_object(text: object, subject: str) -> dict[str, Any]:
    try:
        value = json.loads(cast("str", text))
    except (TypeError, ValueError, RecursionError) as exc:
        raise InvalidEventError(f"{subject} is not valid JSON. {REMEDY}") from exc
    return _as_object(value, subject)


def _as_object(value: object, subject: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidEventError(f"{subject} must be an object, not {json_type(value)}. {REMEDY}")
    return cast("dict[str, Any]", value)
