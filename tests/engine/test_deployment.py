"""The first deployment of a stage, and deployments that have nothing to change."""

import re
import time

import pytest

from tests.infra.expected import PREREQUISITES

from .project import STAGE, Project, resource_name

DELAYED = {"RolePolicy", "TopicPolicy", "QueuePolicy", "LogGroup", "BucketPublicAccessBlock", "BucketVersioning"}
"""Types of prerequisites that are created late, so that a resource that does not wait for one of them overtakes it."""
DELAY_SECONDS = 0.5


@pytest.fixture(scope="module")
def first_preview(project: Project) -> str:
    """The output of a preview of the empty stack."""
    return project.pulumi("preview", "--stack", STAGE)


@pytest.fixture(scope="module")
def deployed(project: Project, first_preview: str) -> Project:
    """The project, deployed with prerequisites that take long."""
    assert first_preview

    def delay(operation: tuple[str, str]) -> None:
        if resource_name(operation[1])[0] in DELAYED:
            time.sleep(DELAY_SECONDS)

    project.observe = delay
    project.up()
    project.observe = lambda _: None
    return project


def test_preview_of_an_empty_stack_has_unknown_values(project: Project, first_preview: str) -> None:
    assert re.search(r"queueUrl\s*: \[unknown\]", first_preview)
    assert re.search(r'transactionsTable\s*: "yorutsuke-transactions-local"', first_preview)
    assert re.search(r"\+ \d+ to create", first_preview)
    assert project.aws.dynamodb.list_tables()["TableNames"] == []


def test_up_creates_resources_after_their_prerequisites(deployed: Project) -> None:
    created = [resource_name(urn) for operation, urn in deployed.operations if operation == "create"]

    overtaken = [
        (resource, prerequisite)
        for resource, prerequisites in PREREQUISITES.items()
        for prerequisite in prerequisites
        if created.index(resource) < created.index(prerequisite)
    ]
    assert overtaken == []


def test_second_up_changes_nothing(deployed: Project) -> None:
    with deployed.new_operations() as operations:
        deployed.up("--expect-no-changes")

    assert operations == []


def test_refresh_finds_no_change(deployed: Project) -> None:
    deployed.pulumi("refresh", "--yes", "--expect-no-changes", "--stack", STAGE)


def test_refresh_finds_a_change_made_elsewhere(deployed: Project) -> None:
    queue = deployed.outputs()["queueUrl"]
    deployed.aws.sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": "7"})

    deployed.pulumi("refresh", "--yes", "--expect-no-changes", "--stack", STAGE, succeeds=False)
    with deployed.new_operations() as operations:
        deployed.up()

    assert operations == [("update", "Queue", "batch-output")]
    attributes = deployed.aws.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["VisibilityTimeout"])
    assert attributes["Attributes"] == {"VisibilityTimeout": "360"}
