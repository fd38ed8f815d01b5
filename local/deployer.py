"""The local deployer: runs the Pulumi program and creates each resource it declares on the emulator.

`pulumi.runtime`'s mocks receive every registered resource with its inputs resolved, after the resources that it depends
on. Unlike Pulumi's engine, the deployer has no state, diff or update. It only deploys to an empty emulator.
"""

import contextvars
import json
import keyword
import runpy
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

import pulumi
from pulumi.runtime import MockCallArgs, MockResourceArgs

from yorutsuke_common.names import LOCAL_STAGE, PROJECT
from yorutsuke_infra.config import CONFIG_KEY, TAGS_KEY
from yorutsuke_infra.stage_file import ROOT, read_stage_values

from .aws import Aws
from .errors import UnknownResourceError
from .inputs import Inputs, plain
from .resources import CREATORS

if TYPE_CHECKING:
    from pulumi.runtime.stack import Stack

PROGRAM = ROOT / "infra" / "__main__.py"
COMPONENT_PREFIX = f"{PROJECT}:"


class LocalDeployer(pulumi.runtime.Mocks):
    """Creates the resources that the program registers and answers its calls, in place of Pulumi's engine.

    `default_tags` are the provider's. It adds them to every resource with tags.
    """

    def __init__(self, aws: Aws, default_tags: Mapping[str, str]) -> None:
        self._aws = aws
        self._default_tags = default_tags
        # Pulumi registers resources from several threads. Creating one at a time keeps the emulator's log readable.
        self._lock = threading.Lock()

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        """Create one resource and return its id and outputs. Raises UnknownResourceError."""
        if args.typ.startswith(COMPONENT_PREFIX):
            return None, cast("dict[str, Any]", args.inputs)
        creator = CREATORS.get(args.typ)
        if creator is None:
            raise UnknownResourceError(
                f"the local deployer does not support the resource type {args.typ!r} of {args.name!r}. Add a creator "
                "for it to local/resources.py."
            )
        values = cast("dict[str, Any]", args.inputs)
        tags = {"tags": {**self._default_tags, **values.get("tags", {})}} if has_tags(args.typ) else {}
        inputs = Inputs(args.typ, args.name, plain({**values, **tags}))
        with self._lock:
            identifier, outputs = creator(self._aws, inputs)
            inputs.require_all_taken()
        return identifier, {**values, **outputs}

    def call(self, args: MockCallArgs) -> tuple[dict[Any, Any], list[tuple[str, str]]]:
        """Answer a provider function. Raises UnknownResourceError."""
        return answer_call(self._aws, args.token), []


def answer_call(aws: Aws, token: str) -> dict[str, Any]:
    """Return the result of a provider function by its token. Raises UnknownResourceError."""
    match token:
        case "aws:index/getCallerIdentity:getCallerIdentity":
            identity = aws.sts.get_caller_identity()
            return {"accountId": identity["Account"], "arn": identity["Arn"], "userId": identity["UserId"]}
        case "aws:index/getRegion:getRegion":
            return {"region": aws.sts.meta.region_name}
        case "aws:index/getPartition:getPartition":
            return {"partition": aws.sts.meta.partition}
        case unknown:
            raise UnknownResourceError(
                f"the local deployer does not support the provider function {unknown!r}. Add it to local/deployer.py."
            )


def has_tags(resource_type: str) -> bool:
    """Return whether a resource type, such as aws:sqs/queue:Queue, has tags in the provider."""
    _, module, name = resource_type.split(":")
    service = module.split("/")[0]
    package = import_module(f"pulumi_aws.{service}_" if keyword.iskeyword(service) else f"pulumi_aws.{service}")
    return hasattr(getattr(package, name), "tags")


def deploy(aws: Aws, **choices: str | int | list[str]) -> dict[str, str]:
    """Deploy the program of `infra/` as the stage `local` and return its outputs.

    `choices` override those of the stage's file. Raises LocalStageError.
    """
    key = f"{PROJECT}:{CONFIG_KEY}"
    values = read_stage_values(LOCAL_STAGE)
    values[key] = {**cast("dict[str, object]", values[key]), **choices}
    config = {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
    default_tags = cast("dict[str, dict[str, str]]", values[TAGS_KEY])["tags"]
    return run_program(LocalDeployer(aws, default_tags), LOCAL_STAGE, config)


def infra_program() -> None:
    """Declare everything that `infra/` declares."""
    runpy.run_path(str(PROGRAM), run_name="__main__")


def run_program(
    mocks: pulumi.runtime.Mocks,
    stage: str,
    config: Mapping[str, str],
    declare: Callable[[], object] = infra_program,
    secrets: Sequence[str] = (),
) -> dict[str, str]:
    """Run a Pulumi program against mocks and return its stack outputs. `secrets` are the keys of secret settings.

    Each run has its own context, because Pulumi stores the stack and its transformations there.
    """
    return contextvars.Context().run(_run_program, mocks, stage, config, declare, secrets)


def _run_program(
    mocks: pulumi.runtime.Mocks,
    stage: str,
    config: Mapping[str, str],
    declare: Callable[[], object],
    secrets: Sequence[str],
) -> dict[str, str]:
    pulumi.runtime.set_mocks(mocks, project=PROJECT, stack=stage)
    pulumi.runtime.set_all_config(dict(config), [*secrets])
    outputs: dict[str, str] = {}

    @pulumi.runtime.test
    def program() -> pulumi.Output[None]:
        declare()
        stack = cast("Stack", pulumi.runtime.get_root_resource())
        return pulumi.Output.from_input(stack.outputs).apply(outputs.update)

    program()
    return outputs
