"""A copy of the project, which the Pulumi CLI deploys to an emulator through the stand-in for the AWS provider."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Container, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.aws import Aws
from local.emulator import Emulator
from local.provider.server import Operation, running_provider
from tests.infra.expected import Name
from yorutsuke_infra.artifacts import DIST
from yorutsuke_infra.stage_file import ROOT

SOURCES = (
    "Pulumi.yaml",
    "Pulumi.dev.yaml",
    "Pulumi.local.yaml",
    "infra",
    "layer",
    "functions",
    "requirements",
)
ENVIRONMENT_FOLDER = ".venv"
STAGE = "local"
STAGE_FILE = f"Pulumi.{STAGE}.yaml"
SCHEDULE = "    schedule: rate(365 days)\n"
"""The setting that is added to the file of the local stage, so that the engine deploys every type of resource."""
SECONDS = 300
"""Timeout of one command of the CLI, in seconds. The longest, `pulumi install`, takes a minute."""


@dataclass
class Project:
    """A copy of the project.

    Attributes:
        folder: The folder of the copy.
        emulator: The emulator.
        aws: Its clients.
        environment: The environment variables of the CLI.
        operations: The operations on AWS so far.
        observe: A function that the provider calls before each operation.
    """

    folder: Path
    emulator: Emulator
    aws: Aws
    environment: dict[str, str]
    operations: list[Operation] = field(default_factory=list[Operation])
    observe: Callable[[Operation], None] = lambda _: None

    def record(self, operation: Operation) -> None:
        """Record an operation when `observe` has returned."""
        self.observe(operation)
        self.operations.append(operation)

    def pulumi(self, *arguments: str, succeeds: bool = True) -> str:
        """Run the CLI and return what it prints. Raise AssertionError if it does not succeed, or fail, as expected."""
        process = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert (process.returncode == 0) == succeeds, process.stdout
        return process.stdout

    def command(self, *arguments: str) -> list[str]:
        """Return a command line of the CLI."""
        return ["pulumi", "--color", "never", "--non-interactive", *arguments]

    def up(self, *arguments: str, succeeds: bool = True) -> str:
        """Deploy the local stage without a preview and return what the CLI prints."""
        return self.pulumi("up", "--yes", "--skip-preview", "--stack", STAGE, *arguments, succeeds=succeeds)

    def destroy(self, *arguments: str, succeeds: bool = True) -> str:
        """Destroy the local stage and return what the CLI prints."""
        return self.pulumi("destroy", "--yes", "--stack", STAGE, *arguments, succeeds=succeeds)

    def outputs(self) -> dict[str, str]:
        """Return the outputs of the local stage."""
        return json.loads(self.pulumi("stack", "output", "--json", "--stack", STAGE))

    def resources(self) -> list[dict[str, Any]]:
        """Return the resources in the state of the local stage."""
        return json.loads(self.pulumi("stack", "export", "--stack", STAGE))["deployment"].get("resources", [])

    @contextmanager
    def new_operations(self) -> Generator[list[tuple[str, str, str]]]:
        """Yield a list that has the operations of the block when it ends: the operation and the resource's name."""
        found: list[tuple[str, str, str]] = []
        before = len(self.operations)
        yield found
        found += [(operation, *resource_name(urn)) for operation, urn in self.operations[before:]]

    @contextmanager
    def edited(self, file: str, old: str, new: str) -> Generator[None]:
        """Replace a text in a file for the duration of the block."""
        content = (self.folder / file).read_text()
        assert content.count(old) == 1, f"{file} has {old!r} {content.count(old)} times"
        with self.restored(file):
            (self.folder / file).write_text(content.replace(old, new))
            yield

    @contextmanager
    def commented(self, file: str) -> Generator[None]:
        """Add a comment to a file for the duration of the block."""
        path = self.folder / file
        with self.restored(file):
            path.write_text(path.read_text() + "# A change.\n")
            yield

    @contextmanager
    def restored(self, file: str) -> Generator[None]:
        """Restore the content of a file when the block ends."""
        content = (self.folder / file).read_text()
        try:
            yield
        finally:
            (self.folder / file).write_text(content)

    def set(self, setting: str) -> Any:
        """Add a setting of the local stage, such as `trigger: s3`, for the duration of a block."""
        return self.edited(STAGE_FILE, "  yorutsuke:stage:\n", f"  yorutsuke:stage:\n    {setting}\n")

    def take_back(self, names: Container[Name]) -> None:
        """Import resources that exist in AWS but not in the state, with the commands and ids of the documentation."""
        file = self.folder / "import.json"
        self.pulumi("preview", "--stack", STAGE, "--import-file", str(file))
        entries = json.loads(file.read_text())
        kept: list[dict[str, Any]] = []
        for entry in entries["resources"]:
            kind = entry["type"].rpartition(":")[2]
            name = entry.get("logicalName", entry["name"]).removeprefix("yorutsuke-")
            if entry.get("component"):
                kept.append(entry)
            elif (kind, name) in names:
                kept.append({**entry, "id": self._documented_id(kind, name)})
        file.write_text(json.dumps({**entries, "resources": kept}))
        self.pulumi("import", "--file", str(file), "--yes", "--generate-code=false", "--stack", STAGE)

    def _documented_id(self, kind: str, name: str) -> str:
        """Return the id of a resource as docs/deploying.md describes it, with the parts in capitals filled in."""
        page = (ROOT / "docs" / "deploying.md").read_text()
        section = page.partition("### Take resources back\n")[2].partition("\n#")[0]
        [line] = [line for line in section.splitlines() if line.startswith("|") and f"`{kind}`" in line]
        parts = {
            "NAME": name,
            "STAGE": STAGE,
            "ACCOUNT": self.aws.sts.get_caller_identity()["Account"],
            "https://sqs.REGION.amazonaws.com": self.emulator.endpoint,
        }
        return re.sub("|".join(parts), lambda part: parts[part[0]], line.split("|")[2].strip(" `"))


