"""The operator's command on requests for jobs that the orchestrator failed with."""

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
from yorutsuke.errors import StageError
from yorutsuke.queues import Queue
from yorutsuke.redrive import resubmit_requests
from yorutsuke_common.hashing import images_digest, selection

from .operator_stage import Operator, forget_jobs, operator_of, put_job

EVENTS = Path(__file__).parents[1] / "events"
IMAGES = ["img-1", "img-2"]

Fail = Callable[..., None]


@pytest.fixture(scope="module")
def operator(emulator: Emulator, stage: JobRun, tmp_path_factory: pytest.TempPathFactory) -> Operator:
    return operator_of(emulator, stage, tmp_path_factory.mktemp("submissions"))


@pytest.fixture
def queue(operator: Operator) -> Generator[str]:
    """The queue that Lambda's records of failed requests go to, without those of other tests."""
    job_run = operator.job_run
    url = job_run.outputs["submissionDeadLetterQueueUrl"]
    job_run.aws.sqs.purge_queue(QueueUrl=url)
    yield url
    job_run.aws.sqs.purge_queue(QueueUrl=url)


@pytest.fixture
def fail(operator: Operator, queue: str) -> Fail:
    """Return a function that puts Lambda's record of a failed request into the queue."""
    record = json.loads(json.loads((EVENTS / "sqs_lambda_failure_event.json").read_text())["Records"][0]["body"])

    def put(payload: Mapping[str, Any], **changes: Any) -> None:
        body = {**record, "requestPayload": payload, "responsePayload": {"errorType": "E", "errorMessage": "m"}}
        operator.job_run.aws.sqs.send_message(QueueUrl=queue, MessageBody=json.dumps({**body, **changes}))

    return put


@pytest.fixture
def submitted(operator: Operator) -> Generator[dict[str, Any]]:
    """A request whose job is there: the function died before it could say so."""
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
    forget_jobs(operator.job_run, "intent-known")


def _left(operator: Operator, queue: str) -> list[str]:
    answer = operator.job_run.aws.sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)
    payloads = [json.loads(message.get("Body", ""))["requestPayload"] for message in answer.get("Messages", [])]
    return sorted(payload.get("intentId", "?") for payload in payloads)


def test_a_failed_request_is_shown_and_asked_again_and_gone_once_it_has_its_job(
    operator: Operator, queue: str, fail: Fail, submitted: dict[str, Any]
) -> None:
    fail(submitted)
    fail({"body": json.dumps(submitted)})
    fail({**submitted, "intentId": "intent-small"})
    fail({"intentId": "intent-broken"})

    ran = operator("redrive", "--submissions", "--yes", "--json")

    assert ran.code == 1
    answer = json.loads(ran.out)
    shown = {(f["intentId"], f["userId"], f["imageCount"], f["error"]) for f in answer["found"] if not f["problem"]}
    assert shown == {
        ("intent-known", "user-1", 2, "RetriesExhausted: E: m"),
        ("intent-small", "user-1", 2, "RetriesExhausted: E: m"),
    }
    assert (answer["messages"], answer["readable"]) == (4, 3)
    assert answer["jobs"] == {"intent-known": "known0000001"}
    assert [*answer["failures"]] == ["intent-small"]
    # The error's name is the runtime's, which here is the emulator's.
    assert "pendingImageIds names 2 images. A batch job needs at least 100" in answer["failures"]["intent-small"]
    assert "1 requests failed again and stay" in ran.told
    assert _left(operator, queue) == ["intent-broken", "intent-small"]


def test_a_person_asks_again_for_one_intent(
    operator: Operator, queue: str, fail: Fail, submitted: dict[str, Any]
) -> None:
    fail(submitted)
    fail({**submitted, "intentId": "intent-other"}, responsePayload={"errorType": "SubmissionLostError"})

    looked = operator.spawned("redrive", "--submissions", "--dry-run")
    refused = operator("redrive", "--submissions")
    done = operator("redrive", "--submissions", "--job", "intent-known", answer="y\n")

    assert looked.code == 0, looked.err
    assert "SubmissionLostError" in looked.out
    assert "2 of 2 requests can be resubmitted. This dry run changed nothing." in looked.told
    assert "Resubmit 2 requests?" in refused.told
    assert done.code == 0, done.err
    assert "1 of 1 requests now have a job: intent-known known0000001." in done.told
    assert _left(operator, queue) == ["intent-other"]


def test_what_lambda_did_not_write_is_said_and_left(operator: Operator, queue: str) -> None:
    operator.job_run.aws.sqs.send_message(QueueUrl=queue, MessageBody='{"requestPayload": {}}')

    ran = operator("redrive", "--submissions", "--yes", "--json")

    answer = ran.answer
    assert "1 requests cannot be read and stay in yorutsuke-batch-orchestrator-dlq-local. Delete" in ran.told
    [found] = answer["found"]
    assert found["problem"] == "the message is not Lambda's failure record: requestContext: is missing"
    assert (answer["readable"], answer["jobs"], _left(operator, queue)) == (0, {}, ["?"])


