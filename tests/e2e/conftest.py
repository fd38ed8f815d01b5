"""The local stage: the real program on the emulator, with every call checked against the declared policies."""

import itertools
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from local.aws import Aws, forget_own_account
from local.deployer import deploy
from local.emulator import Emulator, running_emulator
from local.job_run import JobRun
from local.receipts import Receipt, make_receipts
from yorutsuke_common.aws.batch_jobs import CLAIM_MARGIN_SECONDS
from yorutsuke_infra.artifacts import this_machine
from yorutsuke_infra.build import build

from .faulty_endpoint import FaultyEndpoint, running_faulty_endpoint

NewJobRun = Callable[[], JobRun]
OutputFile = Callable[..., Path]
JOB_NUMBERS = itertools.count(1)
REDELIVERY_SECONDS = 10
"""Visibility timeout for quick tests, in seconds. Longer than a job takes on a busy machine."""
FAULTY_TIMEOUT_SECONDS = 30
"""Timeout of the function behind the faulty proxy, in seconds. Longer than a small job takes on a busy machine."""


@contextmanager
def emulator_with_zips() -> Generator[Emulator]:
    """Give an emulator with nothing on it, and build what is to be deployed."""
    forget_own_account()
    build(this_machine())
    with running_emulator() as emulator:
        yield emulator


def deployed(emulator: Emulator, put_alarms: list[dict[str, Any]] | None = None, **choices: str | int) -> JobRun:
    """Deploy a stage of these choices, and note its alarms; the job of the night returned is never seeded."""
    aws = Aws(emulator.endpoint, emulator.ca_bundle)

    def note(params: dict[str, Any], **_: object) -> None:
        if put_alarms is not None:
            put_alarms.append(params)

    aws.cloudwatch.meta.events.register("provide-client-params.cloudwatch.PutMetricAlarm", note)
    return JobRun(aws, deploy(aws, **choices), job_id="stage0000000")


@pytest.fixture(scope="session")
def emulator() -> Generator[Emulator]:
    """The emulator of the stage."""
    with emulator_with_zips() as emulator:
        yield emulator


@pytest.fixture(scope="session")
def put_alarms() -> list[dict[str, Any]]:
    """What CloudWatch is asked for with each alarm of the stage: the emulator forgets their metric queries."""
    return []


@pytest.fixture(scope="session")
def stage(emulator: Emulator, put_alarms: list[dict[str, Any]]) -> JobRun:
    """The deployed stage, every choice as in its file."""
    return deployed(emulator, put_alarms)


@pytest.fixture(scope="session")
def s3_stage() -> Generator[JobRun]:
    """A stage whose bucket invokes the function directly, on its own emulator."""
    with emulator_with_zips() as emulator:
        yield deployed(emulator, trigger="s3")


@pytest.fixture
def new_job_run(stage: JobRun) -> NewJobRun:
    """Return a function that gives a night with a job of its own."""
    return lambda: JobRun(stage.aws, stage.outputs, job_id=f"night{next(JOB_NUMBERS):07}")


@pytest.fixture
def quick_redelivery(stage: JobRun) -> Generator[None]:
    """Let what failed come back after seconds, instead of six timeouts of the function."""
    with redelivered_after(stage, REDELIVERY_SECONDS):
        yield


@pytest.fixture(scope="session")
def faulty_proxy(emulator: Emulator) -> Generator[FaultyEndpoint]:
    """A proxy that can fail calls, in front of the emulator."""
    with running_faulty_endpoint(emulator) as endpoint:
        yield endpoint


@pytest.fixture
def faulty_endpoint(
    faulty_proxy: FaultyEndpoint, stage: JobRun, request: pytest.FixtureRequest
) -> Generator[FaultyEndpoint]:
    """The proxy between the batch_result_handler and AWS.

    The parameter is the function's timeout in seconds. A failed message returns when the claim of a function that died
    has expired.
    """
    timeout: int = getattr(request, "param", FAULTY_TIMEOUT_SECONDS)
    lambda_, name = stage.aws.lambda_, stage.outputs["functionName"]
    before = lambda_.get_function_configuration(FunctionName=name)
    variables = before["Environment"].get("Variables", {})
    through = {**variables, "AWS_ENDPOINT_URL": faulty_proxy.url}
    with redelivered_after(stage, timeout + CLAIM_MARGIN_SECONDS + 1):
        lambda_.update_function_configuration(FunctionName=name, Timeout=timeout, Environment={"Variables": through})
        try:
            yield faulty_proxy.renewed()
        finally:
            faulty_proxy.recover()
            lambda_.update_function_configuration(
                FunctionName=name, Timeout=before["Timeout"], Environment={"Variables": variables}
            )


@contextmanager
def redelivered_after(stage: JobRun, seconds: int, **attributes: str) -> Generator[None]:
    """Set the queue's visibility timeout, and other attributes, and restore them."""
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
    """Return a function that writes lines into an output file."""

    def write(*lines: str, name: str = "output.jsonl") -> Path:
        file = tmp_path / name
        file.write_text("".join(f"{line}\n" for line in lines))
        return file

    return write


def own_receipts(job_run: JobRun, count: int) -> list[Receipt]:
    """Return receipts whose image ids are of this night alone."""
    return make_receipts(count, prefix=f"{job_run.job_id}-")


def seed(job_run: JobRun, receipts: Sequence[Receipt]) -> None:
    """Put everything there that is there when the job has been submitted."""
    job_run.seed_images(receipt.image_id for receipt in receipts)
    job_run.seed_job()


def dead_messages(job_run: JobRun) -> list[Any]:
    """Return the messages in the dead-letter queue."""
    received = job_run.aws.sqs.receive_message(QueueUrl=job_run.outputs["deadLetterQueueUrl"], MaxNumberOfMessages=10)
    return [*received.get("Messages", [])]


def redrive(job_run: JobRun, message: Any) -> None:
    """Send a dead message to the queue, and take it away: what StartMessageMoveTask does on AWS."""
    job_run.aws.sqs.send_message(QueueUrl=job_run.outputs["queueUrl"], MessageBody=message["Body"])
    job_run.aws.sqs.delete_message(
        QueueUrl=job_run.outputs["deadLetterQueueUrl"], ReceiptHandle=message["ReceiptHandle"]
    )
