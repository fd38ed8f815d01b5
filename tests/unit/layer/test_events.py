"""The job events in an invocation, for each envelope."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from yorutsuke_common.errors import InvalidEventError
from yorutsuke_common.events import (
    JobEnd,
    Origin,
    OutputManifestObject,
    OutputObject,
    job_events,
    job_events_in_message,
    origin_of,
)
from yorutsuke_common.names import BedrockEnd

EVENTS = Path(__file__).parents[2] / "events"
BUCKET = "yorutsuke-images-dev-123456789012"
ORIGIN = Origin("123456789012", "ap-northeast-1", BUCKET)
IMAGES = replace(ORIGIN, bucket="images")
OUTPUT = OutputObject(BUCKET, "batch-output/abcdefgh1234/night 1+2.jsonl.out", etag="d41d8cd98f00b204e9800998ecf8427e")


def event(name: str) -> dict[str, Any]:
    """Return a sample event of AWS."""
    return json.loads((EVENTS / f"{name}.json").read_text())


def notification(key: object, bucket: object = "images", **more: object) -> dict[str, Any]:
    """Return an S3 event notification of one object."""
    return {"Records": [{"s3": {"bucket": {"name": bucket}, "object": {"key": key, **more}}}]}


def message_of(read: Callable[[], object]) -> str:
    """Return the error message of a refused event."""
    with pytest.raises(InvalidEventError) as raised:
        read()
    return str(raised.value)


def test_s3_event_names_its_object() -> None:
    assert job_events(event("s3_event"), ORIGIN) == [OUTPUT]


@pytest.mark.parametrize("name", ["sqs_s3_event", "sqs_sns_s3_event", "sqs_lambda_failure_event"])
def test_sqs_message_names_its_object_in_any_envelope(name: str) -> None:
    assert job_events_in_message(event(name)["Records"][0]["body"], ORIGIN) == [OUTPUT]


def test_s3_test_event_has_zero_job_events() -> None:
    assert job_events(event("s3_test_event"), ORIGIN) == []


@pytest.mark.parametrize("in_sns", [False, True])
def test_s3_test_event_is_accepted_in_any_envelope(*, in_sns: bool) -> None:
    body = json.dumps(event("s3_test_event"))
    if in_sns:
        body = json.dumps({"Type": "Notification", "Message": body})

    assert job_events_in_message(body, ORIGIN) == []


def test_notification_names_an_object_for_each_record() -> None:
    records = [notification(f"batch-output/job{number}/output.jsonl")["Records"][0] for number in range(3)]

    assert job_events({"Records": records}, IMAGES) == [
        OutputObject("images", "batch-output/job0/output.jsonl"),
        OutputObject("images", "batch-output/job1/output.jsonl"),
        OutputObject("images", "batch-output/job2/output.jsonl"),
    ]


@pytest.mark.parametrize(
    ("encoded", "key"),
    [
        ("batch-output/job/output.jsonl", "batch-output/job/output.jsonl"),
        ("batch-output/job/input.jsonl.out", "batch-output/job/input.jsonl.out"),
        ("batch-output/job/a+b.jsonl", "batch-output/job/a b.jsonl"),
        ("batch-output/job/a%2Bb.jsonl", "batch-output/job/a+b.jsonl"),
        ("batch-output/job/%E5%96%AB%E8%8C%B6.jsonl", "batch-output/job/喫茶.jsonl"),
        ("batch-output/job/100%2525.jsonl", "batch-output/job/100%25.jsonl"),
        ("batch-output%2Fjob%2Foutput.jsonl", "batch-output/job/output.jsonl"),
    ],
)
def test_key_is_form_decoded_once(encoded: str, key: str) -> None:
    assert job_events(notification(encoded), IMAGES) == [OutputObject("images", key)]


@pytest.mark.parametrize(
    ("etag", "plain"), [("abc", "abc"), ('"abc"', "abc"), ("abc-2", "abc-2"), ("", None), (None, None)]
)
def test_etag_is_read_without_quotes(etag: str | None, plain: str | None) -> None:
    key = "batch-output/job/output.jsonl"

    assert job_events(notification(key, eTag=etag), IMAGES) == [OutputObject("images", key, plain)]


def test_job_id_is_the_folder_of_the_output() -> None:
    assert OUTPUT.job_id == "abcdefgh1234"


@pytest.mark.parametrize(
    "key",
    [
        "",
        "output.jsonl",
        "batch-output",
        "batch-output/",
        "batch-output/output.jsonl",
        "batch-output//output.jsonl",
        "batch-output/job/",
        "batch-output/job/part/output.jsonl",
        "/batch-output/job/output.jsonl",
        "other/batch-output/job/output.jsonl",
        "batch-outputs/job/output.jsonl",
        "BATCH-OUTPUT/job/output.jsonl",
        "uploads/user/a.jsonl",
        "batch-output/job/output.json",
        "batch-output/job/output.jsonl.gz",
        "batch-output/job/other.json.out",
        "batch-output/job/manifest.json.out.gz",
        "batch-output/manifest.json.out",
        "batch-output/job/part/manifest.json.out",
        "batch-input/job/manifest.json.out",
        "batch-output/job/output.JSONL",
    ],
)
def test_key_of_another_object_is_refused(key: str) -> None:
    assert message_of(lambda: job_events(notification(key), IMAGES)) == (
        f"object key {key!r} is not that of a job's output. It must be batch-output/{{jobId}}/{{file}}, with a file "
        "that ends with .jsonl or .jsonl.out or is manifest.json.out. Put only batch output there."
    )


def test_output_manifest_is_recognized_and_sorted_last() -> None:
    keys = ["batch-output/job/manifest.json.out", "batch-output/job/manifest.jsonl.out"]
    records = [notification(key, eTag="abc")["Records"][0] for key in keys]

    assert job_events({"Records": records}, IMAGES) == [
        OutputObject("images", keys[1], "abc"),
        OutputManifestObject("images", keys[0], "abc"),
    ]


def state_change(**changes: object) -> dict[str, Any]:
    """Return Bedrock's event of a failed job with changes to its detail."""
    change = event("bedrock/job_state_change")
    return {**change, "detail": {**change["detail"], **changes}}


