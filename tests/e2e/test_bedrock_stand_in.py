"""The stand-in for Bedrock beside the emulator: over TLS, in roles that are enforced, and heard by the stage."""

import json
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from local.bedrock import Bedrock, Kind, Mix, Model, running_bedrock
from local.emulator import REGION, Emulator
from local.night import MODEL_ID, Night
from local.receipts import Receipt

from .conftest import own_receipts

if TYPE_CHECKING:
    from mypy_boto3_bedrock import BedrockClient

ROLE = "batch-inference"
ACCOUNT = "000000000000"
MODEL = Model(mix=Mix(fenced=0.1, cut_short=0.05, prose=0.05, impossible_date=0.05, error=0.05))
READ, WRITE, LIST = "s3:GetObject", "s3:PutObject", "s3:ListBucket"
REASONS = {
    Kind.CUT_SHORT: "TRUNCATED_OUTPUT",
    Kind.PROSE: "INVALID_AI_JSON",
    Kind.IMPOSSIBLE_DATE: "INVALID_TRANSACTION",
    Kind.ERROR: "MODEL_ERROR",
}


@dataclass(frozen=True)
class Account:
    """A stand-in beside a stage, a client of it, and what it was told of its jobs' states."""

    stage: Night
    bedrock: Bedrock
    client: "BedrockClient"
    states: list[str]

    def put_input(self, receipts: list[Receipt]) -> None:
        """Put a manifest with a record for each receipt's image."""
        asked = {"messages": [{"role": "user", "content": [{"text": "レシートを読み取ってください。"}]}]}
        records = [{"recordId": receipt.image_id, "modelInput": asked} for receipt in receipts]
        body = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        self.stage.aws.s3.put_object(
            Bucket=self.stage.outputs["imagesBucket"], Key="batch-input/intent-1/manifest.jsonl", Body=body.encode()
        )

    def request(self, **changes: Any) -> Any:
        """Return what a job is asked for with."""
        bucket = self.stage.outputs["imagesBucket"]
        return {
            "jobName": f"{self.stage.outputs['jobNamePrefix']}intent-1",
            "roleArn": f"arn:aws:iam::{ACCOUNT}:role/{ROLE}",
            "modelId": MODEL_ID,
            "inputDataConfig": {"s3InputDataConfig": {"s3Uri": f"s3://{bucket}/batch-input/intent-1/manifest.jsonl"}},
            "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": f"s3://{bucket}/batch-output/"}},
            **changes,
        }

    def create(self, **changes: Any) -> Night:
        """Ask for a job; return a night of it."""
        job_arn = self.client.create_model_invocation_job(**self.request(**changes))["jobArn"]
        return Night(self.stage.aws, self.stage.outputs, job_id=job_arn.rpartition("/")[2])

    def allow(self, *actions: str) -> None:
        """Let the role do this in the bucket of the stage, and nothing else."""
        bucket = f"arn:aws:s3:::{self.stage.outputs['imagesBucket']}"
        statement = {
            "Effect": "Allow",
            "Action": [*actions],
            "Resource": [bucket, f"{bucket}/*"],
            "Condition": {"StringEquals": {"aws:ResourceAccount": [ACCOUNT]}},
        }
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        self.stage.aws.iam.put_role_policy(RoleName=ROLE, PolicyName="data", PolicyDocument=document)

    def message(self, job_id: str) -> str:
        """Return what is said of how a job ended."""
        return self.client.get_model_invocation_job(jobIdentifier=job_id).get("message", "")


@pytest.fixture
def account(emulator: Emulator, stage: Night) -> Generator[Account]:
    """A stand-in whose jobs go on only when they are told to, and a role that may do what the user guide says."""
    trust = {
        "Effect": "Allow",
        "Principal": {"Service": "bedrock.amazonaws.com"},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"aws:SourceAccount": ACCOUNT}},
    }
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    stage.aws.iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument=document)
    states: list[str] = []
    with running_bedrock(
        stage.aws,
        event_source=stage.outputs["drillEventSource"],
        tls=emulator.server_tls(),
        seconds=None,
        model=MODEL,
        changed=lambda change: states.append(change.status),
    ) as bedrock:
        session = boto3.Session("test", "test", region_name=REGION)
        there: Any = {"verify": str(emulator.ca_bundle), "config": Config(proxies={})}
        client = session.client("bedrock", endpoint_url=bedrock.url, **there)
        account = Account(stage, bedrock, client, states)
        account.allow(READ, WRITE, LIST)
        yield account
    stage.aws.iam.delete_role_policy(RoleName=ROLE, PolicyName="data")
    stage.aws.iam.delete_role(RoleName=ROLE)


def _receipts(job_id: str, count: int) -> list[Receipt]:
    return [Receipt(f"{job_id}-{number:03}", {}) for number in range(count)]


