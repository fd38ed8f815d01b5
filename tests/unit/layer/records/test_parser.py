"""Parsing a record returns a transaction or a dead letter. It never raises an exception."""

import hashlib
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from tests.unit.layer.samples import (
    EXTRACTED_AT,
    JOB,
    RECEIPT,
    bedrock_line,
    nova_output,
    receipt_text,
    simple_line,
    with_amount,
)
from yorutsuke_common.aws.dynamodb import to_item
from yorutsuke_common.records.dead_letter import MAX_RECORD_BYTES
from yorutsuke_common.records.lines import Line
from yorutsuke_common.records.parser import ParsedRecord, RecordParser
from yorutsuke_common.records.receipt import parse_receipt
from yorutsuke_common.records.record import parse_record
from yorutsuke_common.records.replies import FORMS
from yorutsuke_common.schema import (
    MAX_DETAIL_CHARACTERS,
    BedrockRecord,
    DeadLetter,
    Reason,
    Transaction,
    serialize_json,
)

REPLIES = Path(__file__).parents[3] / "events" / "replies"
PARSER = RecordParser(JOB, EXTRACTED_AT, ttl_days=730)
TRANSACTION = Transaction(
    amount=Decimal(1280),
    type="expense",
    date="2026-11-20",
    merchant="喫茶ほし",
    category="other",
    description="Coffee with a client",
    transactionId=hashlib.sha256(b"abcdefgh1234#image-1#2026-11-22T15:00:00.000Z").hexdigest()[:24],
    imageId="image-1",
    userId="user-1",
    jobId="abcdefgh1234",
    intentId="intent-1",
    traceId="trace-1",
    extractedAt="2026-11-22T18:42:07Z",
    ttl=int(datetime(2028, 11, 21, 18, 42, 7, tzinfo=UTC).timestamp()),
)


def nova_line(text: str) -> bytes:
    """Return a record with this text as the reply of Nova."""
    return bedrock_line(modelOutput=nova_output(text))


def read(content: bytes, number: int = 1) -> ParsedRecord | DeadLetter:
    """Return the result of parsing one record."""
    return PARSER.parse(Line(number, content))


def transaction_of(content: bytes) -> Transaction:
    """Return the transaction of a valid record."""
    good = read(content)
    assert isinstance(good, ParsedRecord), good
    return good.transaction


def letter_of(content: bytes) -> DeadLetter:
    """Return the dead letter of an invalid record."""
    letter = read(content)
    assert isinstance(letter, DeadLetter), letter
    return letter


def reason_of(content: bytes) -> Reason:
    """Return the reason of the dead letter of an invalid record."""
    return letter_of(content).reason


# Valid records


def test_simple_record_becomes_a_transaction() -> None:
    text = receipt_text()

    assert read(simple_line(text), number=7) == ParsedRecord(
        7, TRANSACTION, serialize_json({"customData": "image-1", "output": {"text": text}})
    )


def test_bedrock_record_becomes_the_same_transaction() -> None:
    output = nova_output(receipt_text())

    assert read(bedrock_line(modelOutput=output), number=7) == ParsedRecord(
        7, TRANSACTION, serialize_json({"recordId": "image-1", "modelOutput": output})
    )


def test_order_of_the_keys_is_irrelevant() -> None:
    record = {"modelOutput": nova_output(receipt_text()), "modelInput": {}, "recordId": "image-1"}

    assert transaction_of(json.dumps(record).encode()) == TRANSACTION


def test_null_error_is_ignored() -> None:
    assert transaction_of(bedrock_line(modelOutput=nova_output(receipt_text()), error=None)) == TRANSACTION


def test_carriage_return_at_the_end_is_ignored() -> None:
    assert transaction_of(simple_line(receipt_text()) + b"\r") == TRANSACTION


def test_transaction_id_depends_on_the_image_id() -> None:
    documented = hashlib.sha256("abcdefgh1234#画像#2026-11-22T15:00:00.000Z".encode()).hexdigest()[:24]

    assert transaction_of(simple_line(receipt_text(), image_id="画像")) == TRANSACTION.model_copy(
        update={"transactionId": documented, "imageId": "画像"}
    )


