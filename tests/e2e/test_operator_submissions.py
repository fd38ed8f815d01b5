"""Tests of `redrive --submissions` on failed requests of the orchestrator."""

import json
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import boto3
import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from local.emulator import Emulator
from local.job_run import JobRun
from yorutsuke import queues
from yorutsuke.clients import Clients, make_clients
from yorutsuke.errors import StageError, UnfinishedError
from yorutsuke.queues import Queue
from yorutsuke.redrive import resubmit_requests
from yorutsuke.stage import Stage
from yorutsuke_common.hashing import images_digest, selection

from .operator_stage import Operator, delete_jobs, make_operator, put_job

EVENTS = Path(__file__).parents[1] / "events"
IMAGES = ["img-1", "img-2"]

PutFailedRequest = Callable[..., None]


@pytest.fixture(scope="module")
def operator(emulator: Emulator, stage: JobRun, tmp_path_factory: pytest.TempPathFactory) -> Operator:
    return make_operator(emulator, stage, tmp_path_factory.mktemp("submissions"))


@pytest.fixture
def queue(operator: Operator) -> Generator[str]:
    """The dead-letter queue of failed requests, without the messages of other tests."""
    job_run = operator.job_run
    url = job_run.outputs["submissionDeadLetterQueueUrl"]
    job_run.aws.sqs.purge_queue(QueueUrl=url)
    yield url
    job_run.aws.sqs.purge_queue(QueueUrl=url)


@pytest.fixture
def put_failed_request(operator: Operator, queue: str) -> PutFailedRequest:
    """Return a function that sends Lambda's record of a failed request to the queue."""
    record = json.loads(json.loads((EVENTS / "sqs_lambda_failure_event.json").read_text())["Records"][0]["body"])

    def put(payload: Mapping[str, Any], **changes: Any) -> None:
        body = {**record, "requestPayload": payload, "responsePayload": {"errorType": "E", "errorMessage": "m"}}
        operator.job_run.aws.sqs.send_message(QueueUrl=queue, MessageBody=json.dumps({**body, **changes}))

    return put


@pytest.fixture
def submitted_request(operator: Operator) -> Generator[dict[str, Any]]:
    """A failed request with an existing job: the function crashed before it returned the job."""
    put_job(
        operator.job_run,
        "intent-known",
        jobId="known0000001",
        userId="user-1",
        status="SUBMITTED",
        submitTime="2026-11-22T14:05:00Z",
        modelId="amazon.nova-lite-v1:0",
        manifestUri="s3://b/k",
        traceId="t",
        outputUri="s3://b/batch-output/",
        roleArn="arn:aws:iam::000000000000:role/r",
        requestedImages=images_digest(IMAGES),
        submittedImages=selection(IMAGES, IMAGES),
        imageCount=2,
        ttl=2**40,
    )
    yield {"intentId": "intent-known", "pendingImageIds": IMAGES, "userId": "user-1"}
    delete_jobs(operator.job_run, "intent-known")


def _remaining_intents(operator: Operator, queue: str) -> list[str]:
    answer = operator.job_run.aws.sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)
    payloads = [json.loads(message.get("Body", ""))["requestPayload"] for message in answer.get("Messages", [])]
    return sorted(payload.get("intentId", "?") for payload in payloads)


def test_redrive_resubmits_failed_requests(
    operator: Operator, queue: str, put_failed_request: PutFailedRequest, submitted_request: dict[str, Any]
) -> None:
    put_failed_request(submitted_request)
    put_failed_request({"body": json.dumps(submitted_request)})
    put_failed_request({**submitted_request, "intentId": "intent-small"})
    put_failed_request({"intentId": "intent-broken"})

    result = operator("redrive", "--submissions", "--yes", "--json")

    assert result.code == 1
    answer = json.loads(result.out)
    shown = {(f["intentId"], f["userId"], f["imageCount"], f["error"]) for f in answer["found"] if not f["problem"]}
    assert shown == {
        ("intent-known", "user-1", 2, "RetriesExhausted: E: m"),
        ("intent-small", "user-1", 2, "RetriesExhausted: E: m"),
    }
    assert (answer["messages"], answer["readable"]) == (4, 3)
    assert answer["jobs"] == {"intent-known": "known0000001"}
    assert [*answer["failures"]] == ["intent-small"]
    # The emulator's runtime sets the error's name, so only the message is compared.
    assert "pendingImageIds names 2 images. A batch job needs at least 100" in answer["failures"]["intent-small"]
    assert "requests that failed again and stay in yorutsuke-batch-orchestrator-dlq-local: 1." in result.message
    assert _remaining_intents(operator, queue) == ["intent-broken", "intent-small"]


