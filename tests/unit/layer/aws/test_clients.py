"""The time limits of the functions' clients, against a server that accepts connections and never answers."""

import socket
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ReadTimeoutError

from batch_orchestrator.handler import job_submitter
from batch_result_handler.handler import handler, use_cases
from local.lambda_context import lambda_context
from tests.integration.orchestrator_stage import ORCHESTRATOR_ENVIRONMENT, clear_orchestrator_caches
from tests.integration.stage import ENVIRONMENT, clear_handler_caches, job_end, sqs_event
from yorutsuke_common.aws.clients import ATTEMPTS, client_config
from yorutsuke_common.aws.object_copier import connections_to
from yorutsuke_common.names import MAX_FUNCTION_SECONDS
from yorutsuke_infra.config import StageConfig

BACKOFF_SECONDS = 1 + 2 + 4 + 8
"""Maximum time that botocore waits between five attempts, in seconds."""


@dataclass
class SilentServer:
    """A server that accepts connections and never answers."""

    url: str
    accepted: list[socket.socket] = field(default_factory=list[socket.socket])


def _no_sleep(_: float) -> None:
    """Return immediately, as a replacement for time.sleep."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Generator[SilentServer]:
    """A silent server as the endpoint of every client, and clients with short timeouts and without waits."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = SilentServer(f"http://127.0.0.1:{listener.getsockname()[1]}")

        def accept() -> None:
            while True:
                try:
                    server.accepted.append(listener.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept)
        thread.start()
        for name, value in {"AWS_ENDPOINT_URL": server.url, "NO_PROXY": "127.0.0.1"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("yorutsuke_common.aws.clients.READ_SECONDS", 0.05)
        monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=_no_sleep))
        yield server
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in server.accepted:
            connection.close()


@pytest.fixture(autouse=True)
def _cold_start(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """Execution environments of both functions, without clients."""
    credentials = {"AWS_ACCESS_KEY_ID": "unit", "AWS_SECRET_ACCESS_KEY": "unit", "AWS_DEFAULT_REGION": "eu-west-1"}
    for name, value in {**ENVIRONMENT, **ORCHESTRATOR_ENVIRONMENT, **credentials}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    clear_handler_caches()
    clear_orchestrator_caches()
    yield
    clear_handler_caches()
    clear_orchestrator_caches()


def _get_item() -> None:
    boto3.client("dynamodb", config=client_config(1)).get_item(TableName="jobs", Key={"intentId": {"S": "intent"}})


def _get_object() -> None:
    boto3.client("s3", config=client_config(1)).get_object(Bucket="images", Key="key")


@pytest.mark.parametrize("call", [_get_item, _get_object])
def test_silent_server_fails_call_after_each_attempt(server: SilentServer, call: Callable[[], None]) -> None:
    with pytest.raises(ReadTimeoutError):
        call()

    assert len(server.accepted) == ATTEMPTS


def test_message_fails_if_dynamodb_never_answers(server: SilentServer) -> None:
    assert handler(sqs_event(job_end("Failed")), lambda_context(60))["batchItemFailures"] == [
        {"itemIdentifier": "message-0"}
    ]
    assert len(server.accepted) == ATTEMPTS


def longest_call_seconds(client: Any) -> float:
    """Return the maximum duration of a call to a server that does not answer, in seconds."""
    config = client.meta.config
    attempt = max(config.connect_timeout, config.read_timeout)
    return config.retries["total_max_attempts"] * attempt + BACKOFF_SECONDS


def test_result_handler_survives_two_silent_calls() -> None:
    stores = use_cases().stores
    timeout: int = StageConfig.model_fields["function_timeout_seconds"].default

    # The second call releases the claim after the first has failed.
    for client in (stores.s3, stores.jobs.client):
        assert longest_call_seconds(client) + longest_call_seconds(stores.jobs.client) < timeout / 2


def test_orchestrator_survives_silent_calls_of_each_service() -> None:
    submitter = job_submitter()
    clients = (submitter.manifests.s3, submitter.jobs.client, submitter.bedrock.client)

    assert sum(map(longest_call_seconds, clients)) < MAX_FUNCTION_SECONDS / 2


def test_copier_has_the_timeouts_of_the_clients() -> None:
    timeout: Any = connections_to("http://127.0.0.1", 1).timeout
    config: Any = client_config(1)

    assert (timeout.connect_timeout, timeout.read_timeout) == (config.connect_timeout, config.read_timeout)


def test_job_creation_has_more_time() -> None:
    submitter: Any = job_submitter()

    assert submitter.bedrock.client.meta.config.read_timeout > submitter.jobs.client.meta.config.read_timeout