@pytest.mark.parametrize(
    "lost",
    [
        ReadTimeoutError(endpoint_url="https://lambda"),
        ClientError({"Error": {"Code": "TooManyRequestsException", "Message": "Rate exceeded"}}, "Invoke"),
    ],
)
def test_an_answer_that_was_lost_keeps_its_request_and_no_other(
    operator: Operator, queue: str, fail: Fail, submitted: dict[str, Any], lost: Exception
) -> None:
    fail(submitted)
    fail({**submitted, "intentId": "intent-lost"})
    fail({**submitted, "intentId": "intent-small"})

    with _losing("intent-lost", lost):
        ran = operator("redrive", "--submissions", "--yes", "--json")

    answer = json.loads(ran.out)
    assert (ran.code, answer["jobs"]) == (1, {"intent-known": "known0000001"})
    assert {*answer["failures"]} == {"intent-lost", "intent-small"}
    assert answer["failures"]["intent-lost"].startswith(f"{type(lost).__name__}: AWS")
    assert _left(operator, queue) == ["intent-lost", "intent-small"]


@contextmanager
def _losing(intent_id: str, lost: Exception) -> Generator[None]:
    """Lose the answer to one intent's request. The other answers are the orchestrator's own."""

    def lose(params: dict[str, Any], **_: object) -> None:
        if json.loads(params["Payload"])["intentId"] == intent_id:
            raise lost

    def losing(*arguments: Any) -> Clients:
        clients = make_clients(*arguments)
        clients.invocations.meta.events.register("provide-client-params.lambda.Invoke", lose)
        return clients

    with patch("yorutsuke.local_stage.make_clients", losing):
        yield


@pytest.mark.usefixtures("queue")
def test_redrive_shows_the_first_of_many_failures(
    operator: Operator, fail: Fail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yorutsuke.commands.redrive.SHOWN_ROWS", 3)
    for number in range(4):
        fail({"intentId": f"intent-{number:02}", "pendingImageIds": ["a"], "userId": "u"})

    ran = operator("redrive", "--submissions", "--yes")

    assert ran.code == 1
    assert "Requests that failed again: 4, the first 3" in ran.out
    assert ran.out.count("A batch job needs at least 100") == 3
    assert ran.told.endswith(
        "UnfinishedError: 4 requests failed again and stay in yorutsuke-batch-orchestrator-dlq-local. Correct the "
        "cause. Run the command again."
    )


def test_a_request_that_somebody_else_has_received_is_not_called_nothing(
    operator: Operator, queue: str, fail: Fail, submitted: dict[str, Any]
) -> None:
    fail(submitted)
    operator.job_run.aws.sqs.receive_message(QueueUrl=queue, VisibilityTimeout=600)

    looked = operator("redrive", "--submissions", "--dry-run")
    asked = operator("redrive", "--submissions", "--yes", "--json")

    assert (looked.code, asked.code) == (0, 1)
    assert "Found 0 matching requests in yorutsuke-batch-orchestrator-dlq-local. 1 mess" in looked.told
    assert (
        "1 messages of yorutsuke-batch-orchestrator-dlq-local could not be received. Run the command again."
        in asked.told
    )


def test_redrive_shows_answers_before_the_messages_return(
    operator: Operator, fail: Fail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "CHUNK", 2)
    for number in range(3):
        fail({"intentId": f"intent-{number:02}", "pendingImageIds": ["a"], "userId": "u"})

    def in_no_time(*arguments: Any) -> None:
        with patch.object(queues, "READING_SECONDS", 0):
            resubmit_requests(*arguments)

    with patch("yorutsuke.commands.redrive.resubmit_requests", in_no_time):
        ran = operator("redrive", "--submissions", "--yes", "--json")

    assert (ran.code, len(json.loads(ran.out)["failures"])) == (1, 2)
    assert "1 of 3 requests were not resubmitted (2 messages of yorutsuke-batch-orchestrator-dlq-local" in ran.told


def test_a_connection_that_waits_for_a_function_is_kept_alive() -> None:
    config: Any = make_clients(boto3.Session(region_name="eu-west-1")).invocations.meta.config

    assert config.tcp_keepalive is True


@pytest.mark.usefixtures("queue")
def test_without_failed_requests_there_is_nothing_to_do(operator: Operator) -> None:
    ran = operator("redrive", "--submissions")

    assert (ran.code, "Found 0 matching requests" in ran.told) == (0, True)


def test_a_queue_that_is_not_there_is_said_to_be_missing(operator: Operator) -> None:
    with pytest.raises(StageError, match=r"queue 'yorutsuke-nowhere-local' does not exist\. Deploy the stage again"):
        Queue(operator.job_run.aws.sqs, "yorutsuke-nowhere-local").depth()