def resource_name(urn: str) -> Name:
    """Return the type of a resource without its module, and its name without the prefix `yorutsuke-`."""
    return urn.split("::")[2].rpartition(":")[2], urn.rpartition("::")[2].removeprefix("yorutsuke-")


def make_environment(project: Path) -> None:
    """Give a project this environment's packages, as `pulumi install` would install them."""
    (project / ENVIRONMENT_FOLDER).symlink_to(sys.prefix)


@contextmanager
def running_project(folder: Path, emulator: Emulator) -> Generator[Project]:
    """Copy the project to a folder, and yield it with an empty local stack, and an empty state in the folder."""
    for source in SOURCES:
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, folder / source, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, folder / source)
    with (folder / STAGE_FILE).open("a") as stage_file:
        stage_file.write(SCHEDULE)
    # The zips of these sources, so that no test needs a network.
    shutil.copytree(DIST, folder / "dist", ignore=shutil.ignore_patterns("docs"))
    (folder / "state").mkdir()
    aws = Aws(emulator.endpoint, emulator.ca_bundle)
    project = Project(folder, emulator, aws, {})
    with running_provider(aws, project.record) as port:
        project.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PULUMI_", "PYTHON"))},
            "PULUMI_BACKEND_URL": f"file://{folder}/state",
            "PULUMI_CONFIG_PASSPHRASE": "a passphrase",
            "PULUMI_DEBUG_PROVIDERS": f"aws:{port}",
            "PULUMI_HOME": str(folder / "home"),
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            # The interpreter of this environment, for which the emulator runs the functions.
            "PULUMI_PYTHON_CMD": str(Path(sys.base_prefix) / "bin" / "python3"),
            "UV_OFFLINE": "true",
        }
        project.pulumi("stack", "init", STAGE)
        yield project
