"""Tests of the orchestrator behind API Gateway, and of its logs."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from yorutsuke_common.errors import BedrockRefusedError, IntentConflictError

from .conftest import LogReader
from .orchestrator_stage import IMAGE_IDS, Orchestrator, request

HEADERS = {"Content-Type": "application/json"}


def api_event(event: dict[str, Any]) -> dict[str, Any]:
    """Return an API Gateway event that contains a request."""
    return {"version": "2.0", "routeKey": "POST /batches", "body": json.dumps(event), "isBase64Encoded": False}


def log_fields(read_logs: LogReader, *keys: str) -> list[tuple[Any, ...]]:
    """Return the level, the event and these keys of each log entry."""
    return [tuple(entry.get(key) for key in ("level", "event", *keys)) for entry in read_logs()]


def test_request_and_repetition_return_200(orchestrator: Orchestrator) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)

    first = orchestrator.invoke(api_event(request()))

    assert (first["statusCode"], first["headers"], set(first)) == (200, HEADERS, {"statusCode", "headers", "body"})
    assert json.loads(first["body"])["jobId"] == "job000000000"
    assert orchestrator.invoke(api_event(request())) == first


def test_invalid_request_returns_400(orchestrator: Orchestrator, read_logs: LogReader) -> None:
    message = "pendingImageIds names 1 images. A batch job needs at least 3. Send the request when the user has more."

    response = orchestrator.invoke(api_event(request(["img-1"])))

    assert response == {
        "statusCode": 400,
        "headers": HEADERS,
        "body": json.dumps({"error": "InvalidRequestError", "message": message}),
    }
    assert log_fields(read_logs, "error", "detail", "intentId", "userId", "traceId") == [
        ("WARNING", "BATCH_SUBMIT_REFUSED", "InvalidRequestError", message, "intent-1", "user-1", "request-1")
    ]


@pytest.mark.parametrize(
    "changes", [{"userId": "user-2"}, {"modelId": "apac.amazon.nova-pro-v1:0"}, {"pendingImageIds": [*IMAGE_IDS, "x"]}]
)
def test_conflicting_request_returns_409(orchestrator: Orchestrator, changes: dict[str, Any]) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)
    orchestrator.invoke(request())
    item = orchestrator.item()

    response = orchestrator.invoke(api_event(request(**changes)))

    assert (response["statusCode"], response["headers"]) == (409, HEADERS)
    assert json.loads(response["body"]) == {
        "error": "IntentConflictError",
        "message": f"intent 'intent-1' began at {item['submitTime']} with another {next(iter(changes))}. "
        "All requests of an intent are the same. Send this request with a new intentId.",
    }
    assert orchestrator.item() == item
    assert len(orchestrator.bedrock.jobs) == 1
    with pytest.raises(IntentConflictError):
        orchestrator.invoke(request(**changes))


def test_retryable_error_is_raised_to_api_gateway(orchestrator: Orchestrator, read_logs: LogReader) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)
    orchestrator.bedrock.errors += [(400, "ServiceQuotaExceededException")]

    with pytest.raises(ClientError):
        orchestrator.invoke(api_event(request()))

    assert log_fields(read_logs, "error", "detail", "intentId")[-1] == (
        "CRITICAL",
        "BATCH_SUBMIT_FAILED",
        "ServiceQuotaExceededException",
        "CreateModelInvocationJob: ServiceQuotaExceededException",
        "intent-1",
    )
    assert (orchestrator.item()["status"], orchestrator.item().get("jobId")) == ("SUBMITTING", None)
    assert orchestrator.invoke(api_event(request()))["statusCode"] == 200


def test_next_request_resumes_after_bedrock_refusal(orchestrator: Orchestrator) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)
    orchestrator.bedrock.errors += [(403, "AccessDeniedException")]

    with pytest.raises(BedrockRefusedError, match=r"with AccessDeniedException: injected"):
        orchestrator.invoke(request())

    begun = orchestrator.item()
    response = orchestrator.invoke(request())
    assert response["submitTime"] == begun["submitTime"]
    assert orchestrator.job().job_id == response["jobId"]


def test_log_entries_name_submission(orchestrator: Orchestrator, read_logs: LogReader) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)
    orchestrator.invoke(request([*IMAGE_IDS, "img-4"]))

    orchestrator.invoke(request([*IMAGE_IDS, "img-4"]))

    job = "job000000000"
    assert log_fields(read_logs, "intentId", "userId", "traceId", "jobId") == [
        ("INFO", "BATCH_SUBMIT_STARTED", "intent-1", "user-1", "request-1", None),
        ("WARNING", "BATCH_SUBMIT_IMAGE_LEFT_OUT", "intent-1", "user-1", "request-1", None),
        ("INFO", "BATCH_SUBMITTED", "intent-1", "user-1", "request-1", job),
        ("INFO", "BATCH_SUBMIT_DUPLICATE", "intent-1", "user-1", "request-1", job),
    ]


def test_refused_request_does_not_inherit_submission(orchestrator: Orchestrator, read_logs: LogReader) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)
    orchestrator.invoke(request())
    orchestrator.invoke(api_event({}))

    refused = read_logs()[-1]

    assert (refused["event"], refused["traceId"]) == ("BATCH_SUBMIT_REFUSED", "request-1")
    assert not {"jobId", "intentId", "userId"} & set(refused)


def test_logs_exclude_images_and_invalid_input(orchestrator: Orchestrator, read_logs: LogReader) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)
    orchestrator.invoke(request())
    orchestrator.invoke(api_event({"intentId": "secret intent", "pendingImageIds": ["s" * 2_000], "userId": ""}))
    orchestrator.bedrock.errors += [(400, "ValidationException")]
    orchestrator.put_unsubmitted_images(IMAGE_IDS)
    with pytest.raises(BedrockRefusedError):
        orchestrator.invoke(request(intentId="intent-2"))

    text = json.dumps(read_logs())

    assert [word for word in ("aW1nLTE", "secret intent", "ssss", "JSONオブジェクト") if word in text] == []
