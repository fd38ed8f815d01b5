"""Fixtures of the local stage: the Pulumi program on the emulator, which checks every call against the policies."""

import itertools
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from local.aws import Aws, forget_own_account
from local.deployer import deploy
from local.emulator import Emulator, running_emulator
from local.job_run import JobRun, until
from local.receipts import Receipt, make_receipts
from yorutsuke_common.aws.batch_jobs import CLAIM_MARGIN_SECONDS
from yorutsuke_common.names import LogEvent
from yorutsuke_infra.artifacts import this_machine
from yorutsuke_infra.build import build

from .faulty_endpoint import FaultyEndpoint, running_faulty_endpoint

NewJobRun = Callable[[], JobRun]
OutputFile = Callable[..., Path]
JOB_NUMBERS = itertools.count(1)
REDELIVERY_SECONDS = 10
"""Visibility timeout of the queue in quick tests, in seconds. It exceeds a job's duration on a busy machine."""
TEST_EVENTS_SECONDS = 60
"""Timeout for the handling of S3's test events after a deployment, in seconds."""
FAULTY_TIMEOUT_SECONDS = 30
"""Timeout of the function behind the faulty proxy, in seconds. It exceeds a small job's duration on a busy machine."""


@contextmanager
def emulator_with_artifacts() -> Generator[Emulator]:
    """Build the deployment artifacts and yield an empty emulator."""
    forget_own_account()
    build(this_machine())
    with running_emulator() as emulator:
        yield emulator


def deploy_stage(
    emulator: Emulator, put_alarms: list[dict[str, Any]] | None = None, **settings: str | int | list[str]
) -> JobRun:
    """Deploy a stage and return a job run without a seeded job.

    Args:
        emulator: The emulator to deploy to.
        put_alarms: A list that receives the parameters of each PutMetricAlarm call.
        settings: Settings that replace those of the stage's file.
    """
    aws = Aws(emulator.endpoint, emulator.ca_bundle)

    def record_alarm(params: dict[str, Any], **_: object) -> None:
        if put_alarms is not None:
            put_alarms.append(params)

    aws.cloudwatch.meta.events.register("provide-client-params.cloudwatch.PutMetricAlarm", record_alarm)
    return JobRun(aws, deploy(aws, **settings), job_id="stage0000000")


@pytest.fixture(scope="session")
def emulator() -> Generator[Emulator]:
    """The emulator of the fixture `stage`."""
    with emulator_with_artifacts() as emulator:
        yield emulator


@pytest.fixture(scope="session")
def put_alarms() -> list[dict[str, Any]]:
    """The parameters of the stage's PutMetricAlarm calls. The emulator does not store the alarms' metric queries."""
    return []


@pytest.fixture(scope="session")
def stage(emulator: Emulator, put_alarms: list[dict[str, Any]]) -> JobRun:
    """The deployed stage, with the settings of its file."""
    job_run = deploy_stage(emulator, put_alarms)
    # S3's test events start the function. A change of its configuration in that time would kill these invocations.
    until(lambda: _handled_test_events(job_run), TEST_EVENTS_SECONDS, "the function's handling of S3's test events")
    return job_run


def _handled_test_events(stage: JobRun) -> bool:
    """Return whether the function has logged one test event for each notification of the bucket."""
    notifications = stage.aws.s3.get_bucket_notification_configuration(Bucket=stage.outputs["imagesBucket"])
    logged = stage.log_entries(f'"{LogEvent.BATCH_RESULT_TEST_EVENT}"')
    return len(list(logged)) >= len(notifications.get("TopicConfigurations", ()))


@pytest.fixture(scope="session")
def s3_stage() -> Generator[JobRun]:
    """A stage with direct invocation by S3, on an emulator of its own."""
    with emulator_with_artifacts() as emulator:
        yield deploy_stage(emulator, trigger="s3")


