"""The models of everything that is read or stored. Pure: without AWS, clock or environment.

Attribute names are those of the stored items (camelCase), so a model dumps to its DynamoDB item without renaming.
The text of a validation error never quotes the input, because it may reach a log. `validation` describes such errors.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from datetime import date as calendar_date
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

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
from pydantic_core import to_json

from .hashing import derived_trace_id
from .names import MAX_RECORDS, SCHEDULE_PREFIX

MAX_IMAGE_ID_BYTES = 1024
"""Maximum length of an image id, in bytes. An image id is a partition key, and DynamoDB allows 2,048 bytes."""
MAX_MERCHANT_CHARACTERS = 1_000
"""Maximum length of a merchant, in characters. Keeps an item far below DynamoDB's 400 KB."""
MAX_DESCRIPTION_CHARACTERS = 10_000
"""Maximum length of a description, in characters. Keeps an item far below DynamoDB's 400 KB."""
MAX_DETAIL_CHARACTERS = 1_000
"""Maximum length of a message from a model or from Bedrock that is stored, in characters."""
MILLISECONDS_FROM = 100_000_000_000
"""Smallest number that is read as milliseconds since the epoch. In seconds, it is in the year 5138."""
EARLIEST_DATE = "2000-01-01"
"""Earliest date of a receipt. A model may copy a year as it is printed, such as 0008 for the eighth of an era."""
MAX_AMOUNT_DIGITS = 38
"""Maximum number of digits of an amount. DynamoDB keeps 38 significant digits and refuses more."""


class JobStatus(StrEnum):
    """The statuses that Yorutsuke writes for a batch job. Other values are read without change.

    `SUBMITTING`: Bedrock has not confirmed the job yet. `ABANDONED`: the request was refused after the intent had
    begun, and its images are being released. `COMPLETED`: the output has been processed, even if Bedrock did not
    complete the job. The last four are those of `BedrockEnd`: Bedrock did not complete the job, and no output has been
    processed so far.
    """

    SUBMITTING = "SUBMITTING"
    ABANDONED = "ABANDONED"
    SUBMITTED = "SUBMITTED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    EXPIRED = "EXPIRED"
    STOPPED = "STOPPED"
    PARTIALLY_COMPLETED = "PARTIALLY_COMPLETED"


class TransactionStatus(StrEnum):
    """The statuses of a transaction.

    `migrationFailed`: the transaction is stored, but its image is still in `uploads/`. Other values belong to the app,
    such as a mark for a deleted transaction, and are never changed.
    """

    PROCESSED = "processed"
    MIGRATION_FAILED = "migrationFailed"


class ImageStatus(StrEnum):
    """The statuses of an image.

    `pending`: the image is in `uploads/`, and waits for a job. `submitted`: it is held by the intent `intentId`, whose
    job reads it. `processed`: it was moved to `processedKey`. `migrationFailed`: its transaction is stored, but it was
    not moved. `failed`: no job could read it, for the reason `failureReason`. A request can submit it again.
    """

    PENDING = "pending"
    SUBMITTED = "submitted"
    PROCESSED = "processed"
    MIGRATION_FAILED = "migrationFailed"
    FAILED = "failed"


class Reason(StrEnum):
    """The reasons for which a line of an output file becomes a dead letter.

    Tests compare every list of reasons in the documents with this one.
    """

    INVALID_JSON = "INVALID_JSON"
    INVALID_RECORD = "INVALID_RECORD"
    LINE_TOO_LONG = "LINE_TOO_LONG"
    DUPLICATE_IMAGE = "DUPLICATE_IMAGE"
    OWNER_MISMATCH = "OWNER_MISMATCH"
    UNKNOWN_IMAGE = "UNKNOWN_IMAGE"
    OTHER_JOB = "OTHER_JOB"
    MODEL_ERROR = "MODEL_ERROR"
    TRUNCATED_OUTPUT = "TRUNCATED_OUTPUT"
    INVALID_AI_JSON = "INVALID_AI_JSON"
    INVALID_TRANSACTION = "INVALID_TRANSACTION"


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


def _within_key_limit(value: str) -> str:
    size = len(value.encode())
    if size > MAX_IMAGE_ID_BYTES:
        raise ValueError(f"must have {MAX_IMAGE_ID_BYTES} or fewer bytes, not {size}")
    return value


