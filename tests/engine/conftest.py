"""Fixtures of projects that Pulumi's real engine deploys to the emulator."""

from collections.abc import Generator

import pytest

from tests.e2e.conftest import emulator_with_artifacts

from .project import Project, make_environment, running_project


@pytest.fixture(scope="module")
def empty_project(tmp_path_factory: pytest.TempPathFactory) -> Generator[Project]:
    """A copy of the project without an environment of its own, and an empty emulator."""
    with (
        emulator_with_artifacts() as emulator,
        running_project(tmp_path_factory.mktemp("project"), emulator) as project,
    ):
        yield project


@pytest.fixture(scope="module")
def project(empty_project: Project) -> Project:
    """A copy of the project that can be deployed as the local stage."""
    make_environment(empty_project.folder)
    return empty_project


@pytest.fixture(scope="module")
def deployed(project: Project) -> Project:
    """A copy of the project, deployed as the local stage. Each test leaves the stage as it found it."""
    project.up()
    return project