def test_transaction_gets_a_derived_trace_id() -> None:
    parser = RecordParser(JOB.model_copy(update={"traceId": None}), EXTRACTED_AT, ttl_days=730)

    read_without = parser.parse(Line(1, simple_line(receipt_text())))

    assert isinstance(read_without, ParsedRecord)
    assert read_without.transaction == TRANSACTION.model_copy(update={"traceId": "job-abcdefgh1234"})


def test_ttl_counts_days_from_the_extraction() -> None:
    tokyo = EXTRACTED_AT.astimezone(timezone(timedelta(hours=9)))

    read_in_tokyo = RecordParser(JOB, tokyo, ttl_days=1).parse(Line(1, simple_line(receipt_text())))

    assert isinstance(read_in_tokyo, ParsedRecord)
    assert read_in_tokyo.transaction == TRANSACTION.model_copy(
        update={"ttl": int(datetime(2026, 11, 23, 18, 42, 7, tzinfo=UTC).timestamp())}
    )


def test_last_value_of_a_repeated_record_key_counts() -> None:
    line = b'{"customData": "image-0", ' + simple_line(receipt_text()).removeprefix(b"{")

    assert transaction_of(line) == TRANSACTION


def test_other_fields_of_a_reply_are_ignored() -> None:
    assert transaction_of(simple_line(receipt_text(status="migrationFailed", userId="user-2", ttl=0))) == TRANSACTION


# Amounts


@pytest.mark.parametrize(
    ("literal", "amount"),
    [
        ("1280", Decimal(1280)),
        ("0.1", Decimal("0.1")),
        ("1280.50", Decimal("1280.50")),
        ("1e3", Decimal(1000)),
        ("1.5E+2", Decimal(150)),
        ("1e37", Decimal(10) ** 37),
        ("1e-38", Decimal("1e-38")),
        ("9" * 38, Decimal("9" * 38)),
        ("0.30000000000000004441", Decimal("0.30000000000000004441")),
    ],
)
def test_amount_of_38_digits_is_exact(literal: str, amount: Decimal) -> None:
    transaction = transaction_of(simple_line(with_amount(literal)))

    assert transaction == TRANSACTION.model_copy(update={"amount": amount})
    assert Decimal(to_item(transaction.item())["amount"]["N"]) == amount


@given(st.integers(min_value=1, max_value=10**38 - 1), st.integers(min_value=0, max_value=38))
def test_any_amount_of_38_digits_is_exact(digits: int, places: int) -> None:
    amount = Decimal((0, tuple(map(int, str(digits))), -places))

    transaction = transaction_of(simple_line(with_amount(f"{amount:f}")))

    assert transaction.amount.as_tuple() == amount.as_tuple()
    assert Decimal(to_item(transaction.item())["amount"]["N"]) == amount


@pytest.mark.parametrize(
    ("literal", "reason"),
    [
        ("NaN", Reason.INVALID_AI_JSON),
        ("Infinity", Reason.INVALID_AI_JSON),
        ("-Infinity", Reason.INVALID_AI_JSON),
        ("1,280", Reason.INVALID_AI_JSON),
        ("0x10", Reason.INVALID_AI_JSON),
        ("01", Reason.INVALID_AI_JSON),
        ("¥1280", Reason.INVALID_AI_JSON),
        ("1e400", Reason.INVALID_TRANSACTION),
        ("1e-400", Reason.INVALID_TRANSACTION),
        ("1e999999", Reason.INVALID_TRANSACTION),
        ("9" * 39, Reason.INVALID_TRANSACTION),
        ("9" * 5_000, Reason.INVALID_TRANSACTION),
        ("0." + "9" * 39, Reason.INVALID_TRANSACTION),
        ("0", Reason.INVALID_TRANSACTION),
        ("-0.0", Reason.INVALID_TRANSACTION),
        ("-1280", Reason.INVALID_TRANSACTION),
        ("true", Reason.INVALID_TRANSACTION),
        ("null", Reason.INVALID_TRANSACTION),
        ('"1280"', Reason.INVALID_TRANSACTION),
        ("[1280]", Reason.INVALID_TRANSACTION),
        ("{}", Reason.INVALID_TRANSACTION),
    ],
)
def test_invalid_amount_is_rejected(literal: str, reason: Reason) -> None:
    assert reason_of(simple_line(with_amount(literal))) is reason


