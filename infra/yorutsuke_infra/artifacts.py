"""The zips that a stage deploys, and their paths in `dist/`.

The layer contains compiled wheels, so a build is for one Python version and one architecture. Its file name has both.
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
    """The runtime that a layer is built for.

    Attributes:
        python_version: The Python version, such as 3.13.
        architecture: Lambda's name of the processor architecture.
        native: Whether the target is the running Python on this operating system, which the emulator uses.
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
    """Return the target of a stage. The local stage runs on this machine."""
    return this_machine() if stage == LOCAL_STAGE else Target(config.python_version, config.architecture)


def layer_zip(target: Target) -> Path:
    """Return the path of the layer's zip for a target."""
    system = "native" if target.native else "lambda"
    return DIST / f"yorutsuke_common-{target.runtime}-{target.architecture}-{system}.zip"


def function_zip(name: str) -> Path:
    """Return the path of a function's zip."""
    return DIST / f"{name}.zip"
