"""A protected stage keeps its data when its stack is destroyed."""

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


def _protected_resources(**config: object) -> set[tuple[str, str]]:
    """Return the type and the name of each resource that is both protected and retained."""
    protected: set[tuple[str, str]] = set()

    def record(args: pulumi.ResourceTransformationArgs) -> None:
        if args.opts.protect and args.opts.retain_on_delete:
            protected.add((args.type_, args.name))

    def declare() -> None:
        pulumi.runtime.register_stack_transformation(record)
        infra_program()

    run_program(Program(), "prod", stage_config("prod", **config), declare)
    return protected


def test_protected_stage_retains_bucket_and_tables() -> None:
    assert _protected_resources(protectData=True) == DATA


def test_unprotected_stage_retains_no_resource() -> None:
    assert _protected_resources() == set()


def test_prod_is_protected_and_dev_is_not() -> None:
    assert read_stage_file("prod").protect_data
    assert not read_stage_file("dev").protect_data
