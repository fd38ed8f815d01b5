"""Builds the zips that a stage deploys. The same sources give the same bytes, and a layer is built once.

Only wheels are installed and nothing is compiled, so any machine can build for any target.
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
from .errors import ConfigError
from .stage_file import ROOT, read_stage_file

LAYER_PACKAGE = ROOT / "layer" / "yorutsuke_common"
LAYER_REQUIREMENTS = ROOT / "requirements" / "layer.txt"
FUNCTIONS = ROOT / "functions"
AMAZON_LINUX_2_PYTHONS = {"3.11"}

# Lambda's name of an architecture, and the wheels' name of it.
WHEEL_ARCHITECTURES = {"arm64": "aarch64", "x86_64": "x86_64"}
# Written by uv about the installation, not by the package: they differ from one run to the next, or are of no use.
LEFT_OUT_NAMES = {"RECORD", "INSTALLER", "REQUESTED", ".lock"}
LEFT_OUT_FOLDERS = {"__pycache__", "bin"}
# The oldest time a zip can hold.
ZIP_TIME = (1980, 1, 1, 0, 0, 0)
FILE_MODE = 0o100644


def build(target: Target) -> list[Path]:
    """Build the layer for a target, unless `dist/` holds it, and every function; return the zips.

    Only one process builds at a time. The others wait and then find the layer.
    """
    layer = layer_zip(target)
    layer.parent.mkdir(exist_ok=True)
    with (layer.parent / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        record, sources = layer.with_suffix(".digest"), _layer_digest(target)
        if not (layer.exists() and record.exists() and record.read_text() == f"{sources} {_digest(layer)}"):
            # Without a record, an interrupted build is repeated.
            record.unlink(missing_ok=True)
            _build_layer(target)
            record.write_text(f"{sources} {_digest(layer)}")
        # The zips of functions have one name for all targets, and take milliseconds.
        return [layer, *map(_build_function, _function_names())]


def _layer_digest(target: Target) -> str:
    """Return a digest of everything that determines a layer: the target, the lock file, the package and this file."""
    digest = hashlib.sha256(repr(target).encode())
    for root in (LAYER_REQUIREMENTS, LAYER_PACKAGE, Path(__file__)):
        for file in sorted([root] if root.is_file() else _kept_files(root)):
            # The lengths separate the names and the contents from each other.
            content = file.read_bytes()
            digest.update(f"{file.relative_to(root.parent)} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _build_layer(target: Target) -> None:
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder) / "python"
        _install_wheels(target, python)
        shutil.copytree(LAYER_PACKAGE, python / LAYER_PACKAGE.name)
        _write_zip(layer_zip(target), Path(folder))


def _install_wheels(target: Target, folder: Path) -> None:
    """Install the layer's locked requirements for the target, whatever machine this is."""
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", sys.executable]
    command += ["--target", str(folder), "--no-deps", "--only-binary", ":all:", "--require-hashes"]
    if not target.native:
        # Runtimes to Python 3.11 are Amazon Linux 2, glibc 2.26; later ones Amazon Linux 2023, glibc 2.34.
        policy = "manylinux_2_17" if target.python_version in AMAZON_LINUX_2_PYTHONS else "manylinux_2_28"
        command += ["--python-version", target.python_version]
        command += ["--python-platform", f"{WHEEL_ARCHITECTURES[target.architecture]}-{policy}"]
    subprocess.run([*command, "--requirement", str(LAYER_REQUIREMENTS)], check=True)


def _function_names() -> list[str]:
    return sorted(path.name for path in FUNCTIONS.iterdir() if (path / "__init__.py").exists())


def _build_function(name: str) -> Path:
    path = function_zip(name)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(FUNCTIONS / name, Path(folder) / name)
        _write_zip(path, Path(folder))
    return path


def _write_zip(path: Path, folder: Path) -> None:
    """Zip a folder so that the same content gives the same bytes: sorted names, one time, one mode.

    The zip appears whole: another build or a deployment at the same time never meets half of one.
    """
    with _appearing_whole(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for file in sorted(_kept_files(folder), key=lambda kept: kept.relative_to(folder).as_posix()):
            entry = zipfile.ZipInfo(file.relative_to(folder).as_posix(), ZIP_TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = FILE_MODE << 16
            archive.writestr(entry, file.read_bytes())


@contextmanager
def _appearing_whole(path: Path) -> Generator[Path]:
    """Give a name beside `path` to write to, which then takes its place."""
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
    """Build for a stage, or for a Python and an architecture, and show what was built."""
    parser = argparse.ArgumentParser(prog="./nox -s build --", description=main.__doc__)
    parser.add_argument("stage", nargs="?", default="dev", help="the stage to build for (default: dev)")
    parser.add_argument("--python", choices=get_args(PythonVersion), help="the target's Python (default: the stage's)")
    parser.add_argument("--arch", choices=sorted(WHEEL_ARCHITECTURES), help="the target's architecture")
    arguments = parser.parse_args()
    try:
        target = stage_target(arguments.stage, read_stage_file(arguments.stage))
    except ConfigError as error:
        Console(stderr=True, highlight=False, soft_wrap=True, markup=False).print(error)
        return 1
    if arguments.python or arguments.arch:
        target = Target(arguments.python or target.python_version, arguments.arch or target.architecture)
    table = Table("artifact", "size", "SHA-256")
    for path in build(target):
        table.add_row(str(path.relative_to(ROOT)), f"{path.stat().st_size / 1e6:.2f} MB", _digest(path))
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
