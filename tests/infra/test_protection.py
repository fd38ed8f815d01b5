"""Data that must outlive its stack."""

import pulumi

from local.deployer import infra_program, run_program
from yorutsuke_infra.stage_file import read_stage_file

from .conftest import Program, stage_config

DATA = {
    ("aws:s3/bucket:Bucket", "yorutsuke-images"),
    ("aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration", "yorutsuke-images"),
    ("aws:s3/bucketPolicy:BucketPolicy", "yorutsuke-images"),
    ("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock", "yorutsuke-images"),
    (
        "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
        "yorutsuke-images",
    ),
    ("aws:s3/bucketVersioning:BucketVersioning", "yorutsuke-images"),
    ("aws:dynamodb/table:Table", "yorutsuke-transactions"),
    ("aws:dynamodb/table:Table", "yorutsuke-batch-jobs"),
    ("aws:dynamodb/table:Table", "yorutsuke-pending-images"),
}


def _protected(**config: object) -> set[tuple[str, str]]:
    """Return type and name of each resource that is both protected and retained."""
    protected: set[tuple[str, str]] = set()

    def watch(given: pulumi.ResourceTransformationArgs) -> None:
        if given.opts.protect and given.opts.retain_on_delete:
            protected.add((given.type_, given.name))

    def declare() -> None:
        pulumi.runtime.register_stack_transformation(watch)
        infra_program()

    run_program(Program(), "prod", stage_config("prod", **config), declare)
    return protected


def test_a_protected_stages_bucket_and_tables_are_protected_and_retained() -> None:
    assert _protected(protectData=True) == DATA


def test_another_stages_data_goes_with_its_stack() -> None:
    assert _protected() == set()


def test_prod_is_a_protected_stage() -> None:
    assert read_stage_file("prod").protect_data
    assert not read_stage_file("dev").protect_data