@pytest.mark.parametrize("status", list(BedrockEnd))
@pytest.mark.parametrize(("message", "read"), [("No permission.", "No permission."), ("", ""), (None, ""), (..., "")])
def test_state_change_of_an_incomplete_job_is_read(status: BedrockEnd, message: object, read: str) -> None:
    change = state_change(status=status.value, failureMessage=message)
    if message is ...:
        del change["detail"]["failureMessage"]
    ends = [JobEnd("abcdefgh1234", status, read)]

    assert job_events(change, ORIGIN) == ends
    assert job_events_in_message(json.dumps(change), ORIGIN) == ends


@pytest.mark.parametrize(
    ("account", "region", "arn_account", "arn_region"),
    [
        ("210987654321", "ap-northeast-1", "123456789012", "ap-northeast-1"),
        ("123456789012", "eu-west-1", "123456789012", "ap-northeast-1"),
        ("123456789012", "ap-northeast-1", "210987654321", "ap-northeast-1"),
        ("123456789012", "ap-northeast-1", "123456789012", "eu-west-1"),
        ("210987654321", "eu-west-1", "210987654321", "eu-west-1"),
    ],
)
def test_state_change_of_another_place_is_refused(account: str, region: str, arn_account: str, arn_region: str) -> None:
    arn = f"arn:aws:bedrock:{arn_region}:{arn_account}:model-invocation-job/abcdefgh1234"
    change = {**state_change(batchJobArn=arn), "account": account, "region": region}

    assert message_of(lambda: job_events(change, ORIGIN)) == (
        f"the Batch Inference Job State Change of job {arn!r}, sent in Region {region!r} of account {account!r}, is "
        "not of this stage's Region 'ap-northeast-1' and account '123456789012'. Correct the rule that sends the event."
    )


@pytest.mark.parametrize("field", ["account", "region"])
def test_state_change_without_its_place_is_refused(field: str) -> None:
    change = state_change()
    del change[field]

    assert f"is not valid: {field}: is missing" in message_of(lambda: job_events(change, ORIGIN))


@pytest.mark.parametrize("qualifier", ["", ":live", ":7"])
def test_place_is_read_from_the_function(qualifier: str) -> None:
    arn = f"arn:aws-cn:lambda:ap-northeast-1:123456789012:function:handler{qualifier}"

    assert origin_of(arn, BUCKET) == ORIGIN


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"status": "Completed"}, "detail.status: must be 'Failed', 'Expired', 'Stopped' or "),
        ({"status": "InProgress"}, "detail.status: must be 'Failed', 'Expired', 'Stopped' or "),
        ({"status": "FAILED"}, "detail.status: must be 'Failed', 'Expired', 'Stopped' or "),
        ({"status": None}, "detail.status: must be 'Failed', 'Expired', 'Stopped' or "),
        ({"batchJobArn": None}, "detail.batchJobArn: must be text, not null"),
        ({"batchJobArn": "abcdefgh1234"}, "detail.batchJobArn: must match ^arn:"),
        (
            {"batchJobArn": "arn:aws:bedrock:eu-west-1:123456789012:model-customization-job/abcdefgh1234"},
            "detail.batchJobArn: must match ^arn:",
        ),
        (
            {"batchJobArn": "arn:aws:bedrock:eu-west-1:123456789012:model-invocation-job/../abcdefgh12"},
            "detail.batchJobArn: must match ^arn:",
        ),
        ({"failureMessage": {"code": 1}}, "detail.failureMessage: must be text, not an object"),
    ],
)
def test_state_change_of_another_kind_is_refused(changes: dict[str, object], problem: str) -> None:
    refused = message_of(lambda: job_events(state_change(**changes), ORIGIN))

    assert refused.startswith(f"the Batch Inference Job State Change is not valid: {problem}")
    assert refused.endswith("Send Bedrock's own events, and only of jobs that Bedrock did not complete.")


