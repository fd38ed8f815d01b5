"""The orchestrator behind API Gateway, and what it logs."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from yorutsuke_common.errors import BedrockRefusedError, IntentConflictError

from .conftest import LogReader
from .orchestrator_stage import IMAGE_IDS, Orchestrator, request

HEADERS = {"Content-Type": "application/json"}


def http(event: dict[str, Any]) -> dict[str, Any]:
    """Return API Gateway's event with a request."""
    return {"version": "2.0", "routeKey": "POST /batches", "body": json.dumps(event), "isBase64Encoded": False}


def events(logged: LogReader, *keys: str) -> list[tuple[Any, ...]]:
    """Return level, event and these keys of each entry."""
    return [tuple(entry.get(key) for key in ("level", "event", *keys)) for entry in logged()]


def test_a_job_is_answered_200_and_again_when_asked_for_again(orchestrator: Orchestrator) -> None:
    orchestrator.stage.put_images(IMAGE_IDS)

    first = orchestrator.invoke(http(request()))

    assert (first["statusCode"], first["headers"], set(first)) == (200, HEADERS, {"statusCode", "headers", "body"})
    assert json.loads(first["body"])["jobId"] == "job000000000"
    assert orchestrator.invoke(http(request())) == first


def test_an_invalid_request_is_answered_400(orchestrator: Orchestrator, logged: LogReader) -> None:
    message = "pendingImageIds names 1 images. A batch job needs at least 3. Send the request when the user has more."

    answer = orchestrator.invoke(http(request(["img-1"])))

    assert answer == {
        "statusCode": 400,
        "headers": HEADERS,
        "body": json.dumps({"error": "InvalidRequestError", "message": message}),
    }
    assert events(logged, "error", "detail", "intentId", "userId", "traceId") == [
        ("WARNING", "BATCH_SUBMIT_REFUSED", "InvalidRequestError", message, "intent-1", "user-1", "request-1")
    ]


@pytest.mark.parametrize(
    "changes", [{"userId": "user-2"}, {"modelId": "apac.amazon.nova-pro-v1:0"}, {"pendingImageIds": [*IMAGE_IDS, "x"]}]
)
def test_another_request_under_the_same_intent_is_answered_409_and_changes_nothing(
    orchestrator: Orchestrator, changes: dict[str, Any]
) -> None:
    orchestrator.stage.put_images(IMAGE_IDS)
    orchestrator.invoke(request())
    record = orchestrator.record()

    answer = orchestrator.invoke(http(request(**changes)))

    assert (answer["statusCode"], answer["headers"]) == (409, HEADERS)
    assert json.loads(answer["body"]) == {
        "error": "IntentConflictError",
        "message": f"intent 'intent-1' began at {record['submitTime']} with another {next(iter(changes))}. An intent "
        "has one request. Send this request with a new intentId.",
    }
    assert orchestrator.record() == record
    assert len(orchestrator.bedrock.jobs) == 1
    with pytest.raises(IntentConflictError):
        orchestrator.invoke(request(**changes))


def test_what_may_be_tried_again_is_raised_also_to_api_gateway(orchestrator: Orchestrator, logged: LogReader) -> None:
    orchestrator.stage.put_images(IMAGE_IDS)
    orchestrator.bedrock.errors += [(400, "ServiceQuotaExceededException")]

    with pytest.raises(ClientError):
        orchestrator.invoke(http(request()))

    assert events(logged, "error", "detail", "intentId")[-1] == (
        "CRITICAL",
        "BATCH_SUBMIT_FAILED",
        "ServiceQuotaExceededException",
        "CreateModelInvocationJob: ServiceQuotaExceededException",
        "intent-1",
    )
    assert (orchestrator.record()["status"], orchestrator.record().get("jobId")) == ("SUBMITTING", None)
    assert orchestrator.invoke(http(request()))["statusCode"] == 200


def test_a_refusal_of_bedrocks_is_raised_with_its_words_and_the_next_request_goes_on_from_there(
    orchestrator: Orchestrator,
) -> None:
    orchestrator.stage.put_images(IMAGE_IDS)
    orchestrator.bedrock.errors += [(403, "AccessDeniedException")]

    with pytest.raises(BedrockRefusedError, match=r"with AccessDeniedException: injected"):
        orchestrator.invoke(request())

    claimed = orchestrator.record()
    answer = orchestrator.invoke(request())
    assert answer["submitTime"] == claimed["submitTime"]
    assert orchestrator.job().job_id == answer["jobId"]


def test_every_entry_of_a_submission_names_it(orchestrator: Orchestrator, logged: LogReader) -> None:
    orchestrator.stage.put_images(IMAGE_IDS)
    orchestrator.invoke(request([*IMAGE_IDS, "img-4"]))

    orchestrator.invoke(request([*IMAGE_IDS, "img-4"]))

    job = "job000000000"
    assert events(logged, "intentId", "userId", "traceId", "jobId") == [
        ("INFO", "BATCH_SUBMIT_STARTED", "intent-1", "user-1", "request-1", None),
        ("WARNING", "BATCH_SUBMIT_IMAGE_LEFT_OUT", "intent-1", "user-1", "request-1", None),
        ("INFO", "BATCH_SUBMITTED", "intent-1", "user-1", "request-1", job),
        ("INFO", "BATCH_SUBMIT_DUPLICATE", "intent-1", "user-1", "request-1", job),
    ]


def test_the_next_request_does_not_inherit_the_submission_of_the_last(
    orchestrator: Orchestrator, logged: LogReader
) -> None:
    orchestrator.stage.put_images(IMAGE_IDS)
    orchestrator.invoke(request())
    orchestrator.invoke(http({}))

    refused = logged()[-1]

    assert (refused["event"], refused["traceId"]) == ("BATCH_SUBMIT_REFUSED", "request-1")
    assert not {"jobId", "intentId", "userId"} & set(refused)


def test_no_log_holds_an_image_or_what_was_sent_instead_of_a_request(
    orchestrator: Orchestrator, logged: LogReader
) -> None:
    orchestrator.stage.put_images(IMAGE_IDS)
    orchestrator.invoke(request())
    orchestrator.invoke(http({"intentId": "secret intent", "pendingImageIds": ["s" * 2_000], "userId": ""}))
    orchestrator.bedrock.errors += [(400, "ValidationException")]
    with pytest.raises(BedrockRefusedError):
        orchestrator.invoke(request(intentId="intent-2"))

    said = json.dumps(logged())

    assert [word for word in ("aW1nLTE", "secret intent", "ssss", "JSONオブジェクト") if word in said] == []
