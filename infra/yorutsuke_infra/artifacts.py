"""The zips a stage deploys, and where they lie in `dist/`.

The layer holds compiled wheels, so it is built for one Python and one architecture, and its name says which.
"""

import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from yorutsuke_common.names import LOCAL_STAGE

from .config import StageConfig
from .stage_file import ROOT

DIST = ROOT / "dist"


@dataclass(frozen=True)
class Target:
    """The Lambda runtime that a layer is built for: `python_version` such as 3.13, Lambda's name of an architecture.

    `native` is the Python that is running, whatever its operating system: what the emulator runs functions on.
    """

    python_version: str
    architecture: str
    native: bool = False

    @property
    def runtime(self) -> str:
        """Lambda's name of the runtime."""
        return f"python{self.python_version}"


def this_machine() -> Target:
    """Return the target of the Python that is running."""
    architecture = {"aarch64": "arm64", "arm64": "arm64"}.get(platform.machine(), "x86_64")
    return Target(f"{sys.version_info.major}.{sys.version_info.minor}", architecture, native=True)


def stage_target(stage: str, config: StageConfig) -> Target:
    """Return the target a stage deploys to; the local stage's is this machine."""
    return this_machine() if stage == LOCAL_STAGE else Target(config.python_version, config.architecture)


def layer_zip(target: Target) -> Path:
    """Return where the layer for a target lies."""
    return DIST / f"yorutsuke_common-{target.runtime}-{target.architecture}.zip"


def function_zip(name: str) -> Path:
    """Return where the zip of a function lies."""
    return DIST / f"{name}.zip"