@pytest.mark.parametrize("detail", [{}, None, [], "Failed"])
def test_state_change_without_its_detail_is_refused(detail: object) -> None:
    change = {**state_change(), "detail": detail}

    assert "is not valid: detail" in message_of(lambda: job_events(change, ORIGIN))


def test_object_in_another_bucket_is_refused() -> None:
    foreign = notification("batch-output/job/output.jsonl", bucket="theirs")

    assert message_of(lambda: job_events(foreign, IMAGES)) == (
        "bucket 'theirs' is not this stage's bucket 'images'. Correct the notification's source."
    )


def test_notification_with_one_wrong_record_is_refused() -> None:
    records = [
        *notification("batch-output/job/output.jsonl")["Records"],
        *notification("uploads/user/a.jpg")["Records"],
    ]

    assert "'uploads/user/a.jpg'" in message_of(lambda: job_events({"Records": records}, IMAGES))


@pytest.mark.parametrize(
    ("value", "keys"),
    [
        ({}, "[]"),
        ({"Records": []}, "['Records']"),
        ({"Records": None}, "['Records']"),
        ({"Records": "x"}, "['Records']"),
        ({"Records": {"s3": {}}}, "['Records']"),
        ({"source": "aws.s3", "detail": {}}, "['detail', 'source']"),
        ({"Event": "s3:OtherEvent"}, "['Event']"),
        ({"detail-type": "Model Customization Job State Change"}, "['detail-type']"),
    ],
)
def test_event_without_records_is_refused_with_its_keys(value: dict[str, Any], keys: str) -> None:
    assert message_of(lambda: job_events(value, IMAGES)) == (
        f"the event with the keys {keys} is not an S3 event notification with Records, and not a Batch Inference Job "
        "State Change. Send S3 ObjectCreated notifications (directly, through SQS, or through SNS and SQS), or "
        "Bedrock's job state changes (directly or through SQS)."
    )


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ({}, "s3: is missing"),
        ({"s3": {"bucket": {"name": "images"}}}, "s3.object: is missing"),
        ({"s3": {"object": {"key": "k"}}}, "s3.bucket: is missing"),
        ({"s3": {"bucket": {"name": 5}, "object": {}}}, "s3.bucket.name: must be text, not a number"),
        ({"s3": {"bucket": {}, "object": {"key": None}}}, "s3.object.key: must be text, not null"),
        (None, "it must be an object, not null"),
        ("x", "it must be an object, not text"),
    ],
)
def test_malformed_record_is_refused_with_its_wrong_field(record: object, problem: str) -> None:
    refused = message_of(lambda: job_events({"Records": [record]}, IMAGES))

    assert refused.startswith("a record of the S3 event notification is not valid: ")
    assert problem in refused


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "the body of the SQS message is not valid JSON. Send only events of S3 and EventBridge."),
        ("hello", "the body of the SQS message is not valid JSON. Send only events of S3 and EventBridge."),
        ("[" * 10_000, "the body of the SQS message is not valid JSON. Send only events of S3 and EventBridge."),
        ("1" * 5_000, "the body of the SQS message is not valid JSON. Send only events of S3 and EventBridge."),
        (
            "[]",
            "the body of the SQS message must be an object, not an array. Send only events of S3 and EventBridge.",
        ),
        ("7", "the body of the SQS message must be an object, not a number. Send only events of S3 and EventBridge."),
        ('{"Type": "Notification"}', "the SNS message is not valid JSON. Send only events of S3 and EventBridge."),
        (
            '{"Type": "Notification", "Message": {"Records": []}}',
            "the SNS message is not valid JSON. Send only events of S3 and EventBridge.",
        ),
        (
            '{"Type": "Notification", "Message": "hello"}',
            "the SNS message is not valid JSON. Send only events of S3 and EventBridge.",
        ),
        (
            '{"Type": "Notification", "Message": "7"}',
            "the SNS message must be an object, not a number. Send only events of S3 and EventBridge.",
        ),
        (
            '{"requestContext": {"condition": "RetriesExhausted"}, "requestPayload": 7}',
            (
                "the event in Lambda's failure record must be an object, not a number. "
                "Send only events of S3 and EventBridge."
            ),
        ),
    ],
)
def test_message_without_a_json_object_is_refused(body: str, message: str) -> None:
    assert message_of(lambda: job_events_in_message(body, IMAGES)) == message


def test_sns_message_of_another_type_is_refused() -> None:
    confirmation = json.dumps({"Type": "SubscriptionConfirmation", "Message": json.dumps(event("s3_event"))})

    assert "['Message', 'Type'] is not an S3 event notification" in message_of(
        lambda: job_events_in_message(confirmation, ORIGIN)
    )
