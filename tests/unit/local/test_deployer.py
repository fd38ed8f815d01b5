"""The local deployer creates the resources that it supports, and refuses all others by name."""

from typing import Any

import pulumi_aws
import pytest
from botocore.stub import Stubber
from pulumi.runtime import MockCallArgs, MockResourceArgs

from local.aws import Aws
from local.deployer import LocalDeployer, run_program
from local.errors import RefusedResourceError, UnknownResourceError
from local.inputs import Inputs
from local.resources import CREATORS


@pytest.fixture
def deployer() -> LocalDeployer:
    """A deployer with an unreachable AWS. It refuses a resource before it calls AWS."""
    return LocalDeployer(Aws("http://127.0.0.1:9"), {})


def test_unknown_resource_type_is_refused_by_name(deployer: LocalDeployer) -> None:
    args = MockResourceArgs("aws:kinesis/stream:Stream", "clicks", {})

    with pytest.raises(UnknownResourceError) as error:
        deployer.new_resource(args)

    assert str(error.value) == (
        "the local deployer does not support the resource type 'aws:kinesis/stream:Stream' of 'clicks'. "
        "Add a creator for it to local/resources.py."
    )


def test_program_with_unknown_resource_type_is_refused(deployer: LocalDeployer) -> None:
    def declare() -> None:
        pulumi_aws.kinesis.Stream("clicks", shard_count=1)

    with pytest.raises(UnknownResourceError, match="'aws:kinesis/stream:Stream'"):
        run_program(deployer, "local", {}, declare)


def test_unknown_provider_function_is_refused_by_name(deployer: LocalDeployer) -> None:
    with pytest.raises(UnknownResourceError, match="provider function 'aws:index/getRegions:getRegions'"):
        deployer.call(MockCallArgs("aws:index/getRegions:getRegions", {}, ""))


def test_component_does_not_create_a_resource(deployer: LocalDeployer) -> None:
    args = MockResourceArgs("yorutsuke:storage:Storage", "storage", {"a": 1})

    assert deployer.new_resource(args) == (None, {"a": 1})


@pytest.mark.parametrize(
    "values",
    [
        {"name": "queue", "fifoQueue": True},
        {"name": "queue", "rules": [{"id": "1", "fifoQueue": True}]},
        {"name": "queue", "nested": {"id": "1", "fifoQueue": True}},
    ],
)
def test_unused_input_is_refused_at_any_depth(values: dict[str, Any]) -> None:
    inputs = Inputs("aws:sqs/queue:Queue", "q", values)
    inputs.take("name")
    for rule in inputs.take_each("rules"):
        rule.take("id")
    if "nested" in values:
        inputs.take_nested("nested").take("id")

    with pytest.raises(UnknownResourceError, match=r"aws:sqs/queue:Queue \(q\).* does not support: fifoQueue"):
        inputs.require_all_taken()


def test_missing_input_is_refused_by_name() -> None:
    with pytest.raises(UnknownResourceError, match="does not set the input 'name'"):
        Inputs("aws:sqs/queue:Queue", "q", {}).take("name")


def test_deployer_adds_default_tags_to_resource_tags() -> None:
    aws = Aws(None)
    inputs = {"name": "reader", "assumeRolePolicy": "{}", "tags": {"stage": "own"}}
    request = {
        "RoleName": "reader",
        "AssumeRolePolicyDocument": "{}",
        "Tags": [{"Key": "stage", "Value": "own"}, {"Key": "project", "Value": "yorutsuke"}],
    }
    role = {"Path": "/", "RoleName": "reader", "RoleId": "A" * 16, "Arn": "arn:aws:iam::1:role/reader", "CreateDate": 0}

    with Stubber(aws.iam) as iam:
        iam.add_response("create_role", {"Role": role}, request)
        deployer = LocalDeployer(aws, {"stage": "local", "project": "yorutsuke"})
        deployer.new_resource(MockResourceArgs("aws:iam/role:Role", "reader", inputs))


def test_deployer_refuses_a_creator_that_ignores_tags(deployer: LocalDeployer, monkeypatch: pytest.MonkeyPatch) -> None:
    def create(_: Aws, inputs: Inputs) -> tuple[str, dict[str, Any]]:
        return inputs.take("name"), {}

    monkeypatch.setitem(CREATORS, "aws:sqs/queue:Queue", create)

    with pytest.raises(UnknownResourceError, match="inputs that the local deployer does not support: tags"):
        deployer.new_resource(MockResourceArgs("aws:sqs/queue:Queue", "queue", {"name": "queue"}))


def test_invalid_dashboard_is_refused_with_the_validation_message() -> None:
    aws = Aws(None)
    args = MockResourceArgs(
        "aws:cloudwatch/dashboard:Dashboard", "wall", {"dashboardName": "wall", "dashboardBody": "{}"}
    )
    problem = {"DataPath": "/widgets", "Message": "Should have required property 'widgets'"}

    with Stubber(aws.cloudwatch) as cloudwatch:
        cloudwatch.add_response("put_dashboard", {"DashboardValidationMessages": [problem]})
        with pytest.raises(RefusedResourceError) as error:
            LocalDeployer(aws, {}).new_resource(args)

    assert str(error.value) == (
        "CloudWatch cannot show dashboard 'wall' completely (/widgets: Should have required property 'widgets'). "
        "Correct its body in the Pulumi program."
    )
