"""Builds the zips that a stage deploys. The same sources always produce the same bytes.

The build installs wheels and does not compile code, so any machine can build for any target.
"""

import argparse
import fcntl
import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.table import Table

from .artifacts import Target, function_zip, layer_zip, stage_target
from .config import PythonVersion
from .errors import BuildError, ConfigError
from .stage_file import ROOT, read_stage_file

LAYER_PACKAGE = ROOT / "layer" / "yorutsuke_common"
LAYER_REQUIREMENTS = ROOT / "requirements" / "layer.txt"
FUNCTIONS = ROOT / "functions"
AMAZON_LINUX_2_PYTHONS = {"3.11"}

WHEEL_ARCHITECTURES = {"arm64": "aarch64", "x86_64": "x86_64"}
"""The name of each architecture in file names of wheels, by Lambda's name of it."""
LEFT_OUT_NAMES = {"RECORD", "INSTALLER", "REQUESTED", ".lock"}
LEFT_OUT_FOLDERS = {"__pycache__", "bin"}
"""Files and folders that the zips omit: Lambda does not use them, and some differ in each installation by uv."""
AWS_SERVICES = {"bedrock", "dynamodb", "s3"}
"""The AWS services that the functions use. botocore has the data of more than 400, which is 90 % of its size."""
UNUSED_FOLDERS = ("boto3/data", "boto3/examples", "aws_lambda_powertools/event_handler/openapi/swagger_ui")
"""Folders of the wheels that the layer omits: the data of `boto3.resource`, examples, and a page for browsers."""
ZIP_TIME = (1980, 1, 1, 0, 0, 0)
"""Modification time of every zip entry: the earliest time that the zip format can represent."""
FILE_MODE = 0o100644


def build(target: Target) -> list[Path]:
    """Build every function, and the layer for a target if its sources changed. Return the paths of the zips.

    A file lock allows one build at a time. A concurrent build waits, then reuses the layer. Raises BuildError.
    """
    layer = layer_zip(target)
    layer.parent.mkdir(exist_ok=True)
    with (layer.parent / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        record, sources = layer.with_suffix(".digest"), _layer_digest(target)
        if not (layer.exists() and record.exists() and record.read_text() == f"{sources} {_digest(layer)}"):
            # A missing digest makes the next call repeat an interrupted build.
            record.unlink(missing_ok=True)
            _build_layer(target)
            record.write_text(f"{sources} {_digest(layer)}")
        # A function's zip has the same name for all targets, and its build takes milliseconds.
        return [layer, *map(_build_function, _function_names())]


def _layer_digest(target: Target) -> str:
    """Return a digest of the layer's inputs: the target, the lock file, the package and this file."""
    digest = hashlib.sha256(repr(target).encode())
    for root in (LAYER_REQUIREMENTS, LAYER_PACKAGE, Path(__file__)):
        for file in sorted([root] if root.is_file() else _kept_files(root)):
            # The length separates the content from the name of the next file.
            content = file.read_bytes()
            digest.update(f"{file.relative_to(root.parent)} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _build_layer(target: Target) -> None:
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder) / "python"
        _install_wheels(target, python)
        _remove_unused_data(python)
        shutil.copytree(LAYER_PACKAGE, python / LAYER_PACKAGE.name)
        _write_zip(layer_zip(target), Path(folder))


def _install_wheels(target: Target, folder: Path) -> None:
    """Install the layer's locked requirements for the target, which may differ from this machine. Raises BuildError."""
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", sys.executable]
    command += ["--target", str(folder), "--no-deps", "--only-binary", ":all:", "--require-hashes"]
    if not target.native:
        # Runtimes up to Python 3.11 use Amazon Linux 2 (glibc 2.26). Later runtimes use Amazon Linux 2023 (glibc 2.34).
        policy = "manylinux_2_17" if target.python_version in AMAZON_LINUX_2_PYTHONS else "manylinux_2_28"
        command += ["--python-version", target.python_version]
        command += ["--python-platform", f"{WHEEL_ARCHITECTURES[target.architecture]}-{policy}"]
    command += ["--requirement", str(LAYER_REQUIREMENTS)]
    process = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if process.returncode:
        raise BuildError(
            f"uv cannot install requirements/{LAYER_REQUIREMENTS.name} for {target.runtime} on {target.architecture}. "
            f"Correct this problem and run the command again:\n{process.stderr}"
        )


def _remove_unused_data(packages: Path) -> None:
    """Remove boto3's and botocore's data of services that the functions do not use.

    The files directly in botocore's data, such as endpoints.json, do not belong to a service and remain.
    """
    services = {path.name: path for path in (packages / "botocore" / "data").glob("*/")}
    unused = [path for name, path in services.items() if name not in AWS_SERVICES]
    for path in [*unused, *(packages / folder for folder in UNUSED_FOLDERS)]:
        shutil.rmtree(path, ignore_errors=True)


def _function_names() -> list[str]:
    return sorted(path.name for path in FUNCTIONS.iterdir() if (path / "__init__.py").exists())


def _build_function(name: str) -> Path:
    path = function_zip(name)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(FUNCTIONS / name, Path(folder) / name)
        _write_zip(path, Path(folder))
    return path


def _write_zip(path: Path, folder: Path) -> None:
    """Write a zip of a folder. Sorted names, one time and one mode make the same content produce the same bytes.

    The zip replaces an earlier one atomically, so a concurrent deployment never reads a partial file.
    """
    with (
        _atomic_replacement(path) as part,
        zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive,
    ):
        for file in sorted(_kept_files(folder), key=lambda kept: kept.relative_to(folder).as_posix()):
            entry = zipfile.ZipInfo(file.relative_to(folder).as_posix(), ZIP_TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = FILE_MODE << 16
            archive.writestr(entry, file.read_bytes())


@contextmanager
def _atomic_replacement(path: Path) -> Generator[Path]:
    """Yield a temporary path to write to. When the block ends, the written file replaces `path`."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        part = Path(folder) / path.name
        yield part
        part.replace(path)


def _kept_files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        if path.is_file() and path.name not in LEFT_OUT_NAMES and not LEFT_OUT_FOLDERS.intersection(parts):
            yield path


def main() -> int:
    """Build the layer and the functions for a stage, or for a Python version and an architecture."""
    parser = argparse.ArgumentParser(prog="./nox -s build --", description=main.__doc__)
    parser.add_argument("stage", nargs="?", default="dev", help="the stage to build for (default: dev)")
    parser.add_argument(
        "--python", choices=get_args(PythonVersion), help="Python version of the target (default: the stage's)"
    )
    parser.add_argument(
        "--arch", choices=sorted(WHEEL_ARCHITECTURES), help="architecture of the target (default: the stage's)"
    )
    arguments = parser.parse_args()
    try:
        target = stage_target(arguments.stage, read_stage_file(arguments.stage))
        if arguments.python or arguments.arch:
            target = Target(arguments.python or target.python_version, arguments.arch or target.architecture)
        zips = build(target)
    except (BuildError, ConfigError) as error:
        Console(stderr=True, highlight=False, soft_wrap=True, markup=False).print(error)
        return 1
    table = Table("artifact", "size", "SHA-256")
    for path in zips:
        table.add_row(str(path.relative_to(ROOT)), f"{path.stat().st_size / 1e6:.2f} MB", _digest(path))
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
