"""The commands that a user types in a clean clone, without an environment, zips or state."""

import re
import shutil
import subprocess

import pytest

from local.aws import Aws
from yorutsuke_infra.artifacts import this_machine
from yorutsuke_infra.build import build

from .project import ENVIRONMENT_FOLDER, Project


@pytest.fixture(scope="module")
def clone(empty_project: Project) -> Project:
    """The project as `git clone` leaves it. `pulumi install` and the build need a package index."""
    shutil.rmtree(empty_project.folder / "dist")
    del empty_project.environment["UV_OFFLINE"]
    # The AWS provider is already running, so that `pulumi install` downloads no plugin.
    empty_project.pulumi("install")
    return empty_project


def test_install_makes_the_locked_environment(clone: Project) -> None:
    python = clone.folder / ENVIRONMENT_FOLDER / "bin" / "python"
    listed = subprocess.run([python, "-m", "pip", "freeze"], capture_output=True, text=True, check=True).stdout
    installed = set(re.findall(r"^(\S+==\S+)$", re.sub(r"_", "-", listed.lower()), re.MULTILINE))
    locked = set(re.findall(r"^(\S+==\S+)", (clone.folder / "requirements" / "local.txt").read_text(), re.MULTILINE))

    assert installed <= locked
    assert "pulumi-aws" in {name.partition("==")[0] for name in installed}


def test_preview_with_invalid_credentials_reports_awss_error(clone: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    invalid = Aws(clone.emulator.endpoint, clone.emulator.ca_bundle, ("AKIAINVALID", "invalid"))
    monkeypatch.setattr(clone.aws, "sts", invalid.sts)
    clone.pulumi("stack", "init", "dev")

    printed = clone.pulumi("preview", "--stack", "dev", succeeds=False)

    assert "InvalidClientTokenId" in printed


def test_up_builds_and_deploys(clone: Project) -> None:
    clone.up()

    assert clone.aws.lambda_.get_function(FunctionName=clone.outputs()["functionName"])["Configuration"].get("Layers")


def test_up_never_deploys_a_stale_zip(clone: Project) -> None:
    zips = [clone.folder / "dist" / path.name for path in build(this_machine())]
    for path in zips:
        path.write_bytes(b"stale")

    with clone.new_operations() as operations:
        clone.up()

    assert operations == []
    assert b"stale" not in {path.read_bytes() for path in zips}
