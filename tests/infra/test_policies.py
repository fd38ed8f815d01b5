"""The policies explain their wildcards, and grant the models that a stage configures."""

import ast
import inspect
import io
import tokenize
from types import ModuleType
from typing import Any

import pytest

from yorutsuke_infra import batch_models, batch_submission, policies

from .conftest import ACCOUNT, PARTITION, REGION, RunProgram, policy

JOBS = f"arn:{PARTITION}:bedrock:{REGION}:{ACCOUNT}:model-invocation-job/*"
LITE = f"arn:{PARTITION}:bedrock:{REGION}::foundation-model/amazon.nova-lite-v1:0"
PRO = f"arn:{PARTITION}:bedrock:{REGION}:{ACCOUNT}:inference-profile/apac.amazon.nova-pro-v1:0"
PRO_ANYWHERE = f"arn:{PARTITION}:bedrock:*::foundation-model/amazon.nova-pro-v1:0"


@pytest.mark.parametrize("module", [policies, batch_models, batch_submission])
def test_every_wildcard_has_a_comment(module: ModuleType) -> None:
    """The comment is on the same line or on the line above."""
    source = inspect.getsource(module)
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    reasons = {token.start[0] for token in tokens if token.type == tokenize.COMMENT}
    wildcards = {
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "*" in node.value
    }

    assert wildcards
    assert [line for line in sorted(wildcards) if reasons.isdisjoint({line, line - 1})] == []