def test_redrive_resubmits_the_request_of_one_intent(
    operator: Operator, queue: str, put_failed_request: PutFailedRequest, submitted_request: dict[str, Any]
) -> None:
    put_failed_request(submitted_request)
    put_failed_request(
        {**submitted_request, "intentId": "intent-other"}, responsePayload={"errorType": "SubmissionLostError"}
    )

    looked = operator.run_process("redrive", "--submissions", "--dry-run")
    refused = operator("redrive", "--submissions")
    done = operator("redrive", "--submissions", "--job", "intent-known", answer="y\n")

    assert looked.code == 0, looked.err
    assert "SubmissionLostError" in looked.out
    assert "2 of 2 requests can be resubmitted. This dry run changed nothing." in looked.message
    assert "Resubmit 2 requests?" in refused.message
    assert done.code == 0, done.err
    assert "1 of 1 requests succeeded: intent-known known0000001." in done.message
    assert _remaining_intents(operator, queue) == ["intent-other"]


def test_redrive_repeats_failed_scheduled_runs(
    operator: Operator, queue: str, put_failed_request: PutFailedRequest, submitted_request: dict[str, Any]
) -> None:
    """Lambda sends a record of a run that failed. EventBridge Scheduler sends the event that it could not deliver."""
    put_failed_request({"scheduledTime": "2026-11-22T13:00:00Z"})
    not_invoked = json.dumps({"scheduledTime": "2026-11-23T13:00:00Z"})
    operator.job_run.aws.sqs.send_message(QueueUrl=queue, MessageBody=not_invoked)
    put_failed_request({"scheduledTime": "<aws.scheduler.scheduled-time>"})
    put_failed_request(submitted_request)
    sent: list[str] = []

    def submit(_: Stage, event: str) -> dict[str, Any]:
        sent.append(event)
        jobs = [{"intentId": f"schedule-{n}", "jobId": f"job{n}", "imageCount": 100} for n in (0, 1)]
        return {"jobs": jobs, "waitingImages": 3} if "scheduledTime" in event else {"intentId": "i", "jobId": "job2"}

    shown = operator("redrive", "--submissions", "--dry-run").out
    with patch("yorutsuke.failed_requests.submit", submit):
        result = operator("redrive", "--submissions", "--yes", "--json")

    answer = result.json
    assert "│ 2026-11-22T13:00:00Z" in shown
    found = {(request["scheduledTime"], request["error"], request["problem"]) for request in answer["found"]}
    not_a_time = 'scheduledTime is not a time. Send a time such as "2026-11-26T02:00:00Z".'
    assert found == {
        ("2026-11-22T13:00:00Z", "RetriesExhausted: E: m", None),
        ("2026-11-23T13:00:00Z", "EventBridge Scheduler could not invoke the function: no error: ", None),
        (None, "RetriesExhausted: E: m", not_a_time),
        (None, "RetriesExhausted: E: m", None),
    }
    assert sorted(json.loads(event).get("scheduledTime", "") for event in sent) == [
        "",
        "2026-11-22T13:00:00Z",
        "2026-11-23T13:00:00Z",
    ]
    assert answer["jobs"] == {"schedule-0": "job0", "schedule-1": "job1", "i": "job2"}
    assert "3 of 3 requests succeeded: " in result.message
    assert _remaining_intents(operator, queue) == ["?"]


def test_run_without_images_succeeds(operator: Operator, queue: str, put_failed_request: PutFailedRequest) -> None:
    put_failed_request({"scheduledTime": "2026-11-22T13:00:00Z"})

    with patch("yorutsuke.failed_requests.submit", return_value={"jobs": [], "waitingImages": 0}):
        result = operator("redrive", "--submissions", "--yes")

    assert (result.code, "1 of 1 requests succeeded." in result.message) == (0, True), result.err
    assert _remaining_intents(operator, queue) == []


def test_failed_run_is_named_by_its_time(operator: Operator, queue: str, put_failed_request: PutFailedRequest) -> None:
    put_failed_request({"scheduledTime": "2026-11-22T13:00:00Z"})

    with patch("yorutsuke.failed_requests.submit", side_effect=UnfinishedError("E: m")):
        result = operator("redrive", "--submissions", "--yes", "--json")

    assert (result.code, json.loads(result.out)["failures"]) == (1, {"2026-11-22T13:00:00Z": "E: m"})
    assert len(_remaining_intents(operator, queue)) == 1


def test_redrive_reports_and_keeps_unreadable_messages(operator: Operator, queue: str) -> None:
    operator.job_run.aws.sqs.send_message(QueueUrl=queue, MessageBody='{"requestPayload": {}}')

    result = operator("redrive", "--submissions", "--yes", "--json")

    answer = result.json
    assert (
        "Requests that cannot be read and stay in yorutsuke-batch-orchestrator-dlq-local: 1. Delete" in result.message
    )
    [found] = answer["found"]
    assert found["problem"] == "the message is not Lambda's failure record: requestContext: is missing"
    assert (answer["readable"], answer["jobs"], _remaining_intents(operator, queue)) == (0, {}, ["?"])


