"""Resources depend on their prerequisites, and both triggers declare the same notification resource."""

from dataclasses import dataclass, field
from typing import cast

import pulumi
import pytest

from local.deployer import infra_program, run_program
from yorutsuke_common.names import PROJECT

from .conftest import Program, stage_config
from .expected import PREREQUISITES, SCHEDULE, Name


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

    run_program(Program(), "dev", stage_config(trigger=trigger, schedule=SCHEDULE), declare)
    return declared


@pytest.mark.parametrize("trigger", ["sqs", "s3"])
def test_resources_depend_on_their_prerequisites(trigger: str) -> None:
    dependencies = _declare(trigger).dependencies

    assert {resource: dependencies[resource] for resource in PREREQUISITES} == PREREQUISITES


def test_triggers_declare_the_same_resources() -> None:
    """S3 uses the earlier path for minutes after a change of the trigger, so both paths must remain."""
    assert _declare("sqs").parents == _declare("s3").parents
