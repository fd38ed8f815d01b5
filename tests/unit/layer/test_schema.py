"""The models of records, items and requests, and the values that they refuse."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from pydantic import JsonValue, TypeAdapter, ValidationError

from yorutsuke_common.names import BedrockEnd
from yorutsuke_common.schema import (
    BatchJob,
    BedrockRecord,
    DeadLetter,
    ImageId,
    ImageStatus,
    JobStatus,
    OutputStats,
    PendingImage,
    Reason,
    Receipt,
    RecordCounts,
    ResultStats,
    SimpleOutput,
    SimpleRecord,
    Submission,
    SubmitRequest,
    Transaction,
    TransactionStatus,
    instant,
    iso_utc,
    serialize_json,
)
from yorutsuke_common.validation import describe_errors

RECEIPT: dict[str, Any] = {
    "amount": Decimal("1280.50"),
    "type": "expense",
    "date": "2026-11-20",
    "merchant": "喫茶ほし",
    "category": "other",
    "description": "",
}
JOB: dict[str, Any] = {
    "intentId": "intent-1",
    "jobId": "abcdefgh1234",
    "userId": "user-1",
    "status": "SUBMITTED",
    "submitTime": "2026-11-22T15:00:00.000Z",
}
TRANSACTION = Transaction(
    **RECEIPT,
    transactionId="0123456789abcdef01234567",
    imageId="image-1",
    userId="user-1",
    jobId="abcdefgh1234",
    intentId="intent-1",
    traceId="trace-1",
    extractedAt="2026-11-22T18:42:07Z",
    ttl=1858444927,
)


def refused_fields(
    model: type[Receipt | BatchJob | PendingImage | SubmitRequest], attributes: dict[str, Any]
) -> list[object]:
    """Return the names of the refused fields."""
    with pytest.raises(ValidationError) as raised:
        model.model_validate(attributes)
    return [error["loc"][0] for error in raised.value.errors()]


def test_receipt_ignores_other_fields() -> None:
    assert Receipt.model_validate({**RECEIPT, "confidence": 1}).model_dump() == RECEIPT


@pytest.mark.parametrize("kind", ["income", "expense"])
def test_receipt_is_income_or_expense(kind: str) -> None:
    assert Receipt.model_validate({**RECEIPT, "type": kind}).type == kind


@pytest.mark.parametrize("category", ["sale", "purchase", "shipping", "packaging", "fee", "other"])
def test_receipt_has_one_of_six_categories(category: str) -> None:
    assert Receipt.model_validate({**RECEIPT, "category": category}).category == category


@pytest.mark.parametrize("name", RECEIPT)
def test_receipt_requires_every_field(name: str) -> None:
    rest = {key: value for key, value in RECEIPT.items() if key != name}

    assert refused_fields(Receipt, rest) == [name]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("amount", True),
        ("amount", "1280"),
        ("amount", 1280),
        ("amount", 1280.5),
        ("amount", None),
        ("amount", Decimal(0)),
        ("amount", Decimal("-0.01")),
        ("amount", Decimal("NaN")),
        ("amount", Decimal("sNaN")),
        ("amount", Decimal("Infinity")),
        ("amount", Decimal("1e400")),
        ("amount", Decimal("1e-400")),
        ("amount", Decimal("1" * 39)),
        ("amount", Decimal("0." + "1" * 39)),
        ("type", "Expense"),
        ("type", ""),
        ("type", None),
        ("date", "2026-02-30"),
        ("date", "2026-13-01"),
        ("date", "0000-01-01"),
        ("date", "1999-12-31"),
        ("date", "2025-02-29"),
        ("date", "20260101"),
        ("date", "2026-W48-1"),
        ("date", "2026-1-1"),
        ("date", "2026-01-01T00:00:00Z"),
        ("date", "2026-01-01\n"),
        ("date", " 2026-01-01"),
        ("date", "２０２６-01-01"),
        ("date", ""),
        ("date", 20260101),
        ("merchant", ""),
        ("merchant", " \t\n"),
        ("merchant", "\u3000"),
        ("merchant", "x" * 1_001),
        ("merchant", "\ud800"),
        ("merchant", None),
        ("merchant", 7),
        ("category", "food"),
        ("category", "Other"),
        ("category", ""),
        ("description", "x" * 10_001),
        ("description", "\udfff"),
        ("description", None),
        ("description", ["x"]),
    ],
)
def test_receipt_refuses_an_invalid_value(name: str, value: object) -> None:
    assert refused_fields(Receipt, {**RECEIPT, name: value}) == [name]


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("amount", Decimal("0.01"), Decimal("0.01")),
        ("amount", Decimal("9" * 38), Decimal("9" * 38)),
        ("amount", Decimal("0." + "9" * 38), Decimal("0." + "9" * 38)),
        ("date", "2024-02-29", "2024-02-29"),
        ("date", "2000-01-01", "2000-01-01"),
        ("merchant", " \u3000喫茶ほし\n", "喫茶ほし"),
        ("merchant", "x" * 1_000, "x" * 1_000),
        ("description", " kept as it is ", " kept as it is "),
        ("description", "x" * 10_000, "x" * 10_000),
        ("description", "\x00", "\x00"),
    ],
)
def test_receipt_accepts_a_value_at_its_limit(name: str, value: object, kept: object) -> None:
    assert Receipt.model_validate({**RECEIPT, name: value}).model_dump() == {**RECEIPT, name: kept}


@pytest.mark.parametrize("name", RECEIPT)
def test_receipt_error_does_not_quote_the_value(name: str) -> None:
    """A validation message may be logged. Logs must not contain a merchant, a description or an amount."""
    with pytest.raises(ValidationError) as raised:
        Receipt.model_validate({**RECEIPT, name: ["Kissa Hoshi 1280"]})

    assert "Kissa" not in str(raised.value)


def test_date_error_does_not_quote_the_date() -> None:
    with pytest.raises(ValidationError) as raised:
        Receipt.model_validate({**RECEIPT, "date": "2026-02-30"})

    assert "02-30" not in str(raised.value)


def test_transaction_item_has_all_attributes() -> None:
    assert TRANSACTION.item() == {
        **RECEIPT,
        "transactionId": "0123456789abcdef01234567",
        "imageId": "image-1",
        "userId": "user-1",
        "jobId": "abcdefgh1234",
        "intentId": "intent-1",
        "traceId": "trace-1",
        "extractedAt": "2026-11-22T18:42:07Z",
        "ttl": 1858444927,
        "status": "processed",
    }


def test_item_status_is_a_plain_string() -> None:
    """boto3's serializer compares the name of the type and does not support enums."""
    failed = TRANSACTION.model_copy(update={"status": TransactionStatus.MIGRATION_FAILED})

    status = failed.item()["status"]

    assert (type(status), status) == (str, "migrationFailed")