@pytest.mark.parametrize("literal", ["1e9999999999999999999", "1e-9999999999999999999", "-1e9999999999999999999"])
def test_amount_with_a_huge_exponent_is_rejected(literal: str) -> None:
    assert reason_of(simple_line(with_amount(literal))) in {Reason.INVALID_AI_JSON, Reason.INVALID_TRANSACTION}


@pytest.mark.parametrize(
    "literal", ["1280." + "0" * 50, "0.1" + "0" * 40, "1." + "2" * 37 + "0", "1280" + "0" * 35, "1280.0e-45"]
)
def test_amount_with_many_zeros_is_storable_or_rejected(literal: str) -> None:
    """boto3 raises decimal.Rounded for a number of more than 38 digits, trailing zeros included."""
    result = read(simple_line(with_amount(literal)))

    if isinstance(result, ParsedRecord):
        assert Decimal(to_item(result.transaction.item())["amount"]["N"]) == Decimal(literal)
    else:
        assert result.reason is Reason.INVALID_TRANSACTION


# Dates


@pytest.mark.parametrize(
    ("date", "detail"),
    [
        ("0008-01-09", "date: must be at least 2000-01-01"),
        ("1999-12-31", "date: must be at least 2000-01-01"),
        ("2026-11-24", "date: must be at most 2026-11-23, one day after the output file was written"),
        ("9999-12-31", "date: must be at most 2026-11-23, one day after the output file was written"),
    ],
)
def test_date_outside_its_bounds_is_rejected(date: str, detail: str) -> None:
    letter = letter_of(simple_line(receipt_text(date=date)))

    assert (letter.reason, letter.detail) == (Reason.INVALID_TRANSACTION, detail)


@pytest.mark.parametrize("date", ["2000-01-01", "2026-11-23"])
def test_date_at_a_bound_is_accepted(date: str) -> None:
    assert transaction_of(simple_line(receipt_text(date=date))).date == date


@pytest.mark.parametrize(
    ("written", "latest", "next_day"),
    [
        ("2026-11-23T08:59:59+09:00", "2026-11-23", "2026-11-24"),
        ("2026-11-22T19:00:00-05:00", "2026-11-24", "2026-11-25"),
        ("2026-12-31T00:00:00+00:00", "2027-01-01", "2027-01-02"),
    ],
)
def test_latest_date_is_counted_in_utc(written: str, latest: str, next_day: str) -> None:
    parser = RecordParser(JOB, datetime.fromisoformat(written), ttl_days=730)

    read_latest, read_next = (parser.parse(Line(1, simple_line(receipt_text(date=one)))) for one in (latest, next_day))

    assert isinstance(read_latest, ParsedRecord)
    assert isinstance(read_next, DeadLetter)
    assert read_next.detail == f"date: must be at most {latest}, one day after the output file was written"


def test_sample_of_implausible_dates_has_one_transaction() -> None:
    lines = (REPLIES / "implausible-dates.jsonl.out").read_bytes().splitlines()

    results = [PARSER.parse(Line(number, line)) for number, line in enumerate(lines, 1)]

    assert [one.transaction.imageId for one in results if isinstance(one, ParsedRecord)] == ["date-ok"]
    letters = {one.imageId: (one.reason, one.detail) for one in results if isinstance(one, DeadLetter)}
    assert letters == {
        f"date-{name}": (Reason.INVALID_TRANSACTION, f"date: must be {rule}")
        for name, rule in {
            "0008-01-09": "at least 2000-01-01",
            "0026-01-09": "at least 2000-01-01",
            "1926-01-09": "at least 2000-01-01",
            "2126-01-09": "at most 2026-11-23, one day after the output file was written",
            "9999-12-31": "at most 2026-11-23, one day after the output file was written",
            "slash": "a date written YYYY-MM-DD",
            "reiwa": "a date written YYYY-MM-DD",
            "r8": "a date written YYYY-MM-DD",
            "kanji": "a date written YYYY-MM-DD",
            "fullwidth": "a date written YYYY-MM-DD",
            "null": "text, not null",
        }.items()
    }