@pytest.fixture
def new_job_run(stage: JobRun) -> NewJobRun:
    """Return a function that returns a job run with a new job."""
    return lambda: JobRun(stage.aws, stage.outputs, job_id=f"jobrun{next(JOB_NUMBERS):06}")


@pytest.fixture
def quick_redelivery(stage: JobRun) -> Generator[None]:
    """Redeliver failed messages after 10 seconds, instead of six times the function's timeout."""
    with redelivered_after(stage, REDELIVERY_SECONDS):
        yield


@pytest.fixture(scope="session")
def faulty_proxy(emulator: Emulator) -> Generator[FaultyEndpoint]:
    """A proxy in front of the emulator that can make calls fail."""
    with running_faulty_endpoint(emulator) as endpoint:
        yield endpoint


@pytest.fixture
def faulty_endpoint(
    faulty_proxy: FaultyEndpoint, stage: JobRun, request: pytest.FixtureRequest
) -> Generator[FaultyEndpoint]:
    """The proxy, placed between batch_result_handler and the emulator.

    The fixture's parameter is the function's timeout, in seconds. A failed message is redelivered after the claim of a
    killed function has expired.
    """
    timeout: int = getattr(request, "param", FAULTY_TIMEOUT_SECONDS)
    lambda_, name = stage.aws.lambda_, stage.outputs["functionName"]
    before = lambda_.get_function_configuration(FunctionName=name)
    variables = before["Environment"].get("Variables", {})
    through = {**variables, "AWS_ENDPOINT_URL": faulty_proxy.url}
    with redelivered_after(stage, timeout + CLAIM_MARGIN_SECONDS + 1):
        lambda_.update_function_configuration(FunctionName=name, Timeout=timeout, Environment={"Variables": through})
        try:
            yield faulty_proxy.reset()
        finally:
            faulty_proxy.remove_rules()
            lambda_.update_function_configuration(
                FunctionName=name, Timeout=before["Timeout"], Environment={"Variables": variables}
            )


@contextmanager
def redelivered_after(stage: JobRun, seconds: int, **attributes: str) -> Generator[None]:
    """Set the queue's visibility timeout and other attributes, and restore them at the end."""
    changes: Any = {"VisibilityTimeout": str(seconds), **attributes}
    sqs, queue = stage.aws.sqs, stage.outputs["queueUrl"]
    before = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=[*changes])["Attributes"]
    sqs.set_queue_attributes(QueueUrl=queue, Attributes=changes)
    try:
        yield
    finally:
        sqs.set_queue_attributes(QueueUrl=queue, Attributes=dict(before))


@pytest.fixture
def output_file(tmp_path: Path) -> OutputFile:
    """Return a function that writes records into an output file."""

    def write(*lines: str, name: str = "output.jsonl") -> Path:
        file = tmp_path / name
        file.write_text("".join(f"{line}\n" for line in lines))
        return file

    return write


def own_receipts(job_run: JobRun, count: int) -> list[Receipt]:
    """Return receipts with the job's id in their image ids."""
    return make_receipts(count, prefix=f"{job_run.job_id}-")


def seed(job_run: JobRun, receipts: Sequence[Receipt]) -> None:
    """Store the images and the item of a submitted job."""
    job_run.seed_images(receipt.image_id for receipt in receipts)
    job_run.seed_job()


def dead_messages(job_run: JobRun) -> list[Any]:
    """Return the messages in the dead-letter queue."""
    received = job_run.aws.sqs.receive_message(QueueUrl=job_run.outputs["deadLetterQueueUrl"], MaxNumberOfMessages=10)
    return [*received.get("Messages", [])]


def redrive(job_run: JobRun, message: Any) -> None:
    """Move a message from the dead-letter queue to the queue, as StartMessageMoveTask does on AWS."""
    job_run.aws.sqs.send_message(QueueUrl=job_run.outputs["queueUrl"], MessageBody=message["Body"])
    job_run.aws.sqs.delete_message(
        QueueUrl=job_run.outputs["deadLetterQueueUrl"], ReceiptHandle=message["ReceiptHandle"]
    )
