"""The destruction of a stage: with protection, without protection in the state, and without any protection."""

from collections.abc import Generator

import pytest

from tests.infra.expected import RETAINED

from .project import STAGE, Project, resource_name

OBJECT = "uploads/user-1/img-1.png"


@pytest.fixture
def protected(project: Project) -> Generator[Project]:
    """The project with a protected local stage that holds an image. The fixture destroys the stage with its data."""
    with project.set("protectData: true"):
        project.up()
        project.aws.s3.put_object(Bucket=project.outputs()["imagesBucket"], Key=OBJECT, Body=b"image")
        yield project
    project.up()
    project.destroy()


def test_destroy_of_a_protected_stage_deletes_nothing(protected: Project) -> None:
    with protected.new_operations() as operations:
        printed = protected.destroy(succeeds=False)
        # A preview would refuse the deletion of any protected resource. Without it, others could be deleted first.
        protected.destroy("--skip-preview", succeeds=False)

    assert operations == []
    assert "is protected" in printed
    kept = {resource_name(each["urn"]) for each in protected.resources() if each.get("protect")}
    assert kept - {("Dashboard", "jobs"), ("Dashboard", "yorutsuke")} == RETAINED
    protected.up("--expect-no-changes")


def test_unprotected_state_keeps_data_that_import_takes_back(protected: Project) -> None:
    bucket = protected.outputs()["imagesBucket"]
    protected.pulumi("state", "unprotect", "--all", "--yes", "--stack", STAGE)
    with protected.new_operations() as operations:
        protected.destroy()
    assert RETAINED.isdisjoint({(kind, name) for _, kind, name in operations})
    assert protected.aws.s3.get_object(Bucket=bucket, Key=OBJECT)["Body"].read() == b"image"

    protected.take_back(RETAINED)
    with protected.new_operations() as operations:
        protected.up()
    again = {(operation, kind, name) for operation, kind, name in operations if (kind, name) in RETAINED}
    assert {operation for operation, *_ in again} <= {"update"}
    assert protected.aws.s3.get_object(Bucket=bucket, Key=OBJECT)["Body"].read() == b"image"
    protected.up("--expect-no-changes")


def test_destroy_without_protection_deletes_everything_but_layers(project: Project) -> None:
    project.up()
    layer = project.outputs()["commonLayerArn"].split(":")[-2]

    project.destroy()

    assert project.resources() == []
    assert project.aws.dynamodb.list_tables()["TableNames"] == []
    assert project.aws.s3.list_buckets()["Buckets"] == []
    assert project.aws.sqs.list_queues().get("QueueUrls", []) == []
    assert project.aws.lambda_.list_layer_versions(LayerName=layer)["LayerVersions"] != []
