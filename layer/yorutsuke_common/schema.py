"""The shapes of everything that is read or stored. Pure: no AWS, no clock, no environment.

Attribute names are those of the stored items (camelCase), so that a model dumps to its DynamoDB item as it is. Errors
of these models never carry the offending input: a validation message may reach a log.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from datetime import date as calendar_date
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    JsonValue,
    StringConstraints,
)
from pydantic_core import ErrorDetails

from .hashing import derived_trace_id

MAX_IMAGE_ID_BYTES = 1024
MAX_RECORDS = 50_000
"""Of a batch inference job, by Bedrock's default quota."""
MAX_MERCHANT_CHARACTERS = 1_000
MAX_DESCRIPTION_CHARACTERS = 10_000
MAX_DETAIL_CHARACTERS = 1_000
MAX_AMOUNT_DIGITS = 38
"""DynamoDB keeps 38 significant digits; more would be rounded, so more is refused."""


class JobStatus(StrEnum):
    """What Yorutsuke writes as the status of a batch job; others are read as they are.

    `SUBMITTING`: nobody has heard from Bedrock yet that it has the job. `COMPLETED`: its output was taken in, whatever
    Bedrock says of the job. The four after it: Bedrock ended the job otherwise than completely, and no output was taken
    in so far.
    """

    SUBMITTING = "SUBMITTING"
    SUBMITTED = "SUBMITTED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    EXPIRED = "EXPIRED"
    STOPPED = "STOPPED"
    PARTIALLY_COMPLETED = "PARTIALLY_COMPLETED"


class BedrockEnd(StrEnum):
    """How Bedrock ends a batch inference job otherwise than completely, in its own words.

    `Expired` never began; the others may have output, `PartiallyCompleted` always has.

    Source: Amazon Bedrock API reference, GetModelInvocationJob.
    """

    FAILED = "Failed"
    EXPIRED = "Expired"
    STOPPED = "Stopped"
    PARTIALLY_COMPLETED = "PartiallyCompleted"

    @property
    def job_status(self) -> JobStatus:
        """The status of a job that ended so and has no output taken in."""
        return JobStatus[self.name]


class TransactionStatus(StrEnum):
    """`migrationFailed`: the transaction stands, its image still waits in `uploads/`."""

    PROCESSED = "processed"
    MIGRATION_FAILED = "migrationFailed"


class ImageStatus(StrEnum):
    """`pending`: in `uploads/`, not read yet. `processed`: moved, `processedKey` says where."""

    PENDING = "pending"
    PROCESSED = "processed"


class Reason(StrEnum):
    """Why a line of the output became a dead letter."""

    INVALID_JSON = "INVALID_JSON"
    INVALID_RECORD = "INVALID_RECORD"
    LINE_TOO_LONG = "LINE_TOO_LONG"
    DUPLICATE_IMAGE = "DUPLICATE_IMAGE"
    OWNER_MISMATCH = "OWNER_MISMATCH"
    MODEL_ERROR = "MODEL_ERROR"
    TRUNCATED_OUTPUT = "TRUNCATED_OUTPUT"
    INVALID_AI_JSON = "INVALID_AI_JSON"
    INVALID_TRANSACTION = "INVALID_TRANSACTION"


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


def _within_key_limit(value: str) -> str:
    size = len(value.encode())
    if size > MAX_IMAGE_ID_BYTES:
        raise ValueError(f"is {size} bytes long, at most {MAX_IMAGE_ID_BYTES} fit")
    return value


