"""The stand-in for Bedrock beside an AWS in memory, moto, which enforces no policy: test_bedrock_stand_in.py is where
the emulator does."""

import json
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from moto import mock_aws

from local.aws import Aws, forget_own_account
from local.bedrock import Bedrock, Limits, running_bedrock
from local.emulator import REGION
from local.state_change import StateChange

if TYPE_CHECKING:
    from mypy_boto3_bedrock import BedrockClient

BUCKET = "images"
ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/batch-inference"
JOBS = f"arn:aws:bedrock:{REGION}:{ACCOUNT}:model-invocation-job"
INPUT = f"s3://{BUCKET}/batch-input/intent-1/manifest.jsonl"
OUTPUT = f"s3://{BUCKET}/batch-output/"
TRUST = {
    "Effect": "Allow",
    "Principal": {"Service": "bedrock.amazonaws.com"},
    "Action": "sts:AssumeRole",
    "Condition": {"StringEquals": {"aws:SourceAccount": ACCOUNT}, "ArnEquals": {"aws:SourceArn": f"{JOBS}/*"}},
}
"""As the user guide has it, "Create a custom service role for batch inference"."""
LIMITS = Limits(minimum=3, maximum=5)


def document(*statements: dict[str, Any]) -> str:
    """Return a policy."""
    return json.dumps({"Version": "2012-10-17", "Statement": [*statements]})


def model_input(text: str = "レシートを読み取ってください。") -> dict[str, Any]:
    """Return what a model is asked."""
    return {"messages": [{"role": "user", "content": [{"text": text}]}]}


def records(*record_ids: str) -> list[dict[str, Any]]:
    """Return records of a manifest."""
    return [{"recordId": record_id, "modelInput": model_input()} for record_id in record_ids]


@dataclass
class Account:
    """A stand-in, what it tells, a client of it, and the AWS beside it."""

    aws: Aws
    bedrock: Bedrock
    client: "BedrockClient"
    changes: list[StateChange]
    request: dict[str, Any] = field(default_factory=dict[str, Any])

    def put_input(self, lines: Iterable[object], key: str = "batch-input/intent-1/manifest.jsonl") -> None:
        """Put a manifest of these lines; those that are no strings are put as JSON."""
        texts = [line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines]
        body = "".join(f"{text}\n" for text in texts).encode(errors="backslashreplace")
        self.aws.s3.put_object(Bucket=BUCKET, Key=key, Body=body)

    def create(self, **changes: Any) -> str:
        """Ask for a job, with changes to what is otherwise asked for; return its id."""
        return self.client.create_model_invocation_job(**{**self.request, **changes})["jobArn"].rpartition("/")[2]

    def keys(self, prefix: str = "batch-output/") -> list[str]:
        """Return the keys below a prefix."""
        page = self.aws.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix)
        return [entry.get("Key", "") for entry in page.get("Contents", [])]

    def lines(self, key: str) -> list[Any]:
        """Return an object's lines."""
        body = self.aws.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return [json.loads(line) for line in body.splitlines()]


NewAccount = Callable[..., Account]


@pytest.fixture(scope="module")
def aws() -> Generator[Aws]:
    """An AWS in memory: clients take their time to be made."""
    forget_own_account()
    with mock_aws():
        aws = Aws(None)
        aws.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        aws.iam.create_role(RoleName="batch-inference", AssumeRolePolicyDocument=document(TRUST))
        yield aws


@pytest.fixture(scope="module")
def session() -> boto3.Session:
    """A session of whoever asks for jobs."""
    return boto3.Session("test", "test", region_name=REGION)


@pytest.fixture
def new_account(aws: Aws, session: boto3.Session) -> Generator[NewAccount]:
    """Return a function that runs a stand-in, whose jobs go on only when they are told to."""
    aws.iam.update_assume_role_policy(RoleName="batch-inference", PolicyDocument=document(TRUST))
    with ExitStack() as running:

        def run(**choices: Any) -> Account:
            changes: list[StateChange] = []
            defaults: dict[str, Any] = {"event_source": "drill", "seconds": None, "limits": LIMITS}
            bedrock = running.enter_context(running_bedrock(aws, changed=changes.append, **{**defaults, **choices}))
            # What a client refuses by itself is for the stand-in to refuse here.
            config = Config(parameter_validation=False, proxies={}, retries={"max_attempts": 0})
            client = session.client("bedrock", endpoint_url=bedrock.url, config=config)
            request = {
                "jobName": "yorutsuke-local.intent-1",
                "roleArn": ROLE,
                "modelId": "amazon.nova-lite-v1:0",
                "inputDataConfig": {"s3InputDataConfig": {"s3Uri": INPUT}},
                "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": OUTPUT}},
            }
            account = Account(aws, bedrock, client, changes, request)
            account.put_input(records("a", "b", "c"))
            return account

        yield run


@pytest.fixture
def account(new_account: NewAccount) -> Account:
    """A stand-in of the usual limits."""
    return new_account()