def _bedrock_grants(statements: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [
        (statement["Action"], statement["Resource"], statement.get("Condition"))
        for statement in statements
        if statement["Action"][0].startswith("bedrock:")
    ]


def test_orchestrator_may_create_jobs_with_models_and_profiles(run: RunProgram) -> None:
    program = run(modelIds=["amazon.nova-lite-v1:0", "apac.amazon.nova-pro-v1:0"])

    granted = _bedrock_grants(policy(program.inputs("RolePolicy", "batch-orchestrator-data")["policy"]))

    assert granted == [(["bedrock:CreateModelInvocationJob"], [JOBS, LITE, PRO, PRO_ANYWHERE], None)]


def test_orchestrator_may_list_only_uploads(run: RunProgram) -> None:
    statements = policy(run().inputs("RolePolicy", "batch-orchestrator-data")["policy"])

    [listing] = [statement for statement in statements if "s3:ListBucket" in statement["Action"]]
    assert (listing["Action"], listing["Resource"]) == (["s3:ListBucket"], ["arn:Bucket:yorutsuke-images"])
    assert listing["Condition"] == {"StringLike": {"s3:prefix": "uploads/*"}}


def test_bedrock_role_has_exactly_the_documented_permissions(run: RunProgram) -> None:
    """Source: Amazon Bedrock user guide, "Create a custom service role for batch inference"."""
    program = run(modelIds=["amazon.nova-lite-v1:0", "apac.amazon.nova-pro-v1:0"])

    statements = policy(program.inputs("RolePolicy", "batch-orchestrator-bedrock-data")["policy"])

    bucket = "arn:Bucket:yorutsuke-images"
    assert [(statement["Action"], statement["Resource"]) for statement in statements] == [
        (["s3:ListBucket"], [bucket]),
        (["s3:GetObject", "s3:PutObject"], [f"{bucket}/batch-input/*", f"{bucket}/batch-output/*"]),
        (["bedrock:InvokeModel"], [PRO, PRO_ANYWHERE]),
    ]
    assert [statement for statement in statements if "Condition" in statement] == []


APPLICATION_PROFILE = f"arn:{PARTITION}:bedrock:{REGION}:{ACCOUNT}:application-inference-profile/abcdefgh1234"
EVERY_MODEL = f"arn:{PARTITION}:bedrock:*::foundation-model/*"
PROFILE_KEY = {"StringEquals": {"bedrock:InferenceProfileArn": [APPLICATION_PROFILE]}}


def test_orchestrator_may_create_jobs_with_application_profiles(run: RunProgram) -> None:
    program = run(modelIds=["amazon.nova-lite-v1:0", "apac.amazon.nova-pro-v1:0", APPLICATION_PROFILE])

    granted = _bedrock_grants(policy(program.inputs("RolePolicy", "batch-orchestrator-data")["policy"]))

    # The grant on every model includes the models of the other ids.
    assert granted == [(["bedrock:CreateModelInvocationJob"], [JOBS, PRO, APPLICATION_PROFILE, EVERY_MODEL], None)]


def test_bedrock_role_runs_models_through_application_profiles(run: RunProgram) -> None:
    program = run(modelIds=["apac.amazon.nova-pro-v1:0", APPLICATION_PROFILE])

    granted = _bedrock_grants(policy(program.inputs("RolePolicy", "batch-orchestrator-bedrock-data")["policy"]))

    assert granted == [
        (["bedrock:InvokeModel"], [PRO, APPLICATION_PROFILE, PRO_ANYWHERE], None),
        (["bedrock:InvokeModel"], [EVERY_MODEL], PROFILE_KEY),
    ]


def test_bedrock_role_without_profiles_runs_no_model(run: RunProgram) -> None:
    program = run(modelIds=["amazon.nova-lite-v1:0"])

    assert _bedrock_grants(policy(program.inputs("RolePolicy", "batch-orchestrator-bedrock-data")["policy"])) == []


SOURCE_REGIONS = {
    "apac": ["ap-northeast-1", "ap-east-2", "ap-southeast-7", "me-central-1"],
    "au": ["ap-southeast-2", "ap-southeast-4", "ap-southeast-6"],
    "ca": ["ca-central-1", "ca-west-1"],
    "eu": ["eu-central-1", "eu-north-1", "eu-south-2", "eu-west-3", "il-central-1"],
    "global": ["ap-northeast-1", "eu-west-1", "us-east-1", "sa-east-1", "af-south-1"],
    "jp": ["ap-northeast-1", "ap-northeast-3"],
    "us": ["us-east-1", "us-east-2", "us-west-1", "us-west-2", "ca-central-1", "ca-west-1"],
    "us-gov": ["us-gov-east-1", "us-gov-west-1"],
}
"""Documented source Regions of inference profiles.

Source: Amazon Bedrock user guide, "Supported Regions and models for inference profiles".
"""


def test_source_regions_cover_every_geography() -> None:
    assert [*SOURCE_REGIONS] == [*batch_models.GEOGRAPHIES]


@pytest.mark.parametrize("geography", SOURCE_REGIONS)
def test_model_id_with_geography_becomes_a_profile(run: RunProgram, geography: str) -> None:
    model_id = f"{geography}.amazon.nova-2-lite-v1:0"
    program = run(region=SOURCE_REGIONS[geography][0], modelIds=[model_id])

    statements = policy(program.inputs("RolePolicy", "batch-orchestrator-bedrock-data")["policy"])

    [(_, [profile, model], _)] = _bedrock_grants(statements)
    assert profile.endswith(f":inference-profile/{model_id}")
    assert model.endswith("::foundation-model/amazon.nova-2-lite-v1:0")


@pytest.mark.parametrize(("geography", "regions"), SOURCE_REGIONS.items())
def test_profile_is_accepted_in_its_source_regions(geography: str, regions: list[str]) -> None:
    assert [region for region in regions if not batch_models.is_callable(f"{geography}.model", region)] == []


@pytest.mark.parametrize(
    ("geography", "region"),
    [
        ("apac", "us-east-1"),
        ("apac", "me-south-1"),
        ("au", "ap-southeast-1"),
        ("ca", "us-east-1"),
        ("eu", "us-east-1"),
        ("jp", "ap-northeast-2"),
        ("us", "us-gov-west-1"),
        ("us", "eu-west-1"),
        ("us-gov", "us-west-2"),
    ],
)
def test_profile_is_refused_outside_its_source_regions(geography: str, region: str) -> None:
    assert not batch_models.is_callable(f"{geography}.model", region)


def test_foundation_model_is_accepted_in_every_region() -> None:
    assert batch_models.is_callable("amazon.nova-lite-v1:0", "us-gov-west-1")