def _intent_id(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", value):
        raise ValueError("must be 1 to 128 letters, digits, dots, hyphens and underscores, a letter or digit first")
    return value


def _real_date(value: str) -> str:
    # The pattern first: fromisoformat also takes 20261123 and 2026-W48-1, and quotes what it refuses.
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        raise ValueError("must be a date written YYYY-MM-DD")
    try:
        calendar_date.fromisoformat(value)
    except ValueError:
        raise ValueError("must be a day that the calendar has") from None
    return value


def _storable(value: Decimal) -> Decimal:
    # Zeros at the end count as well: DynamoDB's client takes a number digit by digit.
    if len(value.as_tuple().digits) > MAX_AMOUNT_DIGITS:
        raise ValueError(f"must have at most {MAX_AMOUNT_DIGITS} digits")
    return value


def _cut_detail(value: str) -> str:
    return value[:MAX_DETAIL_CHARACTERS]


def _number_as_text(value: object) -> object:
    return str(value) if isinstance(value, Decimal) else value


def _each_once(values: list[str]) -> list[str]:
    repeats = len(values) - len(set(values))
    if repeats:
        raise ValueError(f"must name each image once, {repeats} of {len(values)} are repeats")
    return values


ImageId = Annotated[str, Field(min_length=1), AfterValidator(_within_key_limit)]


class Receipt(_Model):
    """What the model read off one receipt: the JSON object in its reply.

    Strict: a number in quotes or a boolean is refused, not converted. Read it from JSON whose numbers were parsed as
    `Decimal`, so that the amount stays exact.
    """

    amount: Annotated[
        Decimal,
        Field(strict=True, gt=0, allow_inf_nan=False, max_digits=MAX_AMOUNT_DIGITS),
        AfterValidator(_storable),
    ]
    type: Literal["income", "expense"]
    date: Annotated[str, AfterValidator(_real_date)]
    merchant: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_MERCHANT_CHARACTERS)]
    category: Literal["sale", "purchase", "shipping", "packaging", "fee", "other"]
    description: Annotated[str, StringConstraints(max_length=MAX_DESCRIPTION_CHARACTERS)]


class Transaction(Receipt):
    """An item of the transactions table: partition key `userId`, sort key `transactionId`.

    `extractedAt` is the output object's LastModified, ISO 8601 UTC; `ttl` is in epoch seconds. Every attribute but
    `status` follows from the job, the line and the output object.
    """

    transactionId: str
    imageId: ImageId
    userId: str
    jobId: str
    intentId: str
    traceId: str
    extractedAt: str
    ttl: int
    status: TransactionStatus = TransactionStatus.PROCESSED

    def item(self) -> dict[str, Any]:
        """Return the DynamoDB item, in boto3 resource types (str, int, Decimal)."""
        return {**self.model_dump(), "status": self.status.value}


class ResultStats(_Model):
    """Counts of one output: successCount + failureCount = totalCount, always.

    `migrationFailedCount` counts successes whose image could not be moved; `missingCount` the images that the job asked
    for and no line answered, where its record keeps what it asked for.
    """

    successCount: int
    failureCount: int
    totalCount: int
    migrationFailedCount: int
    missingCount: int | None = None


Count = Annotated[int, Field(ge=0, le=10**15)]


class RecordCounts(_Model):
    """`manifest.json.out`, which Bedrock writes beside the output: how many of the job's records there are so far.

    `processedRecordCount` is how many lines the output has. It stays below `totalRecordCount` while the job runs, and
    for good where the job was only partially completed.

    Source: Amazon Bedrock user guide, "View the results of a batch inference job" and "Monitor batch inference jobs".
    """

    totalRecordCount: Count
    processedRecordCount: Count
    successRecordCount: Count
    errorRecordCount: Count
    inputTokenCount: Count | None = None
    outputTokenCount: Count | None = None


class BatchJob(_Model):
    """An item of the batch-jobs table: partition key `intentId`, looked up by `jobId` through `jobIdIndex`.

    `submitTime` is kept exactly as stored, a string or a number: transaction ids are made from it. `processedOutputs`
    maps the object key of each output already processed to its ETag. What begins with `bedrock` is Bedrock's own word:
    how it ended the job if not completely, its message, and its manifest's counts once the output agrees with them.
    `claimedBy` and `claimedUntil` (epoch seconds) are of the function that is taking the job's output in.
    """

    intentId: Annotated[str, Field(min_length=1)]
    jobId: Annotated[str, Field(min_length=1)]
    userId: Annotated[str, Field(min_length=1)]
    status: str
    submitTime: Annotated[str, BeforeValidator(_number_as_text), Field(min_length=1)]
    modelId: str | None = None
    manifestUri: str | None = None
    pendingImageIds: list[str] | None = None
    traceId: str | None = None
    completedAt: str | None = None
    resultStats: ResultStats | None = None
    processedOutputs: dict[str, str] = Field(default_factory=dict)
    bedrockStatus: str | None = None
    bedrockMessage: str | None = None
    bedrockCounts: RecordCounts | None = None
    claimedBy: str | None = None
    claimedUntil: int | None = None

    @property
    def trace_id(self) -> str:
        """The trace that the job was submitted under, else one derived from its id: the same for every delivery."""
        return self.traceId or derived_trace_id(self.jobId)