def test_transaction_is_immutable() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        TRANSACTION.userId = "user-2"


def test_job_has_defaults_for_optional_attributes() -> None:
    assert BatchJob.model_validate(JOB) == BatchJob(
        intentId="intent-1",
        jobId="abcdefgh1234",
        userId="user-1",
        status="SUBMITTED",
        submitTime="2026-11-22T15:00:00.000Z",
        modelId=None,
        manifestUri=None,
        pendingImageIds=None,
        traceId=None,
        completedAt=None,
        resultStats=None,
        processedOutputs={},
    )


def test_completed_job_is_read_from_its_item() -> None:
    stats = {"successCount": Decimal(3), "failureCount": Decimal(1), "totalCount": Decimal(4)}
    item = {
        **JOB,
        "status": "COMPLETED",
        "modelId": "amazon.nova-lite-v1:0",
        "manifestUri": "s3://images/batch-input/manifest.jsonl",
        "pendingImageIds": ["image-1"],
        "traceId": "trace-1",
        "completedAt": "2026-11-22T18:43:00Z",
        "resultStats": {**stats, "migrationFailedCount": Decimal(2)},
        "processedOutputs": {"batch-output/abcdefgh1234/output.jsonl": "etag-1"},
        "ttl": Decimal(1798058527),
    }

    assert BatchJob.model_validate(item) == BatchJob(
        intentId="intent-1",
        jobId="abcdefgh1234",
        userId="user-1",
        status="COMPLETED",
        submitTime="2026-11-22T15:00:00.000Z",
        modelId="amazon.nova-lite-v1:0",
        manifestUri="s3://images/batch-input/manifest.jsonl",
        pendingImageIds=["image-1"],
        traceId="trace-1",
        completedAt="2026-11-22T18:43:00Z",
        resultStats=ResultStats(successCount=3, failureCount=1, totalCount=4, migrationFailedCount=2),
        processedOutputs={"batch-output/abcdefgh1234/output.jsonl": "etag-1"},
    )