@pytest.mark.usefixtures("quick_redelivery")
def test_a_jobs_output_is_taken_in_by_the_stage_and_agrees_with_its_manifest(account: Account) -> None:
    night = account.create()
    receipts = own_receipts(night, 150)
    account.put_input(receipts)
    night.seed_images(receipt.image_id for receipt in receipts)
    night.seed_job()

    assert account.bedrock.finish(night.job_id) == "Completed"
    night.wait_until_completed()
    night.wait_until(lambda job: "bedrockCounts" in job, "be reconciled with its manifest")

    kinds = {receipt.image_id: MODEL.kind_of(receipt.image_id) for receipt in receipts}
    bad = {image_id: REASONS[kind] for image_id, kind in kinds.items() if kind in REASONS}
    assert {*bad.values()} == {*REASONS.values()}
    assert {letter["imageId"]: letter["reason"] for letter in night.dead_letters()} == bad
    transactions = {transaction["imageId"] for transaction in night.transactions()}
    assert transactions == kinds.keys() - bad.keys()
    job = night.job()
    errors = sum(kind is Kind.ERROR for kind in kinds.values())
    assert (job["resultStats"]["successCount"], job["resultStats"]["failureCount"]) == (150 - len(bad), len(bad))
    assert (job["bedrockCounts"]["successRecordCount"], job["bedrockCounts"]["errorRecordCount"]) == (
        150 - errors,
        errors,
    )
    assert account.states == ["Submitted", "Validating", "Scheduled", "InProgress", "Completed"]


def test_a_job_that_fails_is_heard_of_by_the_stage(account: Account) -> None:
    night = account.create()
    account.put_input(_receipts(night.job_id, 99))
    night.seed_job()

    assert account.bedrock.finish(night.job_id) == "Failed"
    night.wait_until(lambda job: "bedrockStatus" in job, "have ended")

    message = (
        f"Batch job arn:aws:bedrock:{REGION}:{ACCOUNT}:model-invocation-job/{night.job_id} "
        "contains less records (99) than the required minimum of: 100"
    )
    job = night.job()
    assert (job["status"], job["bedrockStatus"], job["bedrockMessage"]) == ("FAILED", "Failed", message)
    assert account.message(night.job_id) == message


@pytest.mark.parametrize(
    ("allowed", "operation", "states"),
    [
        ((WRITE, LIST), "GetObject", ["Submitted", "Validating", "Failed"]),
        ((READ, WRITE), "ListObjectsV2", ["Submitted", "Validating", "Failed"]),
        ((READ, LIST), "PutObject", ["Submitted", "Validating", "Scheduled", "InProgress", "Failed"]),
    ],
)
def test_a_job_has_the_rights_of_its_role_and_no_more(
    account: Account, allowed: tuple[str, ...], operation: str, states: list[str]
) -> None:
    night = account.create()
    account.put_input(_receipts(night.job_id, 100))
    account.allow(*allowed)

    assert account.bedrock.finish(night.job_id) == "Failed"

    assert account.states == states
    [denied] = {READ, WRITE, LIST} - {*allowed}
    assert account.message(night.job_id) == (
        f"Batch job arn:aws:bedrock:{REGION}:{ACCOUNT}:model-invocation-job/{night.job_id} got no further in its role "
        f"arn:aws:iam::{ACCOUNT}:role/{ROLE}: {operation}: AccessDenied: User: arn:aws:sts::{ACCOUNT}:assumed-role/"
        f"bedrock-{night.job_id}/bedrock-{night.job_id} is not authorized to perform: {denied} because no "
        f"identity-based policy allows the {denied} action"
    )
    assert night.object_keys(f"batch-output/{night.job_id}/") == []


def test_no_role_is_left_of_those_that_were_acted_in(account: Account) -> None:
    account.bedrock.finish(account.create().job_id)

    roles = [role["RoleName"] for role in account.stage.aws.iam.list_roles()["Roles"]]

    assert [role for role in roles if role.startswith("bedrock-")] == []


def _refusal(ask: Callable[[], object]) -> str:
    with pytest.raises(ClientError) as refused:
        ask()
    return str(refused.value)


def test_a_request_is_refused_over_tls_as_bedrock_would(account: Account) -> None:
    job_id = account.create(clientRequestToken="intent-1").job_id
    create = account.client.create_model_invocation_job

    assert account.create(clientRequestToken="intent-1").job_id == job_id
    assert _refusal(lambda: create(**account.request(clientRequestToken="intent-1", jobName="another"))) == (
        "An error occurred (ConflictException) when calling the CreateModelInvocationJob operation: clientRequestToken "
        f"'intent-1' has made job arn:aws:bedrock:{REGION}:{ACCOUNT}:model-invocation-job/{job_id} of other "
        "parameters: another job takes another token."
    )
    nobody = f"arn:aws:iam::{ACCOUNT}:role/nobody"
    assert _refusal(lambda: create(**account.request(roleArn=nobody))) == (
        "An error occurred (ValidationException) when calling the CreateModelInvocationJob operation: "
        f"roleArn '{nobody}' is of no role that exists."
    )
    lambdas = account.stage.outputs["functionRoleArn"]
    assert _refusal(lambda: create(**account.request(roleArn=lambdas))) == (
        "An error occurred (ValidationException) when calling the CreateModelInvocationJob operation: "
        f"roleArn '{lambdas}' is of a role that does not trust bedrock.amazonaws.com with a job of this account."
    )
    assert _refusal(lambda: create(**account.request(jobName="intent_1"))) == (
        "An error occurred (ValidationException) when calling the CreateModelInvocationJob operation: 1 validation "
        "error detected: Value 'intent_1' at 'jobName' failed to satisfy constraint: Member must satisfy regular "
        r"expression pattern: [a-zA-Z0-9]{1,63}(-*[a-zA-Z0-9\+\-\.]){0,63}"
    )