class SubmitRequest(_Model):
    """What the orchestrator is asked for: one batch job for images of one user.

    `intentId` stands for the wish, however often it is sent: 1 to 128 letters, digits, dots, hyphens and underscores, a
    letter or digit first. It is a part of the manifest's object key, and Bedrock takes few other characters in one.

    Source: Amazon Bedrock API reference, ModelInvocationJobS3InputDataConfig (`s3Uri`).
    """

    intentId: Annotated[str, AfterValidator(_intent_id)]
    pendingImageIds: Annotated[
        list[ImageId], FailFast(), Field(min_length=1, max_length=MAX_RECORDS), AfterValidator(_each_once)
    ]
    userId: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    modelId: str | None = None


class Submission(_Model):
    """An item of the batch-jobs table as the orchestrator writes it, before Bedrock has the job and after.

    `submitTime`, to the microsecond, is fixed with the first write and for ever, and so is all that Bedrock is told:
    `modelId`, `manifestUri`, `outputUri` and `roleArn`. `requestedImages` is a digest of the ids that were asked for,
    `submittedImages` says which of them are in the manifest (`selection`), `imageCount` how many, and
    `pendingImageIds` has them where they fit into an item. `manifestPublished` is there once the manifest is, whole.
    `ttl` is in epoch seconds.
    """

    intentId: str
    userId: str
    status: str
    submitTime: str
    modelId: str
    manifestUri: str
    outputUri: str
    roleArn: str
    traceId: str
    requestedImages: str
    submittedImages: str
    imageCount: int
    pendingImageIds: list[str] | None = None
    manifestPublished: Literal[True] | None = None
    jobId: str | None = None
    ttl: int

    def item(self) -> dict[str, Any]:
        """Return the DynamoDB item, in boto3 resource types."""
        return self.model_dump(exclude_none=True)


class PendingImage(_Model):
    """An item of the pending-images table: partition key `imageId`.

    `s3Key` is met with and without the leading `uploads/`.
    """

    imageId: str
    userId: str
    s3Key: Annotated[str, Field(min_length=1)]
    md5: str | None = None
    uploadedAt: str | None = None
    status: str = ImageStatus.PENDING.value
    processedKey: str | None = None


class PlanOutput(_Model):
    """The reply inside a plan record: the receipt's JSON as text."""

    text: str


class PlanRecord(_Model):
    """One line of `output.jsonl`: `{"customData": imageId, "output": {"text": "<json>"}}`."""

    customData: ImageId
    output: PlanOutput


class BedrockRecord(_Model):
    """One line of `{input}.jsonl.out`, the layout Bedrock itself writes.

    `{"recordId": imageId, "modelInput": {…}, "modelOutput": {…}}`, or `error` in place of `modelOutput`. `modelInput`
    echoes the request, image included, and is not read. The form of `modelOutput` is the model's own.

    Source: Amazon Bedrock user guide, "View the results of a batch inference job".
    """

    recordId: ImageId
    modelOutput: JsonValue = None
    error: JsonValue = None


class DeadLetter(_Model):
    """One line of `dead-letters/{jobId}.jsonl`.

    `line` counts from 1. `detail` may quote the model's error, and is cut. `record` is the line's JSON without
    `modelInput`, or, where it is no JSON or too large, the beginning of its text. Numbers that JSON cannot write become
    strings, such as "Infinity" for 1e400.
    """

    model_config = ConfigDict(ser_json_inf_nan="strings")

    line: int
    imageId: str | None = None
    reason: Reason
    detail: Annotated[str, AfterValidator(_cut_detail)]
    record: JsonValue


def iso_utc(moment: datetime, precision: Literal["seconds", "microseconds"] = "seconds") -> str:
    """Return an instant in ISO 8601, UTC: `2026-11-23T02:14:00Z`, or `2026-11-23T02:14:00.000000Z`."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=precision) + "Z"


def problems(errors: Iterable[ErrorDetails]) -> str:
    """Return what pydantic found, field by field, without the values."""
    return "; ".join(f"{'.'.join(map(str, error['loc'])) or 'value'}: {error['msg']}" for error in errors)