@pytest.mark.parametrize(
    ("stored", "text"),
    [
        ("2026-11-22T15:00:00.000Z", "2026-11-22T15:00:00.000Z"),
        (" 2026-11-22 ", " 2026-11-22 "),
        (Decimal(1795466527), "1795466527"),
        (Decimal("1795466527.50"), "1795466527.50"),
    ],
)
def test_submit_time_is_kept_as_stored(stored: object, text: str) -> None:
    assert BatchJob.model_validate({**JOB, "submitTime": stored}).submitTime == text


@pytest.mark.parametrize("name", ["intentId", "jobId", "submitTime"])
@pytest.mark.parametrize("value", ["", None, True, ["x"]])
def test_job_refuses_an_invalid_id_or_submit_time(name: str, value: object) -> None:
    assert refused_fields(BatchJob, {**JOB, name: value}) == [name]


@pytest.mark.parametrize("value", ["", True, ["x"]])
def test_job_refuses_an_invalid_user_id(value: object) -> None:
    assert refused_fields(BatchJob, {**JOB, "userId": value}) == ["userId"]


@pytest.mark.parametrize("name", JOB)
def test_job_accepts_values_of_one_character(name: str) -> None:
    job = BatchJob.model_validate({**JOB, name: "7"})

    assert job.model_dump(include=set(JOB)) == {**JOB, name: "7"}


@pytest.mark.parametrize("name", [name for name in JOB if name != "userId"])
def test_job_requires_every_field_except_its_user(name: str) -> None:
    rest = {key: value for key, value in JOB.items() if key != name}

    assert refused_fields(BatchJob, rest) == [name]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-22T15:00:00.250Z", datetime(2026, 11, 22, 15, 0, 0, 250_000, tzinfo=UTC)),
        ("2026-11-23T00:00:00+09:00", datetime(2026, 11, 22, 15, tzinfo=UTC)),
        ("2026-11-22T15:00:00", datetime(2026, 11, 22, 15, tzinfo=UTC)),
        ("2026-11-22", datetime(2026, 11, 22, tzinfo=UTC)),
        ("1795359600", datetime(2026, 11, 22, 15, tzinfo=UTC)),
        ("1795359600.50", datetime(2026, 11, 22, 15, 0, 0, 500_000, tzinfo=UTC)),
        # The first eight digits are also a date.
        ("1712122319", datetime(2024, 4, 3, 5, 31, 59, tzinfo=UTC)),
        # The same digits, without a dash, are also a time in the eighteenth century.
        ("1764010112304", datetime(2025, 11, 24, 18, 48, 32, 304_000, tzinfo=UTC)),
        ("yesterday", None),
        (" 2026-11-22 ", None),
        ("nan", None),
        ("inf", None),
        ("9e99", None),
    ],
)
def test_submission_time_is_read_in_both_forms(text: str, moment: datetime | None) -> None:
    assert instant(text) == moment
    assert BatchJob.model_validate({**JOB, "submitTime": text}).submitted_at == moment


def test_pending_image_has_default_status_pending() -> None:
    item = {"imageId": "image-1", "userId": "user-1", "s3Key": "uploads/user-1/a.jpg", "size": Decimal(9)}

    assert PendingImage.model_validate(item) == PendingImage(
        imageId="image-1",
        userId="user-1",
        s3Key="uploads/user-1/a.jpg",
        md5=None,
        uploadedAt=None,
        status="pending",
        intentId=None,
        uploadETag=None,
        processedKey=None,
        transactionId=None,
    )


def test_pending_image_refuses_an_empty_key() -> None:
    assert refused_fields(PendingImage, {"imageId": "image-1", "userId": "user-1", "s3Key": ""}) == ["s3Key"]


@pytest.mark.parametrize("image_id", ["x", " ", "é" * 512, "x" * 1024])
def test_image_id_accepts_1024_bytes(image_id: str) -> None:
    assert TypeAdapter[str](ImageId).validate_python(image_id) == image_id