# Replies that are not transactions


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"date": "2026-02-30"}, "date: must be a day of the calendar"),
        ({"date": "20260101"}, "date: must be a date written YYYY-MM-DD"),
        ({"merchant": ""}, "merchant: must have 1 or more characters"),
        ({"merchant": " \u3000"}, "merchant: must have 1 or more characters"),
        ({"merchant": 7}, "merchant: must be text, not a number"),
        (
            {"category": "food"},
            "category: must be 'sale', 'purchase', 'shipping', 'packaging', 'fee' or 'other'",
        ),
        ({"type": "refund"}, "type: must be 'income' or 'expense'"),
        ({"description": "x" * 10_001}, "description: must have 10000 or fewer characters"),
        ({"description": None}, "description: must be text, not null"),
        ({"amount": True}, "amount: must be a number, not a boolean"),
        (
            {"amount": 0, "type": None},
            "amount: must be greater than 0; type: must be 'income' or 'expense'",
        ),
    ],
)
def test_invalid_receipt_is_rejected_with_its_field(changes: dict[str, object], detail: str) -> None:
    text = receipt_text(**changes)

    assert read(simple_line(text), number=3) == DeadLetter(
        line=3,
        imageId="image-1",
        reason=Reason.INVALID_TRANSACTION,
        detail=detail,
        record=serialize_json({"customData": "image-1", "output": {"text": text}}),
    )


@pytest.mark.parametrize("name", ["merchant", "description", "date", "type", "category"])
def test_lone_surrogate_in_the_reply_is_rejected(name: str) -> None:
    letter = letter_of(simple_line(receipt_text(**{name: "x\ud800"})))

    assert (letter.reason, letter.detail.split(":")[0]) == (Reason.INVALID_TRANSACTION, name)


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("", "the reply is empty"),
        (" \n", "the reply is empty"),
        ("I cannot read this receipt.", "the reply holds no JSON object, and must hold one"),
        ("[]", "the reply holds no JSON object, and must hold one"),
        ("1280", "the reply holds no JSON object, and must hold one"),
        ('{"amount": 1', "the model's reply is not valid JSON (line 1, column 13: expected ',' delimiter)"),
        ("{} {}", "the reply holds 2 JSON objects, and must hold one"),
        (
            f"Receipts:\n[{receipt_text()},\n{receipt_text()}]",
            "the reply holds 2 JSON objects, and must hold one",
        ),
        (
            f'{receipt_text()} {{"amount": 1,500}}',
            f"the model's reply is not valid JSON (line 1, column {len(receipt_text()) + 15}: "  # noqa: ISC004
            "expected property name enclosed in double quotes)",
        ),
        ("<think>" + receipt_text(), "the reply holds no JSON object, and must hold one"),
        ('{"a":' * 3_000, "the model's reply is not valid JSON (its arrays or objects are nested too deeply)"),
        ('{"amount": NaN}', "the model's reply is not valid JSON (NaN and Infinity are not JSON numbers)"),
    ],
)
def test_reply_that_is_not_json_is_rejected(text: str, detail: str) -> None:
    assert read(simple_line(text)) == DeadLetter(
        line=1,
        imageId="image-1",
        reason=Reason.INVALID_AI_JSON,
        detail=detail,
        record=serialize_json({"customData": "image-1", "output": {"text": text}}),
    )


@pytest.mark.parametrize(
    ("added", "repeated"),
    [
        ('"amount": 1280', "amount"),
        ('"date": "2026-11-20", "amount": 987654', "amount, date"),
        (r'"amo\u0075nt": 987654', "amount"),
        ('"Kissa Hoshi": 1, "Kissa Hoshi": 2', "a key that a receipt does not have"),
        ('"items": [{"amount": 1, "amount": 2}]', "amount"),
    ],
)
@pytest.mark.parametrize("layout", [simple_line, nova_line])
def test_repeated_key_in_the_reply_is_rejected(layout: Callable[[str], bytes], added: str, repeated: str) -> None:
    letter = letter_of(layout(f"{receipt_text()[:-1]}, {added}}}"))

    assert (letter.reason, letter.detail) == (
        Reason.INVALID_AI_JSON,
        f"an object in the model's reply must have each key once, but repeats {repeated}",
    )


