"""Fixtures that run the Pulumi program for a stage and record its resources without a deployment."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, cast

import pulumi
import pytest
from pulumi.runtime import MockCallArgs, MockResourceArgs

from local.deployer import run_program
from yorutsuke_common.names import PROJECT
from yorutsuke_infra.config import stage_tags

ACCOUNT = "123456789012"
REGION = "ap-northeast-1"
PARTITION = "aws-test"


@dataclass
class Program(pulumi.runtime.Mocks):
    """The resources that a run of the program registered, with resolved inputs."""

    resources: list[MockResourceArgs] = field(default_factory=list[MockResourceArgs])

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        self.resources.append(args)
        arn = f"arn:{args.typ.rsplit(':', 1)[-1]}:{args.name}"
        return f"{args.name}-id", {"arn": arn, "url": f"https://{args.name}", **cast("dict[str, Any]", args.inputs)}

    def call(self, args: MockCallArgs) -> tuple[dict[Any, Any], list[tuple[str, str]]]:
        answers = {
            "getCallerIdentity": {"accountId": ACCOUNT},
            "getRegion": {"region": REGION},
            "getPartition": {"partition": PARTITION},
        }
        return answers[args.token.rsplit(":", 1)[-1]], []

    def inputs(self, resource_type: str, name: str) -> dict[str, Any]:
        """Return the inputs of one resource.

        Args:
            resource_type: The type without its module, such as Bucket.
            name: The name without the prefix `yorutsuke-`, such as images.
        """
        [found] = [
            cast("dict[str, Any]", resource.inputs)
            for resource in self.resources
            if resource.typ.endswith(f":{resource_type}") and resource.name == f"{PROJECT}-{name}"
        ]
        return found

    def names(self, resource_type: str) -> list[str]:
        """Return the names of the resources of a type, such as Bucket, without the prefix `yorutsuke-`."""
        return [
            resource.name.removeprefix(f"{PROJECT}-")
            for resource in self.resources
            if resource.typ.endswith(f":{resource_type}")
        ]

    def types(self) -> set[str]:
        """Return the provider's resource types that the program uses."""
        return {resource.typ for resource in self.resources if resource.typ.startswith("aws:")}


def stage_config(stage: str = "dev", **settings: object) -> dict[str, str]:
    """Return the configuration of a stage as Pulumi's engine passes it, with these settings in `yorutsuke:stage`."""
    return {
        "aws:region": REGION,
        "aws:defaultTags": json.dumps({"tags": stage_tags(stage)}),
        "yorutsuke:stage": json.dumps(settings),
    }


RunProgram = Callable[..., Program]


@pytest.fixture
def run() -> RunProgram:
    """A function that runs the program for a stage with these settings. `secret` marks the settings as a secret."""

    def run_stage(stage: str = "dev", *, region: str = REGION, secret: bool = False, **settings: object) -> Program:
        config = {**stage_config(stage, **settings), "aws:region": region}
        return _program(stage, tuple(config.items()), ("yorutsuke:stage",) if secret else ())

    return run_stage


@cache
def _program(stage: str, config: tuple[tuple[str, str], ...], secrets: tuple[str, ...]) -> Program:
    """Run the program once per configuration: a run takes a third of a second, and tests only read its result."""
    program = Program()
    run_program(program, stage, dict(config), secrets=secrets)
    return program


def policy(document: str) -> list[dict[str, Any]]:
    """Return the statements of a policy document."""
    return json.loads(document)["Statement"]