@pytest.mark.parametrize("image_id", ["", "x" * 1025, "é" * 512 + "x", "x" * 3072, "\ud800", 7, None])
def test_image_id_refuses_other_lengths_and_types(image_id: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter[str](ImageId).validate_python(image_id)


def test_simple_record_has_image_id_and_text() -> None:
    line = '{"customData": "image-1", "output": {"text": "{}", "tokens": 9}, "more": 1}'

    assert SimpleRecord.model_validate_json(line) == SimpleRecord(customData="image-1", output=SimpleOutput(text="{}"))


def test_bedrock_record_is_read_without_its_model_input() -> None:
    line = '{"modelInput": {"image": "aGVsbG8="}, "modelOutput": {"a": [1]}, "recordId": "image-1"}'

    assert BedrockRecord.model_validate_json(line).model_dump() == {
        "recordId": "image-1",
        "modelOutput": {"a": [1]},
        "error": None,
    }


COUNTS = {"totalRecordCount": 3, "processedRecordCount": 3, "successRecordCount": 2, "errorRecordCount": 1}


def test_output_manifest_accepts_missing_and_unknown_token_counts() -> None:
    assert RecordCounts.model_validate({**COUNTS, "cachedTokenCount": 1}).model_dump(exclude_none=True) == COUNTS


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", [None, -1, 1.5, "x", 10**16, [1]])
def test_output_manifest_refuses_an_invalid_count(name: str, value: object) -> None:
    with pytest.raises(ValidationError) as raised:
        RecordCounts.model_validate({**COUNTS, name: value})

    assert [error["loc"] for error in raised.value.errors()] == [(name,)]


def test_dead_letter_accepts_a_missing_image_id() -> None:
    letter = DeadLetter(line=3, reason=Reason.INVALID_JSON, detail="the line is no JSON", record=serialize_json("{"))

    assert letter.as_json() == b'{"line":3,"reason":"INVALID_JSON","detail":"the line is no JSON","record":"{"}'


@pytest.mark.parametrize("record", [None, "{", "\U0001f600", 1.5, [{}], {"a": [None, "喫茶"]}])
def test_dead_letter_is_read_as_it_was_written(record: JsonValue) -> None:
    letter = DeadLetter(
        line=3, imageId="image-1", reason=Reason.MODEL_ERROR, detail="no", record=serialize_json(record)
    )

    assert DeadLetter.model_validate_json(letter.as_json()) == letter


@pytest.mark.parametrize(("length", "kept"), [(1_000, 1_000), (1_001, 1_000)])
def test_dead_letter_detail_is_cut_at_1000_characters(length: int, kept: int) -> None:
    assert DeadLetter(line=1, reason=Reason.MODEL_ERROR, detail="画" * length, record=b"null").detail == "画" * kept


def test_stored_enum_values_match_the_design() -> None:
    words = {
        kind.__name__: [word.value for word in kind] for kind in (JobStatus, BedrockEnd, TransactionStatus, ImageStatus)
    }

    assert words == {
        "JobStatus": [
            *("SUBMITTING", "ABANDONED", "SUBMITTED", "COMPLETED"),
            *("FAILED", "EXPIRED", "STOPPED", "PARTIALLY_COMPLETED"),
        ],
        "BedrockEnd": ["Failed", "Expired", "Stopped", "PartiallyCompleted"],
        "TransactionStatus": ["processed", "migrationFailed"],
        "ImageStatus": ["pending", "submitted", "processed", "migrationFailed", "failed"],
    }


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 11, 22, 18, 42, 7, 999_999, tzinfo=UTC), "2026-11-22T18:42:07Z"),
        (datetime(2026, 11, 23, 3, 42, 7, tzinfo=timezone(timedelta(hours=9))), "2026-11-22T18:42:07Z"),
    ],
)
def test_instant_is_written_in_utc_in_seconds(moment: datetime, text: str) -> None:
    assert iso_utc(moment) == text


@pytest.mark.parametrize(("microsecond", "text"), [(0, "07.000000Z"), (1_234, "07.001234Z"), (999_999, "07.999999Z")])
def test_instant_is_written_in_microseconds_on_request(microsecond: int, text: str) -> None:
    moment = datetime(2026, 11, 22, 18, 42, 7, microsecond, tzinfo=UTC)

    assert iso_utc(moment, "microseconds") == f"2026-11-22T18:42:{text}"


REQUEST: dict[str, Any] = {"intentId": "intent-1", "pendingImageIds": ["image-1", "image-2"], "userId": "user-1"}


def test_request_has_optional_fields() -> None:
    optional = {"modelId": None, "imageDelivery": None}

    assert SubmitRequest.model_validate(REQUEST).model_dump() == {**REQUEST, **optional}


def test_request_refuses_an_unknown_delivery() -> None:
    assert refused_fields(SubmitRequest, {**REQUEST, "imageDelivery": "url"}) == ["imageDelivery"]


@pytest.mark.parametrize("intent_id", ["a", "7", "2026-11-22_user.1", "A" * 128])
def test_intent_id_accepts_allowed_characters_and_lengths(intent_id: str) -> None:
    assert SubmitRequest.model_validate({**REQUEST, "intentId": intent_id}).intentId == intent_id


