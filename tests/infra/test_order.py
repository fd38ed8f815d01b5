"""Resources depend on their prerequisites, and both triggers declare the same notification resource."""

from dataclasses import dataclass, field
from typing import cast

import pulumi
import pytest

from local.deployer import infra_program, run_program
from yorutsuke_common.names import PROJECT

from .conftest import Program, stage_config

Name = tuple[str, str]
"""The type of a resource without its module, and its name without the prefix `yorutsuke-`."""


@dataclass
class DeclaredResources:
    """The dependencies and the parent of each resource that the program declares."""

    names: dict[pulumi.Resource, Name] = field(default_factory=dict[pulumi.Resource, Name])
    dependencies: dict[Name, set[Name]] = field(default_factory=dict[Name, set[Name]])
    parents: dict[Name, Name | None] = field(default_factory=dict[Name, Name | None])

    def record(self, args: pulumi.ResourceTransformationArgs) -> None:
        name = args.type_.rsplit(":", 1)[-1], args.name.removeprefix(f"{PROJECT}-")
        self.names[args.resource] = name
        dependencies = cast("list[pulumi.Resource]", args.opts.depends_on or [])
        self.dependencies[name] = {self.names[resource] for resource in dependencies}
        self.parents[name] = self.names.get(args.opts.parent) if args.opts.parent else None


def _declare(trigger: str) -> DeclaredResources:
    declared = DeclaredResources()

    def declare() -> None:
        pulumi.runtime.register_stack_transformation(declared.record)
        infra_program()

    run_program(Program(), "dev", stage_config(trigger=trigger), declare)
    return declared


@pytest.mark.parametrize(
    ("trigger", "resource", "dependencies"),
    [
        (
            "sqs",
            ("BucketNotification", "batch-output"),
            {("TopicPolicy", "batch-output"), ("TopicSubscription", "batch-output")},
        ),
        (
            "s3",
            ("BucketNotification", "batch-output"),
            {("Permission", "batch-output"), ("FunctionEventInvokeConfig", "batch-output")},
        ),
        (
            "sqs",
            ("TopicSubscription", "batch-output"),
            {("QueuePolicy", "batch-output"), ("QueuePolicy", "batch-output-dlq")},
        ),
        (
            "sqs",
            ("EventTarget", "batch-output-failed-jobs"),
            {("QueuePolicy", "batch-output"), ("QueuePolicy", "batch-output-dlq")},
        ),
        (
            "s3",
            ("Function", "batch-result-handler"),
            {
                ("LogGroup", "batch-result-handler"),
                ("RolePolicy", "batch-result-handler-log"),
                ("RolePolicy", "batch-result-handler-data"),
                ("RolePolicy", "batch-result-handler-queue"),
                ("RolePolicy", "batch-result-handler-on-failure"),
            },
        ),
        (
            "sqs",
            ("Function", "batch-orchestrator"),
            {
                ("LogGroup", "batch-orchestrator"),
                ("RolePolicy", "batch-orchestrator-log"),
                ("RolePolicy", "batch-orchestrator-data"),
                ("RolePolicy", "batch-orchestrator-on-failure"),
                # Bedrock assumes its role when the function submits a job.
                ("RolePolicy", "batch-orchestrator-bedrock-data"),
            },
        ),
        ("sqs", ("BucketPolicy", "images"), {("BucketPublicAccessBlock", "images")}),
        ("sqs", ("BucketLifecycleConfiguration", "images"), {("BucketVersioning", "images")}),
    ],
)
def test_resources_depend_on_their_prerequisites(trigger: str, resource: Name, dependencies: set[Name]) -> None:
    assert _declare(trigger).dependencies[resource] == dependencies


def test_both_triggers_declare_the_same_notification_resource() -> None:
    """A bucket has one notification configuration. Deleting a second resource would clear that of the first."""
    queued, direct = _declare("sqs").parents, _declare("s3").parents
    notification = ("BucketNotification", "batch-output")

    assert queued[notification] == direct[notification] == ("OutputNotification", "batch-output")
    assert {name: queued[name] for name in queued if name in direct} == {
        name: direct[name] for name in direct if name in queued
    }