def _intent_id(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", value):
        raise ValueError("must have 1 to 128 letters, digits, dots, hyphens or underscores, a letter or digit first")
    return value


def _real_date(value: str) -> str:
    # The pattern comes first: fromisoformat also accepts 20261123 and 2026-W48-1, and quotes the text that it refuses.
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        raise ValueError("must be a date written YYYY-MM-DD")
    try:
        calendar_date.fromisoformat(value)
    except ValueError:
        raise ValueError("must be a day of the calendar") from None
    if value < EARLIEST_DATE:
        raise ValueError(f"must be at least {EARLIEST_DATE}")
    return value


def _storable(value: Decimal) -> Decimal:
    # Trailing zeros count as well: boto3 serializes every digit.
    if len(value.as_tuple().digits) > MAX_AMOUNT_DIGITS:
        raise ValueError(f"must have {MAX_AMOUNT_DIGITS} or fewer digits")
    return value


def _cut_detail(value: str) -> str:
    return value[:MAX_DETAIL_CHARACTERS]


def number_as_text(value: object) -> object:
    """Return a number of DynamoDB as text, and any other value as it is."""
    return str(value) if isinstance(value, Decimal) else value


def _each_once(values: list[str]) -> list[str]:
    repeats = len(values) - len(set(values))
    if repeats:
        raise ValueError(f"must name each image once, but {repeats} of the {len(values)} ids are repeats")
    return values


def serialize_json(value: JsonValue) -> bytes:
    """Return a value as JSON. Numbers that JSON cannot express become strings."""
    return to_json(value, inf_nan_mode="strings")


def _serialized(value: JsonValue | bytes) -> bytes:
    return value if isinstance(value, bytes) else serialize_json(value)


ImageId = Annotated[str, Field(min_length=1), AfterValidator(_within_key_limit)]
InvocationType = Literal["Converse"]
"""A job's `modelInvocationType`. It is absent from a job of the type `InvokeModel`, Bedrock's default.

Source: Amazon Bedrock API reference, CreateModelInvocationJob.
"""


ImageDelivery = Literal["inline", "s3"]
"""How a job's images reach the model: within the manifest, or as copies in S3 that the manifest names."""


class Receipt(_Model):
    """The JSON object in a model's reply: the fields of one receipt.

    Validation is strict: a number in quotes or a boolean is refused, not converted. The JSON must be parsed with
    `Decimal` numbers, so that the amount stays exact.
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

    `extractedAt` is the LastModified of the output file, ISO 8601 UTC. `ttl` is in epoch seconds. Every attribute
    except `status` is derived from the job, the line and the output file.
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


class _RecordStats(_Model):
    """Counts of records: successCount + failureCount = totalCount, always.

    `migrationFailedCount` counts successes with an image that could not be moved.
    """

    successCount: int
    failureCount: int
    totalCount: int
    migrationFailedCount: int


class OutputStats(_RecordStats):
    """The counts of one output file.

    `namedImageCount` counts the requested images that the file names. It is absent if the job's item does not list the
    requested images.
    """

    namedImageCount: int | None = None


class ResultStats(_RecordStats):
    """The counts of a job: the sums over its output files.

    `missingCount` counts requested images without a record. It is absent if the job's item does not list the requested
    images.
    """

    missingCount: int | None = None

    @classmethod
    def of(cls, outputs: Collection[OutputStats], requested: Collection[str] | None) -> Self:
        """Return the sums over output files. `requested` has the ids of the requested images if they are known."""
        named = sum(stats.namedImageCount or 0 for stats in outputs)
        return cls(
            successCount=sum(stats.successCount for stats in outputs),
            failureCount=sum(stats.failureCount for stats in outputs),
            totalCount=sum(stats.totalCount for stats in outputs),
            migrationFailedCount=sum(stats.migrationFailedCount for stats in outputs),
            # Two files may name the same image.
            missingCount=None if requested is None else max(0, len(requested) - named),
        )


Count = Annotated[int, Field(ge=0, le=10**15)]


class RecordCounts(_Model):
    """The content of the output manifest, `manifest.json.out`, with Bedrock's counts of a job's model requests.

    `processedRecordCount` is the number of records of the output. It is below `totalRecordCount` while the job runs,
    and stays below it if the job is only partially completed.

    Source: Amazon Bedrock user guide, "View the results of a batch inference job" and "Monitor batch inference jobs".
    """

    totalRecordCount: Count
    processedRecordCount: Count
    successRecordCount: Count
    errorRecordCount: Count
    inputTokenCount: Count | None = None
    outputTokenCount: Count | None = None


@dataclass(frozen=True)
class Hold:
    """The right of an intent to read images. An intent that begins again after its item was deleted has a new time."""

    intent_id: str
    submit_time: str

    @property
    def is_scheduled(self) -> bool:
        """Whether a scheduled run has begun the intent.

        Images that have failed, or that do not fit into the manifest or the time, are then left out. Otherwise, the
        former are sent, and the latter are refused.
        """
        return self.intent_id.startswith(SCHEDULE_PREFIX)


class BatchJob(_Model):
    """An item of the batch-jobs table: partition key `intentId`, looked up by `jobId` through `jobIdIndex`.

    Without `userId`, the job has images of several users, and each transaction belongs to the user of its image.
    `submitTime` is kept exactly as stored, a string or a number, because transaction ids are derived from it.
    `processedOutputs` maps the object key of each processed output file to its ETag, and `outputStats` maps the same
    keys to the counts of the files. `resultStats` has the sums. The attributes that start with
    `bedrock` come from Bedrock: the state in which the job ended if it did not complete, the message, and the
    output manifest's counts once the output agrees with them. `claimedBy` and `claimedUntil` (epoch seconds) belong to
    the invocation that is processing the job's output. `completedBy` is the `claimedBy` of the last completion.
    """

    intentId: Annotated[str, Field(min_length=1)]
    jobId: Annotated[str, Field(min_length=1)]
    userId: Annotated[str, Field(min_length=1)] | None = None
    status: str
    submitTime: Annotated[str, BeforeValidator(number_as_text), Field(min_length=1)]
    modelId: str | None = None
    manifestUri: str | None = None
    pendingImageIds: list[str] | None = None
    traceId: str | None = None
    completedAt: str | None = None
    completedBy: str | None = None
    resultStats: ResultStats | None = None
    processedOutputs: dict[str, str] = Field(default_factory=dict)
    outputStats: dict[str, OutputStats] = Field(default_factory=dict)
    bedrockStatus: str | None = None
    bedrockMessage: str | None = None
    bedrockCounts: RecordCounts | None = None
    claimedBy: str | None = None
    claimedUntil: int | None = None

    @property
    def trace_id(self) -> str:
        """The trace id of the submission, or one derived from the job's id: the same for every delivery."""
        return self.traceId or derived_trace_id(self.jobId)

    @property
    def hold(self) -> Hold:
        """The hold of the job on its images."""
        return Hold(self.intentId, self.submitTime)

    @property
    def submitted_at(self) -> datetime | None:
        """The time of the submission, or None if `submitTime` is neither ISO 8601 nor a number since the epoch."""
        return instant(self.submitTime)


class SubmitRequest(_Model):
    """A request to the orchestrator: one batch job for images of one user, or of several users without `userId`.

    `intentId` identifies the request, so that repeating it never creates a second job. It has 1 to 128 letters, digits,
    dots, hyphens and underscores, and starts with a letter or digit. It is part of the manifest's object key, in which
    Bedrock accepts few other characters. `imageDelivery` replaces the setting of the stage.

    Source: Amazon Bedrock API reference, ModelInvocationJobS3InputDataConfig (`s3Uri`).
    """

    intentId: Annotated[str, AfterValidator(_intent_id)]
    pendingImageIds: Annotated[
        list[ImageId], FailFast(), Field(min_length=1, max_length=MAX_RECORDS), AfterValidator(_each_once)
    ]
    userId: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None
    modelId: str | None = None
    imageDelivery: ImageDelivery | None = None


class Submission(_Model):
    """An item of the batch-jobs table as the orchestrator writes it, before and after Bedrock creates the job.

    The first write fixes `submitTime` (to the microsecond) and the parameters of the job: `modelId`, `manifestUri`,
    `inputUri`, `outputUri`, `roleArn`, `modelInvocationType` and `jobTimeoutHours`. `inputUri` is the folder of the
    manifest and the images, and is absent if the manifest holds the images. `requestedImages` is a digest of the
    requested ids, and `pendingImageIds` lists them if they fit into an item. After the images were read, a second write
    fixes those in the manifest: `submittedImages` is their `selection`, and `submittedContents` the digest of their
    contents. `imageCount` is their number, and `pendingImageIds` then lists them. `manifestPublished` is set once the
    manifest is complete. `ttl` is in epoch seconds. Items of earlier versions lack `jobTimeoutHours` and
    `submittedContents`.
    """

    intentId: str
    userId: str | None = None
    status: str
    submitTime: str
    modelId: str
    modelInvocationType: InvocationType | None = None
    manifestUri: Annotated[str, StringConstraints(pattern=r"^s3://[^/]+/[^/]")]
    inputUri: str | None = None
    outputUri: str
    roleArn: str
    jobTimeoutHours: int | None = None
    traceId: str
    requestedImages: str
    submittedImages: str | None = None
    submittedContents: str | None = None
    imageCount: int | None = None
    pendingImageIds: list[str] | None = None
    manifestPublished: Literal[True] | None = None
    jobId: str | None = None
    ttl: int

    @property
    def image_delivery(self) -> ImageDelivery:
        """How the images of the job reach the model."""
        return "s3" if self.inputUri else "inline"

    @property
    def hold(self) -> Hold:
        """The hold of the intent on its images."""
        return Hold(self.intentId, self.submitTime)

    @property
    def input_folder(self) -> str:
        """The prefix of the manifest's key, and of the keys of the images' copies."""
        _, _, _, key = self.manifestUri.split("/", 3)
        return key.rpartition("/")[0] + "/"

    def item(self) -> dict[str, Any]:
        """Return the DynamoDB item, in boto3 resource types."""
        return self.model_dump(exclude_none=True)


class PendingImage(_Model):
    """An item of the pending-images table: partition key `imageId`.

    `s3Key` occurs with and without the leading `uploads/`. `intentId` names the last submission that held or read the
    image. `uploadETag` is the ETag of the content that its job reads, once the submission has a job. `submittedAt` is
    the submit time of that intent, if it holds or held the image, and `attempts` counts the intents that have.
    `failureReason` is the reason of the last status `failed`. `processedKey` and `transactionId` are set when the image
    has been moved.
    """

    imageId: str
    userId: str
    s3Key: Annotated[str, Field(min_length=1)]
    md5: str | None = None
    uploadedAt: str | None = None
    status: str = ImageStatus.PENDING.value
    intentId: str | None = None
    submittedAt: str | None = None
    attempts: int = 0
    failureReason: str | None = None
    uploadETag: str | None = None
    processedKey: str | None = None
    transactionId: str | None = None


class SimpleOutput(_Model):
    """The reply in a record of the simple layout: the receipt's JSON as text."""

    text: str


class SimpleRecord(_Model):
    """One line of `output.jsonl`: `{"customData": imageId, "output": {"text": "<json>"}}`."""

    customData: ImageId
    output: SimpleOutput


class BedrockRecord(_Model):
    """One line of `{input}.jsonl.out`, the layout that Bedrock writes.

    `{"recordId": imageId, "modelInput": {…}, "modelOutput": {…}}`, or `error` instead of `modelOutput`. `modelInput`
    repeats the request with its image and is not read. The form of `modelOutput` depends on the model family.

    Source: Amazon Bedrock user guide, "View the results of a batch inference job".
    """

    model_config = ConfigDict(ser_json_inf_nan="strings")

    recordId: ImageId
    modelOutput: JsonValue = None
    error: JsonValue = None


class DeadLetter(_Model):
    """One line of `dead-letters/{jobId}.jsonl`.

    `output` is the name of the output file, which the writer of the dead letters adds. `line` counts from 1. `detail`
    may quote the model's error and is truncated. `record` is JSON, kept as text because parsed values may take forty
    times the memory: the line without `modelInput`, or a string with the beginning of its text if the line is not JSON
    or is too large. Numbers that JSON cannot express become strings, such as "Infinity" for 1e400.
    """

    output: str | None = None
    line: int
    imageId: str | None = None
    reason: Reason
    detail: Annotated[str, AfterValidator(_cut_detail)]
    record: Annotated[bytes, BeforeValidator(_serialized)]

    def as_json(self) -> bytes:
        """Return the line, without its newline. Leave `output` and `imageId` out if they are not known."""
        rest = self.model_dump_json(exclude={"record"}, exclude_none=True)
        return rest.removesuffix("}").encode() + b',"record":' + self.record + b"}"


def instant(text: str) -> datetime | None:
    """Return an instant in ISO 8601, in UTC unless it has a zone, or since the epoch. Return None for other text."""
    try:
        # The number comes first: fromisoformat reads some numbers as dates without separators.
        seconds = float(text)
    except ValueError:
        pass
    else:
        try:
            return datetime.fromtimestamp(seconds / 1000 if seconds > MILLISECONDS_FROM else seconds, UTC)
        except (ValueError, OverflowError, OSError):
            return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def iso_utc(moment: datetime, precision: Literal["seconds", "microseconds"] = "seconds") -> str:
    """Return an instant in ISO 8601 UTC, such as `2026-11-23T02:14:00Z` or `2026-11-23T02:14:00.000000Z`."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=precision) + "Z"