@pytest.mark.parametrize("intent_id", ["", "A" * 129, "a/b", "..", ".a", "-a", "a b", "a\n", "意図", "a#b", 7, None])
def test_intent_id_refuses_other_values(intent_id: object) -> None:
    assert refused_fields(SubmitRequest, {**REQUEST, "intentId": intent_id}) == ["intentId"]


def test_request_accepts_at_most_50000_images() -> None:
    image_ids = [str(number) for number in range(50_001)]

    SubmitRequest.model_validate({**REQUEST, "pendingImageIds": image_ids[1:]})

    assert refused_fields(SubmitRequest, {**REQUEST, "pendingImageIds": image_ids}) == ["pendingImageIds"]


@pytest.mark.parametrize("image_ids", [[], [""], ["a" * 1025], ["\ud800"], [7], "ab", ["a", "b", "a"], None])
def test_request_refuses_invalid_or_repeated_image_ids(image_ids: object) -> None:
    assert refused_fields(SubmitRequest, {**REQUEST, "pendingImageIds": image_ids}) == ["pendingImageIds"]


@pytest.mark.parametrize("user_id", ["", "a" * 257, 7])
def test_request_refuses_an_invalid_user_id(user_id: object) -> None:
    assert refused_fields(SubmitRequest, {**REQUEST, "userId": user_id}) == ["userId"]


def test_problems_are_short_and_omit_values() -> None:
    with pytest.raises(ValidationError) as raised:
        SubmitRequest.model_validate({**REQUEST, "pendingImageIds": ["secret" * 1_000] * 10_000})

    assert describe_errors(raised.value) == "pendingImageIds.0: must have 1024 or fewer bytes, not 6000"


SUBMISSION = Submission(
    intentId="intent-1",
    userId="user-1",
    status="SUBMITTING",
    submitTime="2026-11-22T15:00:00Z",
    modelId="amazon.nova-lite-v1:0",
    manifestUri="s3://images/batch-input/intent-1/manifest.jsonl",
    outputUri="s3://images/batch-output/",
    roleArn="arn:aws:iam::123456789012:role/yorutsuke-bedrock-dev",
    jobTimeoutHours=72,
    traceId="trace-1",
    requestedImages="0" * 64,
    submittedImages="3",
    imageCount=2,
    pendingImageIds=["image-1", "image-2"],
    ttl=1_798_000_000,
)


def test_submission_item_omits_a_missing_job_id() -> None:
    item = SUBMISSION.item()

    assert "jobId" not in item
    assert Submission.model_validate(item) == SUBMISSION


@pytest.mark.parametrize("uri", ["", "batch-input/intent-1/manifest.jsonl", "s3://images", "s3://images/", "s3:///a"])
def test_submission_without_manifest_key_is_refused(uri: str) -> None:
    with pytest.raises(ValidationError, match="manifestUri"):
        Submission.model_validate({**SUBMISSION.item(), "manifestUri": uri})


def test_submission_with_a_folder_delivers_by_s3() -> None:
    by_reference = SUBMISSION.model_copy(update={"inputUri": "s3://images/batch-input/intent-1/"})

    assert (SUBMISSION.image_delivery, by_reference.image_delivery) == ("inline", "s3")


def test_submitted_item_is_a_valid_batch_job() -> None:
    item = {**SUBMISSION.item(), "status": "SUBMITTED", "jobId": "abcdefgh1234"}

    assert BatchJob.model_validate(item).model_dump(exclude_defaults=True) == {
        "intentId": "intent-1",
        "jobId": "abcdefgh1234",
        "userId": "user-1",
        "status": "SUBMITTED",
        "submitTime": "2026-11-22T15:00:00Z",
        "modelId": "amazon.nova-lite-v1:0",
        "manifestUri": "s3://images/batch-input/intent-1/manifest.jsonl",
        "pendingImageIds": ["image-1", "image-2"],
        "traceId": "trace-1",
    }


@pytest.mark.parametrize(
    ("requested", "named", "missing"),
    [(["a", "b", "c"], [1, 1], 1), (["a"], [1, 1], 0), (["a", "b"], [], 2), (None, [None, None], None)],
)
def test_missing_images_are_counted_over_all_files(
    requested: list[str] | None, named: list[int | None], missing: int | None
) -> None:
    outputs = [
        OutputStats(successCount=3, failureCount=2, totalCount=5, migrationFailedCount=1, namedImageCount=count)
        for count in named
    ]

    files = len(outputs)
    assert ResultStats.of(outputs, requested) == ResultStats(
        successCount=3 * files,
        failureCount=2 * files,
        totalCount=5 * files,
        migrationFailedCount=files,
        missingCount=missing,
    )
