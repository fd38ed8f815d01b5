"""The local stage: the real program on the emulator, with every call checked against the declared policies."""

import itertools
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from local.aws import Aws, forget_own_account
from local.deployer import deploy
from local.emulator import running_emulator
from local.night import Night
from yorutsuke_infra.artifacts import this_machine
from yorutsuke_infra.build import build

NewNight = Callable[[], Night]


@pytest.fixture(scope="session")
def stage() -> Generator[Night]:
    """The deployed stage; its job is never seeded."""
    forget_own_account()
    build(this_machine())
    with running_emulator() as emulator:
        aws = Aws(emulator.endpoint)
        yield Night(aws, deploy(aws), job_id="stage0000000")


@pytest.fixture(scope="session")
def new_night(stage: Night) -> NewNight:
    """Return a function that gives a night with a job of its own."""
    numbers = itertools.count(1)
    return lambda: Night(stage.aws, stage.outputs, job_id=f"night{next(numbers):07}")


@pytest.fixture
def quick_redelivery(stage: Night) -> Generator[None]:
    """Let what failed come back after seconds, instead of six timeouts of the function."""
    queue = stage.outputs["queueUrl"]
    before = stage.aws.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["VisibilityTimeout"])["Attributes"]
    stage.aws.sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": "6"})
    yield
    stage.aws.sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": before["VisibilityTimeout"]})


@pytest.fixture
def output_file(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes lines into an output file."""

    def write(*lines: str, name: str = "output.jsonl") -> Path:
        file = tmp_path / name
        file.write_text("".join(f"{line}\n" for line in lines))
        return file

    return write
