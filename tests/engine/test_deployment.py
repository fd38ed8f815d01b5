"""The first deployment of a stage, and deployments that have nothing to change."""

import re

import pytest

from tests.infra.expected import PREREQUISITES, Name

from .project import STAGE, Project, resource_name


@pytest.fixture(scope="module")
def first_preview(project: Project) -> str:
    """The output of a preview of the empty stack."""
    return project.pulumi("preview", "--stack", STAGE)


@pytest.fixture(scope="module")
def deployed(project: Project, first_preview: str) -> Project:
    """The project, deployed after the preview."""
    assert first_preview

    project.up()
    return project


def test_preview_of_an_empty_stack_has_unknown_values(project: Project, first_preview: str) -> None:
    assert re.search(r"queueUrl\s*: \[unknown\]", first_preview)
    assert re.search(r'transactionsTable\s*: "yorutsuke-transactions-local"', first_preview)
    assert re.search(r"\+ \d+ to create", first_preview)
    assert project.aws.dynamodb.list_tables()["TableNames"] == []


def _dependencies(project: Project) -> dict[Name, set[Name]]:
    """Return all resources that the engine creates before each resource, from the state."""
    direct = {each["urn"]: {*each.get("dependencies", [])} for each in project.resources()}

    def reached(urn: str) -> set[str]:
        return direct[urn].union(*(reached(dependency) for dependency in direct[urn]))

    return {resource_name(urn): {*map(resource_name, reached(urn))} for urn in direct}


def test_engine_orders_resources_after_their_prerequisites(deployed: Project) -> None:
    found = _dependencies(deployed)
    created = [resource_name(urn) for operation, urn in deployed.operations if operation == "create"]
    pairs = [(resource, needed) for resource in PREREQUISITES for needed in PREREQUISITES[resource]]

    assert [(resource, needed) for resource, needed in pairs if needed not in found[resource]] == []
    assert [(resource, needed) for resource, needed in pairs if created.index(resource) < created.index(needed)] == []


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
