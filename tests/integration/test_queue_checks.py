"""`doctor`'s checks of the queue, with metrics that the emulator does not have."""

from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import boto3
import pytest
from moto import mock_aws

from local.emulator import REGION
from yorutsuke.checks import queues
from yorutsuke.checks.finding import Finding, State
from yorutsuke.clients import Clients, make_clients
from yorutsuke.queues import Queue
from yorutsuke.stage import Stage

if TYPE_CHECKING:
    from yorutsuke_common.settings import ResultSettings

QUEUE = "yorutsuke-batch-output-test"
INTERVAL = 1800
"""Visibility timeout of the queue, in seconds: the interval between two deliveries of a message."""


@dataclass(frozen=True)
class QueueStage:
    """A stage with a queue only, and the values of its metrics."""

    stage: Stage
    clients: Clients

    def put(self, namespace: str, metric: str, value: float, age: timedelta, **dimensions: str) -> None:
        """Put a value of a metric, as AWS or the handler's log does."""
        datum: Any = {
            "MetricName": metric,
            "Dimensions": [{"Name": name, "Value": of} for name, of in dimensions.items()],
            "Timestamp": datetime.now(UTC) - age,
            "Value": value,
        }
        self.clients.cloudwatch.put_metric_data(Namespace=namespace, MetricData=[datum])

    def put_failure(self, age: timedelta, stage: str = "test") -> None:
        """Count a failed redelivery."""
        self.put("BatchResult", "RedeliveryFailed", 1, age, service="batch_result_handler", stage=stage)

    def send(self) -> None:
        """Send a message."""
        self.clients.sqs.send_message(QueueUrl=self.stage.queue.url, MessageBody="{}")


@pytest.fixture
def queue_stage(monkeypatch: pytest.MonkeyPatch) -> Generator[QueueStage]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws():
        clients = make_clients(boto3.Session(region_name=REGION))
        clients.sqs.create_queue(QueueName=QUEUE, Attributes={"VisibilityTimeout": str(INTERVAL)})
        queue = Queue(clients.sqs, QUEUE)
        stage = Stage("test", clients, "arn", cast("ResultSettings", None), queue, queue, queue)
        yield QueueStage(stage, clients)


@pytest.mark.parametrize(("age", "state"), [(3 * INTERVAL, State.OK), (3 * INTERVAL + 1, State.BAD)])
def test_messages_that_are_not_consumed_are_bad(queue_stage: QueueStage, age: float, state: State) -> None:
    queue_stage.put("AWS/SQS", "ApproximateAgeOfOldestMessage", age, timedelta(minutes=1), QueueName=QUEUE)

    [found] = queues.waiting(queue_stage.stage)

    assert (found.state, found.next) == (state, "runbook: message-age" if state is State.BAD else "")
    assert "the oldest 90 min old" in found.seen
    assert ("90 min, so messages are not consumed" in found.seen) is (state is State.BAD)


def test_failing_message_is_bad_without_an_age(queue_stage: QueueStage) -> None:
    """SQS does not report the age of a message that was received three times."""
    queue_stage.send()
    queue_stage.put_failure(timedelta(minutes=20))
    queue_stage.put_failure(timedelta(minutes=29))

    assert [*queues.failed_redeliveries(queue_stage.stage)] == [
        Finding(
            "failed redeliveries",
            State.BAD,
            "2 within 35 min, and the queue has 1 messages",
            "runbook: failed-redeliveries",
        )
    ]


@pytest.mark.parametrize(
    ("age", "stage", "seen"),
    [(timedelta(minutes=45), "test", "0 within 35 min"), (timedelta(minutes=5), "another", "0 within 35 min")],
)
def test_other_failures_do_not_count(queue_stage: QueueStage, age: timedelta, stage: str, seen: str) -> None:
    queue_stage.send()
    queue_stage.put_failure(age, stage)

    assert [*queues.failed_redeliveries(queue_stage.stage)] == [Finding("failed redeliveries", State.OK, seen)]


def test_failures_are_ok_when_the_queue_is_empty(queue_stage: QueueStage) -> None:
    """A later delivery has succeeded, or the message is in the dead-letter queue, which has a finding of its own."""
    queue_stage.put_failure(timedelta(minutes=5))

    assert [*queues.failed_redeliveries(queue_stage.stage)] == [
        Finding("failed redeliveries", State.OK, "1 within 35 min")
    ]