def test_key_may_occur_in_several_objects() -> None:
    text = receipt_text(items=[{"amount": 1}, {"amount": 2, "tax": {"amount": 3}}])

    assert transaction_of(simple_line(text)) == TRANSACTION


@pytest.mark.parametrize(
    "text",
    [
        receipt_text()[:-1] + ', "Kissa Hoshi": 987654, "Kissa Hoshi": 987654}',
        receipt_text(merchant="", description="Kissa Hoshi", amount=987_654),
        receipt_text(merchant=["Kissa Hoshi"], amount="987654"),
        receipt_text(date="Kissa Hoshi", type="987654", category="Kissa Hoshi"),
        "Kissa Hoshi 987654",
        '{"Kissa Hoshi": 987654',
    ],
)
@pytest.mark.parametrize("layout", [simple_line, nova_line])
def test_dead_letter_detail_does_not_quote_the_receipt(layout: Callable[[str], bytes], text: str) -> None:
    detail = letter_of(layout(text)).detail

    assert [word for word in ("Kissa", "987654") if word in detail] == []


def test_truncated_reply_has_its_own_reason() -> None:
    output = nova_output(receipt_text()[:20], stopReason="max_tokens")

    assert read(bedrock_line(modelOutput=output), number=2) == DeadLetter(
        line=2,
        imageId="image-1",
        reason=Reason.TRUNCATED_OUTPUT,
        detail="the model stopped with 'max_tokens', so its reply is incomplete. Raise the request's token limit.",
        record=serialize_json({"recordId": "image-1", "modelOutput": output}),
    )


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        ({"errorCode": 400, "errorMessage": "bad"}, "the model failed with code 400: bad"),
        ({"errorCode": "Throttled", "errorMessage": "slow"}, "the model failed with code Throttled: slow"),
        ({}, "the model failed with code None: None"),
        ("the image is too large", "the model failed: the image is too large"),
        ("", "the model failed: "),
        (["x"], "the model failed: ['x']"),
        (500, "the model failed: 500"),
    ],
)
def test_model_error_has_its_code_and_message(error: JsonValue, detail: str) -> None:
    assert read(bedrock_line(error=error), number=4) == DeadLetter(
        line=4,
        imageId="image-1",
        reason=Reason.MODEL_ERROR,
        detail=detail,
        record=serialize_json({"recordId": "image-1", "error": error}),
    )


def test_error_beside_an_output_is_a_model_error() -> None:
    assert reason_of(bedrock_line(modelOutput=nova_output(receipt_text()), error="failed")) is Reason.MODEL_ERROR


# Text around the receipt


@pytest.mark.parametrize("text", ["{}", "```json\n{}\n```", "Read:\n{}"])
def test_braces_and_fences_inside_a_field_are_text(text: str) -> None:
    quoting = 'read:\n```json\n{"amount": 1}\n``` <think> </think>'

    reply = text.replace("{}", receipt_text(description=quoting))

    assert transaction_of(simple_line(reply)) == TRANSACTION.model_copy(update={"description": quoting})


def test_object_in_reasoning_is_not_the_receipt() -> None:
    draft = receipt_text(amount=1)

    for reply in (f"<thinking>{draft}</thinking>{receipt_text()}", f"{draft}</think>{receipt_text()}"):
        assert transaction_of(simple_line(reply)) == TRANSACTION


PROSE = st.text(st.characters(exclude_characters="{}<>", exclude_categories=["Cs"]), max_size=40)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(before=PROSE, after=PROSE)
def test_receipt_in_any_prose_without_braces_is_found(before: str, after: str) -> None:
    assert transaction_of(simple_line(before + receipt_text() + after)) == TRANSACTION


@settings(max_examples=300, derandomize=True, deadline=None)
@given(before=PROSE, between=PROSE, after=PROSE)
def test_two_receipts_are_never_accepted(before: str, between: str, after: str) -> None:
    reply = f"{before}{receipt_text()}{between}{receipt_text(amount=2)}{after}"

    assert letter_of(simple_line(reply)).detail == "the reply holds 2 JSON objects, and must hold one"


