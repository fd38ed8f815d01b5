"""What has to be there before something else is, and what has to stay the same resource, whatever a stage chooses."""

from dataclasses import dataclass, field
from typing import cast

import pulumi
import pytest

from local.deployer import infra_program, run_program
from yorutsuke_common.names import PROJECT

from .conftest import Program, stage_config

Name = tuple[str, str]
"""A resource's type, without its module, and its name, without the prefix that all names have."""


@dataclass
class Declared:
    """What the program says of each resource when it declares it: what that waits for, and what it is a part of."""

    names: dict[pulumi.Resource, Name] = field(default_factory=dict[pulumi.Resource, Name])
    waits_for: dict[Name, set[Name]] = field(default_factory=dict[Name, set[Name]])
    part_of: dict[Name, Name | None] = field(default_factory=dict[Name, Name | None])

    def note(self, args: pulumi.ResourceTransformationArgs) -> None:
        name = args.type_.rsplit(":", 1)[-1], args.name.removeprefix(f"{PROJECT}-")
        self.names[args.resource] = name
        waits_for = cast("list[pulumi.Resource]", args.opts.depends_on or [])
        self.waits_for[name] = {self.names[resource] for resource in waits_for}
        self.part_of[name] = self.names.get(args.opts.parent) if args.opts.parent else None


def _declared(trigger: str) -> Declared:
    declared = Declared()

    def declare() -> None:
        pulumi.runtime.register_stack_transformation(declared.note)
        infra_program()

    run_program(Program(), "dev", stage_config(trigger=trigger), declare)
    return declared


@pytest.mark.parametrize(
    ("trigger", "what", "waits_for"),
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
                # Bedrock takes its role on as soon as it has a job.
                ("RolePolicy", "batch-orchestrator-bedrock-data"),
            },
        ),
        ("sqs", ("BucketPolicy", "images"), {("BucketPublicAccessBlock", "images")}),
        ("sqs", ("BucketLifecycleConfiguration", "images"), {("BucketVersioning", "images")}),
    ],
)
def test_nothing_is_there_before_what_it_needs(trigger: str, what: Name, waits_for: set[Name]) -> None:
    assert _declared(trigger).waits_for[what] == waits_for


def test_another_trigger_changes_the_buckets_notification_and_makes_no_second_one() -> None:
    """A bucket has one. Of two resources, the one to be deleted would empty what the other has just written."""
    queued, straight = _declared("sqs").part_of, _declared("s3").part_of
    notification = ("BucketNotification", "batch-output")

    assert queued[notification] == straight[notification] == ("OutputNotification", "batch-output")
    assert {name: queued[name] for name in queued if name in straight} == {
        name: straight[name] for name in straight if name in queued
    }