@pytest.mark.parametrize(
    "lost",
    [
        ReadTimeoutError(endpoint_url="https://lambda"),
        ClientError({"Error": {"Code": "TooManyRequestsException", "Message": "Rate exceeded"}}, "Invoke"),
    ],
)
def test_lost_response_keeps_only_its_request(
    operator: Operator,
    queue: str,
    put_failed_request: PutFailedRequest,
    submitted_request: dict[str, Any],
    lost: Exception,
) -> None:
    put_failed_request(submitted_request)
    put_failed_request({**submitted_request, "intentId": "intent-lost"})
    put_failed_request({**submitted_request, "intentId": "intent-small"})

    with _lost_response("intent-lost", lost):
        result = operator("redrive", "--submissions", "--yes", "--json")

    answer = json.loads(result.out)
    assert (result.code, answer["jobs"]) == (1, {"intent-known": "known0000001"})
    assert {*answer["failures"]} == {"intent-lost", "intent-small"}
    assert answer["failures"]["intent-lost"].startswith(f"{type(lost).__name__}: AWS")
    assert _remaining_intents(operator, queue) == ["intent-lost", "intent-small"]


@contextmanager
def _lost_response(intent_id: str, lost: Exception) -> Generator[None]:
    """Raise an error in place of the response to one intent's request. Other requests reach the orchestrator."""

    def raise_error(params: dict[str, Any], **_: object) -> None:
        if json.loads(params["Payload"])["intentId"] == intent_id:
            raise lost

    def make_failing_clients(*arguments: Any) -> Clients:
        clients = make_clients(*arguments)
        clients.invocations.meta.events.register("provide-client-params.lambda.Invoke", raise_error)
        return clients

    with patch("yorutsuke.local_stage.make_clients", make_failing_clients):
        yield


@pytest.mark.usefixtures("queue")
def test_redrive_shows_the_first_of_many_failures(
    operator: Operator, put_failed_request: PutFailedRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yorutsuke.commands.redrive.SHOWN_ROWS", 3)
    for number in range(4):
        put_failed_request({"intentId": f"intent-{number:02}", "pendingImageIds": ["a"], "userId": "u"})

    result = operator("redrive", "--submissions", "--yes")

    assert result.code == 1
    assert "Requests that failed again: 4, the first 3" in result.out
    assert result.out.count("A batch job needs at least 100") == 3
    assert result.message.endswith(
        "UnfinishedError: requests that failed again and stay in yorutsuke-batch-orchestrator-dlq-local: 4. Correct "
        "the cause. Run the command again."
    )


def test_redrive_reports_requests_received_elsewhere(
    operator: Operator, queue: str, put_failed_request: PutFailedRequest, submitted_request: dict[str, Any]
) -> None:
    put_failed_request(submitted_request)
    operator.job_run.aws.sqs.receive_message(QueueUrl=queue, VisibilityTimeout=600)

    looked = operator("redrive", "--submissions", "--dry-run")
    asked = operator("redrive", "--submissions", "--yes", "--json")

    assert (looked.code, asked.code) == (0, 1)
    assert "Found 0 matching requests in yorutsuke-batch-orchestrator-dlq-local. Messages in" in looked.message
    assert (
        "UnfinishedError: messages in yorutsuke-batch-orchestrator-dlq-local that could not be received: 1. Run the "
        "command again." in asked.error
    )


def test_redrive_shows_results_before_the_time_limit(
    operator: Operator, put_failed_request: PutFailedRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "CHUNK", 2)
    for number in range(3):
        put_failed_request({"intentId": f"intent-{number:02}", "pendingImageIds": ["a"], "userId": "u"})

    def resubmit_without_time(*arguments: Any) -> None:
        with patch.object(queues, "READING_SECONDS", 0):
            resubmit_requests(*arguments)

    with patch("yorutsuke.commands.redrive.resubmit_requests", resubmit_without_time):
        result = operator("redrive", "--submissions", "--yes", "--json")

    assert (result.code, len(json.loads(result.out)["failures"])) == (1, 2)
    assert (
        "1 of 3 requests were not resubmitted (2 messages of yorutsuke-batch-orchestrator-dlq-local" in result.message
    )


def test_invocation_client_uses_tcp_keepalive() -> None:
    config: Any = make_clients(boto3.Session(region_name="eu-west-1")).invocations.meta.config

    assert config.tcp_keepalive is True


@pytest.mark.usefixtures("queue")
def test_redrive_succeeds_without_failed_requests(operator: Operator) -> None:
    result = operator("redrive", "--submissions")

    assert (result.code, "Found 0 matching requests" in result.message) == (0, True)


def test_missing_queue_error_names_the_queue(operator: Operator) -> None:
    with pytest.raises(StageError, match=r"queue 'yorutsuke-nowhere-local' does not exist\. Deploy the stage again"):
        Queue(operator.job_run.aws.sqs, "yorutsuke-nowhere-local").depth()