@pytest.mark.parametrize(
    "second",
    [
        '{"amount": ¥900, "type": "expense"}',
        '{"amount": +900}',
        '{"amount": "900}',
        "{'amount': 900}",
        "{“amount”: 900}",
        '{ // the second\n"amount": 900}',
        "{amount: 900}",
        '{,"amount": 900}',
        '{"amount"：900}',
        '{\\"amount\\": 900}',
        "｛'amount': 900｝",
        '{"type": "expense", \'amount\': ¥900}',
        '{"amount": １５００}',
        '{"amount": 900,}',
        "{}",
    ],
)
def test_receipt_beside_a_malformed_one_is_refused(second: str) -> None:
    for reply in (f"{receipt_text()}\n{second}", f"{second}\n{receipt_text()}"):
        assert reason_of(simple_line(reply)) is Reason.INVALID_AI_JSON


@pytest.mark.parametrize(
    "template",
    [
        '{"amount": number, "date": YYYY-MM-DD}',
        '{"amount": <number>}',
        '{"amount": ...}',
        '{"amount": …}',
        '{"amount": 合計金額}',
        "{amount, date}",
        "{",
    ],
)
def test_template_beside_the_receipt_is_prose(template: str) -> None:
    assert transaction_of(simple_line(f"As {template}:\n{receipt_text()}")) == TRANSACTION


