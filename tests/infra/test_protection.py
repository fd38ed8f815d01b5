"""A protected stage keeps its data when its stack is destroyed."""

import pulumi

from local.deployer import infra_program, run_program
from yorutsuke_common.names import PROJECT
from yorutsuke_infra.stage_file import read_stage_file

from .conftest import Program, stage_config
from .expected import RETAINED, Name


def _protected_resources(**config: object) -> set[Name]:
    """Return each resource that is both protected and retained."""
    protected: set[Name] = set()

    def record(args: pulumi.ResourceTransformationArgs) -> None:
        if args.opts.protect and args.opts.retain_on_delete:
            protected.add((args.type_.rsplit(":", 1)[-1], args.name.removeprefix(f"{PROJECT}-")))

    def declare() -> None:
        pulumi.runtime.register_stack_transformation(record)
        infra_program()

    run_program(Program(), "prod", stage_config("prod", **config), declare)
    return protected


def test_protected_stage_retains_its_data() -> None:
    assert _protected_resources(protectData=True) == RETAINED


def test_unprotected_stage_retains_no_resource() -> None:
    assert _protected_resources() == set()


def test_prod_is_protected_and_dev_is_not() -> None:
    assert read_stage_file("prod").protect_data
    assert not read_stage_file("dev").protect_data
