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


def test_bedrock_may_run_models_only_through_profiles(run: RunProgram) -> None:
    program = run(modelIds=["amazon.nova-lite-v1:0", "apac.amazon.nova-pro-v1:0"])

    granted = _bedrock_grants(policy(program.inputs("RolePolicy", "batch-orchestrator-bedrock-data")["policy"]))

    through = {"StringEquals": {"bedrock:InferenceProfileArn": PRO}}
    assert granted == [
        (["bedrock:InvokeModel"], [PRO], None),
        (["bedrock:InvokeModel"], [PRO_ANYWHERE], through),
    ]


@pytest.mark.parametrize("geography", batch_models.GEOGRAPHIES)
def test_model_id_with_geography_becomes_a_profile(run: RunProgram, geography: str) -> None:
    model_id = f"{geography}.amazon.nova-2-lite-v1:0"

    statements = policy(run(modelIds=[model_id]).inputs("RolePolicy", "batch-orchestrator-bedrock-data")["policy"])

    [profile, model] = [resources for _, resources, _ in _bedrock_grants(statements)]
    assert profile[0].endswith(f":inference-profile/{model_id}")
    assert model[0].endswith("::foundation-model/amazon.nova-2-lite-v1:0")
