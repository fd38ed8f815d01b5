"""What the policies of a stage are like, beyond what they grant, and what they grant for one model or another."""

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
def test_no_wildcard_is_without_a_reason_beside_it(module: ModuleType) -> None:
    """On its line, or on the one above."""
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


def _of_bedrock(statements: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [
        (statement["Action"], statement["Resource"], statement.get("Condition"))
        for statement in statements
        if statement["Action"][0].startswith("bedrock:")
    ]


def test_a_job_is_created_of_a_model_in_the_region_or_of_a_profile_and_its_model_anywhere(run: RunProgram) -> None:
    program = run(modelIds=["amazon.nova-lite-v1:0", "apac.amazon.nova-pro-v1:0"])

    granted = _of_bedrock(policy(program.inputs("RolePolicy", "batch-orchestrator-data")["policy"]))

    assert granted == [(["bedrock:CreateModelInvocationJob"], [JOBS, LITE, PRO, PRO_ANYWHERE], None)]


def test_bedrock_may_run_a_profile_and_its_model_through_it_and_nothing_else(run: RunProgram) -> None:
    program = run(modelIds=["amazon.nova-lite-v1:0", "apac.amazon.nova-pro-v1:0"])

    granted = _of_bedrock(policy(program.inputs("RolePolicy", "batch-orchestrator-bedrock-data")["policy"]))

    through = {"StringEquals": {"bedrock:InferenceProfileArn": PRO}}
    assert granted == [
        (["bedrock:InvokeModel"], [PRO], None),
        (["bedrock:InvokeModel"], [PRO_ANYWHERE], through),
    ]


@pytest.mark.parametrize("geography", batch_models.GEOGRAPHIES)
def test_every_geography_makes_a_profile(run: RunProgram, geography: str) -> None:
    model_id = f"{geography}.amazon.nova-2-lite-v1:0"

    statements = policy(run(modelIds=[model_id]).inputs("RolePolicy", "batch-orchestrator-bedrock-data")["policy"])

    [profile, model] = [resources for _, resources, _ in _of_bedrock(statements)]
    assert profile[0].endswith(f":inference-profile/{model_id}")
    assert model[0].endswith("::foundation-model/amazon.nova-2-lite-v1:0")
