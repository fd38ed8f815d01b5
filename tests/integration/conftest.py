"""Fixtures that run the real handlers in this process, on moto.

moto implements AWS's API behind botocore, without AWS's permissions and events.
"""

import io
import json
import sys
from collections.abc import Callable, Generator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from batch_orchestrator import handler as orchestrator_module
from batch_result_handler import handler as handler_module
from local.aws import Aws
from local.deployer import LocalDeployer, run_program
from local.emulator import REGION
from yorutsuke_common.names import PROJECT
from yorutsuke_infra.config import stage_tags
from yorutsuke_infra.storage import Storage, StorageArgs

from .aws_calls import AwsCalls
from .bedrock import Bedrock
from .orchestrator_stage import ORCHESTRATOR_ENVIRONMENT, Orchestrator, clear_orchestrator_caches
from .partiql import serve_statements
from .stage import BUCKET, ENVIRONMENT, Stage, clear_handler_caches

LogReader = Callable[[], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def deployed_stage() -> Generator[Stage]:
    """A stage with the storage that the Pulumi program declares.

    The calls of the handler's clients are recorded. All tests of a module share the stage. moto responds to every
    client in the process, so it must stop at the end of the module.
    """
    # The fake in bedrock.py responds to Bedrock's calls.
    with pytest.MonkeyPatch.context() as patch, mock_aws(config={"core": {"passthrough": {"services": ["bedrock"]}}}):
        for name, value in {**ENVIRONMENT, "AWS_DEFAULT_REGION": REGION}.items():
            patch.setenv(name, value)
        aws = Aws(endpoint=None)
        storage = StorageArgs(stage="test", account_id="123456789012", protect_data=False)
        run_program(LocalDeployer(aws, stage_tags("test")), "test", {}, lambda: Storage(PROJECT, storage))
        # moto ignores conditions, so the policy that denies plain HTTP would deny every call.
        aws.s3.delete_bucket_policy(Bucket=ENVIRONMENT["IMAGES_BUCKET"])
        calls = AwsCalls()
        boto3.setup_default_session(region_name=REGION)
        assert boto3.DEFAULT_SESSION
        calls.watch(boto3.DEFAULT_SESSION)
        second_session = boto3.Session(region_name=REGION)
        for session in (boto3.DEFAULT_SESSION, second_session):
            serve_statements(session)
        yield Stage(aws, calls, second_session=second_session)
        boto3.DEFAULT_SESSION = None


@pytest.fixture
def stage(deployed_stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Generator[Stage]:
    """The module's stage without data, and a handler without caches."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("yorutsuke_common.aws.dynamodb.BASE_DELAY_SECONDS", 0)
    monkeypatch.setattr("yorutsuke_common.aws.batch_jobs.INDEX_DELAYS_SECONDS", (0,) * 4)
    handler_module.logger.setLevel("DEBUG")
    clear_handler_caches()
    yield deployed_stage
    clear_handler_caches()
    deployed_stage.clear()


@pytest.fixture(scope="module")
def bedrock(deployed_stage: Stage) -> Bedrock:
    """The fake of Bedrock for the module's stage."""

    def read(uri: str) -> bytes:
        """Return the manifest at a URI, or the one in a folder."""
        key = uri.removeprefix(f"s3://{BUCKET}/")
        key = f"{key}manifest.jsonl" if key.endswith("/") else key
        return deployed_stage.aws.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    bedrock = Bedrock(read)
    assert boto3.DEFAULT_SESSION
    for session in (boto3.DEFAULT_SESSION, deployed_stage.second_session):
        bedrock.serve(session)
    return bedrock


@pytest.fixture
def orchestrator(stage: Stage, bedrock: Bedrock, monkeypatch: pytest.MonkeyPatch) -> Generator[Orchestrator]:
    """The orchestrator on a stage, and a fake of Bedrock without jobs."""
    for name, value in ORCHESTRATOR_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("_X_AMZN_TRACE_ID", raising=False)
    orchestrator_module.logger.setLevel("DEBUG")
    clear_orchestrator_caches()
    yield Orchestrator(stage, bedrock)
    clear_orchestrator_caches()
    bedrock.jobs.clear()
    bedrock.errors.clear()


@pytest.fixture
def read_logs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> LogReader:
    """A function that returns the log entries and metrics since its last call."""
    # A logger keeps the standard output of its creation, but pytest replaces standard output in each test phase.
    for module in (handler_module, orchestrator_module):
        monkeypatch.setattr(module.logger.registered_handler, "stream", _CurrentStandardOutput())

    def read() -> list[dict[str, Any]]:
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return read


class _CurrentStandardOutput(io.TextIOBase):
    """A stream that writes to the current `sys.stdout`."""

    def write(self, text: str) -> int:
        return sys.stdout.write(text)