@pytest.mark.parametrize(
    "piece",
    [
        "{",
        '{"',
        '{"a": ',
        '{"a": {',
        '{"\\"',
        "{ ",
        "<think>",
        "<THINK>",
        "{'",
        "{amount",
        "</think>",
        '<think>{"a": ',
        '"',
        "[",
        '{"a": 1} ',
        "`" * 3,
    ],
)
def test_search_is_linear_in_the_length(piece: str) -> None:
    """A search that repeats parts of the text takes minutes of CPU time."""
    text = piece * (300_000 // len(piece))
    started = time.process_time()

    reason_of(simple_line(text))

    assert time.process_time() - started < 2


# Lines that are not records


LAYOUTS = (
    "the record must have recordId with modelOutput or error (Bedrock layout), or customData with output (simple "
    "layout)"
)


def does_not_fit(problem: str, *keys: str) -> str:
    """Return the detail of a record with these keys and this problem."""
    return f"{problem}. The record has the keys {list(keys)}."


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{", "column 1: the text ends inside an object"),
        (b"not json", "the line is not valid JSON (column 2: expected true, false or null)"),
        (b'{"customData": "\xff\xfe", "output": {"text": ""}}', "text is not valid UTF-8"),
        (b'{"recordId": "\xed\xa0\x80", "error": "x"}', "text is not valid UTF-8"),
        (rb'{"recordId": "\ud800", "error": "x"}', "a Unicode escape is incomplete"),
        (b"[" * 10_000, "nested too deeply"),
        (b'{"recordId": "a", "modelInput": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "nested too deeply"),
        (b'{"recordId": "a", "modelInput": ' + b"9" * 5_000 + b"}", "number out of range"),
        (simple_line("{}") + simple_line("{}"), "expected the end of the text"),
    ],
)
def test_line_that_is_not_json_is_rejected(content: bytes, problem: str) -> None:
    letter = letter_of(content)

    assert letter == DeadLetter(
        line=1,
        imageId=None,
        reason=Reason.INVALID_JSON,
        detail=letter.detail,
        record=serialize_json(content.decode("utf-8", "replace")),
    )
    assert problem in letter.detail


@pytest.mark.parametrize(
    ("record", "detail"),
    [
        ([1], "the record must be an object, not an array"),
        (7, "the record must be an object, not a number"),
        ("text", "the record must be an object, not text"),
        ({}, does_not_fit(LAYOUTS)),
        ({"b": 1, "a": 2}, does_not_fit(LAYOUTS, "a", "b")),
        ({"output": {"text": "{}"}}, does_not_fit(LAYOUTS, "output")),
        ({"modelOutput": {}}, does_not_fit(LAYOUTS, "modelOutput")),
        ({"customData": "image-1"}, does_not_fit("output: is missing", "customData")),
        (
            {"customData": "image-1", "output": {"text": None}},
            does_not_fit("output.text: must be text, not null", "customData", "output"),
        ),
        (
            {"customData": "", "output": {"text": "{}"}},
            does_not_fit("customData: must have 1 or more characters", "customData", "output"),
        ),
        (
            {"customData": "x" * 3_072, "output": {"text": "{}"}},
            does_not_fit("customData: must have 1024 or fewer bytes, not 3072", "customData", "output"),
        ),
        (
            {"recordId": "", "error": "x"},
            does_not_fit("recordId: must have 1 or more characters", "error", "recordId"),
        ),
        (
            {"recordId": "é" * 1_536, "error": "x"},
            does_not_fit("recordId: must have 1024 or fewer bytes, not 3072", "error", "recordId"),
        ),
        ({"recordId": 7, "error": "x"}, does_not_fit("recordId: must be text, not a number", "error", "recordId")),
    ],
)
def test_json_in_neither_layout_is_rejected(record: JsonValue, detail: str) -> None:
    named = "image-1" if "image-1" in json.dumps(record) else None
    assert read(json.dumps(record).encode(), number=5) == DeadLetter(
        line=5, imageId=named, reason=Reason.INVALID_RECORD, detail=detail, record=serialize_json(record)
    )


def test_record_without_output_or_error_is_rejected() -> None:
    assert read(bedrock_line()) == DeadLetter(
        line=1,
        imageId="image-1",
        reason=Reason.INVALID_RECORD,
        detail="the record must have modelOutput or error",
        record=serialize_json({"recordId": "image-1"}),
    )


def test_unknown_model_output_is_rejected() -> None:
    assert read(bedrock_line(modelOutput={"answer": "Kissa Hoshi"})) == DeadLetter(
        line=1,
        imageId="image-1",
        reason=Reason.INVALID_RECORD,
        detail=f"modelOutput: must be a reply with {FORMS}, but has the keys ['answer']",
        record=serialize_json({"recordId": "image-1", "modelOutput": {"answer": "Kissa Hoshi"}}),
    )


def test_dead_letter_has_the_beginning_of_long_line() -> None:
    assert PARSER.parse(Line(9, b"x" * 40_000, too_long=True)) == DeadLetter(
        line=9,
        imageId=None,
        reason=Reason.LINE_TOO_LONG,
        detail="the line must have 40000 or fewer bytes",
        record=b'"' + b"x" * (MAX_RECORD_BYTES - 2) + b'"',
    )


def test_too_long_line_is_rejected_despite_valid_beginning() -> None:
    letter = PARSER.parse(Line(9, simple_line(receipt_text()), too_long=True))

    assert isinstance(letter, DeadLetter)
    assert (letter.reason, letter.record) == (
        Reason.LINE_TOO_LONG,
        serialize_json(simple_line(receipt_text()).decode()),
    )


# The record in a dead letter


def compact(value: object) -> str:
    """Return the value as JSON without blanks. Its length is the size of a record."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def test_record_above_32_kb_is_cut() -> None:
    def record(size: int) -> dict[str, JsonValue]:
        empty = len(compact({"recordId": "image-1", "error": ""}))
        return {"recordId": "image-1", "error": "x" * (size - empty)}

    at_the_bound, above = record(MAX_RECORD_BYTES), record(MAX_RECORD_BYTES + 1)

    assert letter_of(json.dumps(at_the_bound).encode()).record == compact(at_the_bound).encode()
    beginning = letter_of(json.dumps(above).encode()).record
    assert json.loads(beginning) == compact(above)[: len(json.loads(beginning))]
    assert len(beginning) == MAX_RECORD_BYTES


def test_record_size_is_measured_in_utf8() -> None:
    record: dict[str, JsonValue] = {"recordId": "image-1", "error": "画" * 10_000}

    assert letter_of(json.dumps(record).encode()).record == compact(record).encode()


def test_model_input_does_not_count_as_record_size() -> None:
    line = json.dumps({"recordId": "image-1", "modelInput": "x" * 1_000_000, "error": "failed"}).encode()

    assert letter_of(line).record == b'{"recordId":"image-1","error":"failed"}'


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\xff" * 100_000, id="not UTF-8"),
        pytest.param(b"x" + "画".encode() * 50_000, id="cut inside a character"),
        pytest.param(simple_line("画" * 50_000), id="escaped"),
        pytest.param(json.dumps({"recordId": "a", "error": "画" * 50_000}).encode(), id="a record"),
    ],
)
def test_cut_record_is_at_most_32_kb(content: bytes) -> None:
    record = letter_of(content).record

    assert isinstance(json.loads(record), str)
    assert len(record) <= MAX_RECORD_BYTES


def test_cut_record_does_not_name_its_image() -> None:
    line = {"customData": "image-1", "x": "x" * MAX_RECORD_BYTES}

    assert letter_of(json.dumps(line).encode()).imageId is None


@pytest.mark.parametrize("number", ["1e400", "-1e400", "NaN", "Infinity"])
def test_model_input_is_removed_despite_unwritable_numbers(number: str) -> None:
    line = '{"recordId": "image-1", "modelInput": {"bytes": "aGVsbG8="}, "error": {"errorCode": ' + number + "}}"

    assert b"aGVsbG8=" not in letter_of(line.encode()).record


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(bedrock_line(error={"errorMessage": "x" * 1_000_000}), id="a message of the model"),
        pytest.param(bedrock_line(error="x" * 1_000_000), id="a bare message of the model"),
        pytest.param(bedrock_line(modelOutput={"x" * 1_000_000: 1}), id="a key of the output"),
        pytest.param(json.dumps({"x" * 1_000_000: 1}).encode(), id="a key of the record"),
        pytest.param(json.dumps(dict.fromkeys(map(str, range(100_000)))).encode(), id="keys of the record"),
    ],
)
def test_dead_letter_detail_has_a_maximum_size(line: bytes) -> None:
    """A dead-letter file may have 50,000 entries, so `detail` has a maximum size like `record`."""
    letter = letter_of(line)

    assert len(letter.detail) <= MAX_DETAIL_CHARACTERS


# Numbers in a valid record that cannot be written as JSON


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1e-400", "9" * 4_000])
def test_huge_number_beside_the_reply_is_ignored(number: str) -> None:
    line = bedrock_line(modelOutput=nova_output(receipt_text(), usage="USAGE")).replace(b'"USAGE"', number.encode())

    assert transaction_of(line) == TRANSACTION


# Rejection of a valid record


def test_rejected_record_keeps_line_image_and_record() -> None:
    good = read(bedrock_line(modelOutput=nova_output(receipt_text())), number=6)
    assert isinstance(good, ParsedRecord)

    assert good.reject(Reason.DUPLICATE_IMAGE, "an earlier line has the same image") == DeadLetter(
        line=6,
        imageId="image-1",
        reason=Reason.DUPLICATE_IMAGE,
        detail="an earlier line has the same image",
        record=serialize_json({"recordId": "image-1", "modelOutput": nova_output(receipt_text())}),
    )


@pytest.mark.parametrize(("number", "kept"), [("1e400", b'"Infinity"'), ("-1e400", b'"-Infinity"'), ("NaN", b'"NaN"')])
def test_number_outside_json_is_kept_as_text(number: str, kept: bytes) -> None:
    line = bedrock_line(modelOutput=nova_output(receipt_text(), usage="USAGE")).replace(b'"USAGE"', number.encode())

    good = read(line)

    assert isinstance(good, ParsedRecord)
    assert b'"usage":' + kept + b"}" in good.record


def test_record_of_a_valid_line_is_cut() -> None:
    good = read(bedrock_line(modelOutput=nova_output(receipt_text(), trace="x" * 40_000)))
    assert isinstance(good, ParsedRecord)

    record = {"recordId": "image-1", "modelOutput": nova_output(receipt_text(), trace="x" * 40_000)}
    assert json.loads(good.record) == compact(record)[: len(json.loads(good.record))]
    assert len(good.record) == MAX_RECORD_BYTES


def test_receipt_is_parsed_from_a_reply_alone() -> None:
    assert parse_receipt(receipt_text(), "2026-11-20").model_dump() == {**RECEIPT, "amount": Decimal(1280)}


@pytest.mark.parametrize("more", [{}, {"error": "ThrottlingException"}, {"modelOutput": {"content": []}}])
def test_record_with_both_layouts_is_bedrocks(more: dict[str, object]) -> None:
    line = {"customData": "image-2", "output": {"text": "{}"}, "recordId": "image-1", **more}

    assert parse_record(Line(1, json.dumps(line).encode())) == BedrockRecord.model_validate(line)
